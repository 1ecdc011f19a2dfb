import numpy as np
import pytest

from stepax import plot
from stepax.learning_rate import RateRange

RATES = 10 ** np.linspace(-4, 0, 41)
LOSSES = np.concatenate([np.linspace(2, 0.5, 35), [0.6, 1, 3, 20, 400, np.nan]])
SMOOTHED = np.nan_to_num(LOSSES, nan=400)


def drawn(**fields):
    result = RateRange(RATES, LOSSES, SMOOTHED, 0.01, 1.0, 0.01, "where the loss falls fastest")
    return plot.rate_range(result._replace(**fields)).axes[0]


def test_losses_over_rates_with_the_suggestion_and_the_end():
    axes = drawn()
    lines = {line.get_label(): line.get_xdata() for line in axes.lines}
    np.testing.assert_array_equal(lines["loss of a step"], RATES)
    assert (list(lines["suggestion: 0.01"]), list(lines["diverged: 1"])) == ([0.01, 0.01], [1.0, 1.0])
    assert (axes.get_xscale(), axes.get_xlabel(), axes.get_ylabel()) == ("log", "learning rate", "loss")


def test_what_diverges_does_not_flatten_the_rest():
    low, high = drawn().get_ylim()
    assert 0 < low < 0.5
    assert 2 < high < 3


@pytest.mark.parametrize(("value", "text"), [(0.0123, "0.012"), (2.5e-5, "2.5e-05"), (3.0, "3")])
def test_rates_are_written_in_two_digits(value, text):
    labels = [line.get_label() for line in drawn(suggestion=value).lines]
    assert f"suggestion: {text}" in labels


def test_without_a_suggestion_there_is_none_in_the_figure():
    axes = drawn(suggestion=None, diverged=None)
    assert [line.get_label() for line in axes.lines] == ["loss of a step", "smoothed"]
