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
    assert f"mean absolute error {mean_absolute_error(TRUE, PREDICTED):.4g}," in histogram.get_title()
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
