import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score

from stepax import plot

RNG = np.random.default_rng(0)
TRUE = RNG.normal(50, 10, 40)
PREDICTED = TRUE + RNG.normal(1, 3, 40)


def test_points_and_measures_are_those_of_the_data():
    points, histogram = plot.predicted_against_true(PREDICTED, TRUE, name="price", unit="€").axes
    np.testing.assert_allclose(points.collections[0].get_offsets(), np.stack([TRUE, PREDICTED], axis=1))
    assert points.get_title() == f"R² = {r2_score(TRUE, PREDICTED):.3f}"
    error, shift = mean_absolute_error(TRUE, PREDICTED), np.mean(PREDICTED - TRUE)
    assert histogram.get_title() == f"mean absolute error {error:.3f}\nmean error {shift:+.3f}"
    assert (points.get_xlabel(), points.get_ylabel()) == ("true price (€)", "predicted price (€)")
    assert histogram.get_xlabel() == "predicted − true price (€)"


def test_the_line_of_perfect_answers_is_the_diagonal():
    points, _ = plot.predicted_against_true(PREDICTED, TRUE).axes
    np.testing.assert_array_equal(points.lines[0].get_xdata(), points.lines[0].get_ydata())
    assert points.get_aspect() == 1


def test_the_histogram_counts_every_error():
    _, histogram = plot.predicted_against_true(PREDICTED, TRUE).axes
    assert sum(patch.get_height() for patch in histogram.patches) == 40


def test_a_target_without_spread_has_no_r_squared():
    points, _ = plot.predicted_against_true(np.array([1.0, 2.0]), np.array([1.0, 1.0])).axes
    assert points.get_title() == "R² = nan"


def test_shapes_have_to_be_equal():
    with pytest.raises(ValueError, match=r"\(2, 1\)"):
        plot.predicted_against_true(np.ones((2, 1)), np.ones(2))


def test_large_numbers_have_separators_and_fit_into_the_figure():
    figure = plot.predicted_against_true(1e5 * PREDICTED, 1e5 * TRUE)
    points, histogram = figure.axes
    error = mean_absolute_error(1e5 * TRUE, 1e5 * PREDICTED)
    assert histogram.get_title().startswith(f"mean absolute error {error:,.0f}\nmean error +")
    figure.canvas.draw()
    assert any("," in label.get_text() for label in points.get_xticklabels())
    assert histogram.title.get_window_extent().x1 < figure.bbox.x1


def test_perfect_answers_have_no_error():
    assert plot.predicted_against_true(TRUE, TRUE).axes[1].get_title() == "mean absolute error 0\nmean error +0"
