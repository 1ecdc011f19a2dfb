import numpy as np
import pytest

from stepax import plot

RATES = {"mlp": [90_000.0, 100_000.0, 120_000.0], "cnn": [2000.0, 2100.0, 2050.0], "tiny": [1.5]}
SHARES = {"cnn": 0.4, "mlp": 1.2, "tiny": 0.005}


def drawn():
    return plot.training_speed(RATES, SHARES, machine="Chip, 2 cores", peaks={"float32": 90.4e9})


def test_bars_are_the_share_of_the_peak_in_per_cent():
    axes = drawn().axes[0]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], [120, 40, 0.5])
    assert [text.get_text() for text in axes.texts] == ["120 %", "40 %", "0.5 %"]
    assert axes.get_xlim()[0] == 0
    assert axes.get_xlim()[1] > 120
    assert axes.get_xlabel() == "share of the matrix product's 90.4 GFLOP/s (%)"


def test_two_precisions_have_two_peaks():
    figure = plot.training_speed(RATES, SHARES, machine="Chip", peaks={"float32": 90.4e9, "bfloat16": 181e9})
    label = figure.axes[0].get_xlabel()
    assert label == "share of the matrix product's 90.4 GFLOP/s in float32, 181 GFLOP/s in bfloat16 (%)"


def test_dots_are_medians_and_lines_ranges_of_examples_per_second():
    axes = drawn().axes[1]
    assert axes.get_xscale() == "log"
    (dots,) = axes.lines
    np.testing.assert_allclose(dots.get_xdata(), [100_000, 2050, 1.5])
    ranges = [segment[:, 0].tolist() for segment in axes.collections[0].get_segments()]
    assert ranges == [[90_000, 120_000], [2000, 2100], [1.5, 1.5]]
    assert [text.get_text() for text in axes.texts] == ["100,000", "2,050", "1.50"]
    assert axes.get_xlabel() == "examples per second (median and range)"
    low, high = axes.get_xlim()
    assert low < 1.5
    assert high > 120_000


def test_the_first_workload_is_on_top_and_the_machine_in_the_title():
    figure = drawn()
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["mlp", "cnn", "tiny"]
    assert axes.yaxis_inverted()
    assert figure.get_suptitle() == "Training speed on Chip, 2 cores"


@pytest.mark.parametrize("rate", [1.0, 1000.0])
def test_one_workload_at_a_power_of_ten_is_a_figure_too(rate, tmp_path):
    figure = plot.training_speed({"mlp": [rate]}, {"mlp": 0.5}, machine="Chip", peaks={"float32": 1e9})
    assert plot.save(figure, tmp_path / "figure.png").stat().st_size > 0


@pytest.mark.parametrize(("rates", "shares"), [({}, {}), (RATES, {"mlp": 1.0})])
def test_every_workload_needs_its_share(rates, shares):
    with pytest.raises(ValueError, match="expected one for each of"):
        plot.training_speed(rates, shares, machine="Chip", peaks={"float32": 1e9})
