import numpy as np
import pytest

from stepax import plot

HISTORY = {
    "epoch": [1, 2, 3],
    "step": [10, 20, 30],
    "seconds": [0.1, 0.2, 0.3],
    "accuracy": [0.5, 0.6, 0.7],
    "learning_rate": [0.1, 0.1, 0.1],
    "loss": [1.0, 0.8, 0.7],
    "validation/accuracy": [0.4, 0.6, 0.5],
    "validation/loss": [1.1, 0.9, 1.0],
}


def lines(axes):
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}


def test_a_panel_for_each_measure_with_both_curves_and_the_loss_first():
    first, second = plot.learning_curves(HISTORY).axes
    assert (first.get_title(), second.get_title()) == ("loss", "accuracy")
    assert lines(first) == {
        "training": ([1, 2, 3], [1.0, 0.8, 0.7]),
        "validation": ([1, 2, 3], [1.1, 0.9, 1.0]),
    }
    assert (first.get_xlabel(), first.get_xscale(), first.get_yscale()) == ("epoch", "linear", "linear")
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["training", "validation"]


def test_units_stand_at_the_axis():
    first, second = plot.learning_curves(HISTORY, units={"loss": "nats"}).axes
    assert (first.get_ylabel(), second.get_ylabel()) == ("loss (nats)", "accuracy")


def test_the_best_epoch_is_marked_in_every_panel():
    for axes in plot.learning_curves(HISTORY, best=2).axes:
        assert lines(axes)["best epoch: 2"][0] == [2, 2]


def test_without_validation_there_is_one_curve():
    history = {name: values for name, values in HISTORY.items() if not name.startswith("validation")}
    assert [len(axes.lines) for axes in plot.learning_curves(history).axes] == [1, 1]


@pytest.mark.parametrize(("values", "scale"), [([100.0, 10.0, 0.5], "log"), ([100.0, 10.0, 0.0], "linear")])
def test_a_measure_over_decades_gets_a_logarithmic_axis_unless_it_reaches_zero(values, scale):
    axes = plot.learning_curves({"epoch": [1, 2, 3], "loss": values}).axes[0]
    assert axes.get_yscale() == scale


def test_nan_does_not_decide_the_scale():
    axes = plot.learning_curves({"epoch": [1, 2], "loss": [np.nan, 0.5]}).axes[0]
    assert axes.get_yscale() == "linear"


def test_four_measures_take_two_rows():
    history = {"epoch": [1], **{name: [0.5] for name in "abcd"}}
    assert len(plot.learning_curves(history).axes) == 4


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="at least one measure"):
        plot.learning_curves({"epoch": [1], "step": [2]})
    with pytest.raises(ValueError, match="best: 9"):
        plot.learning_curves(HISTORY, best=9)


@pytest.mark.parametrize(
    ("epochs", "ticks"), [([1], [1]), ([1, 2], [1, 2]), (range(1, 31), [1, 6, 12, 18, 24, 30]), ([4, 5], [4, 5])]
)
def test_the_axis_of_epochs_has_whole_numbers_from_the_first_to_the_last(epochs, ticks):
    axes = plot.learning_curves({"epoch": list(epochs), "loss": [0.5] * len(epochs)}).axes[0]
    assert list(axes.get_xticks()) == ticks
    low, high = axes.get_xlim()
    assert epochs[0] - 1 < low < epochs[0]
    assert epochs[-1] < high < epochs[-1] + 1


def test_large_measures_have_separators():
    axes = plot.learning_curves({"epoch": [1, 2], "error": [12000, 34000]}).axes[0]
    assert axes.yaxis.get_major_formatter()(12000) == "12,000"


def test_of_a_population_the_mean_and_a_band_are_drawn():
    lanes = np.random.default_rng(0).normal(2, 0.5, (5, 8))
    lanes[3, 2] = np.nan  # a lane that diverged
    history = {"epoch": [1, 2, 3, 4, 5], "loss": lanes.tolist(), "validation/loss": (lanes + 1).tolist()}
    axes = plot.learning_curves(history).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.nanmean(lanes, 1))
    assert len(axes.collections) == 2
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx((np.nanmean(lanes, 1) - np.nanstd(lanes, 1)).min())
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["training: mean ± sd of 8", "validation: mean ± sd of 8"]
