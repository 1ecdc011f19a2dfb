import numpy as np
import pytest

from stepax.plot.returns import return_curves

HISTORY = {
    "epoch": [1, 2, 3],
    "step": [10, 20, 30],
    "return": [1.0, 2.0, 4.0],
    "length": [5.0, 6.0, 7.0],
    "validation/return": [3.0, 4.0, 5.0],
    "validation/length": [8.0, 9.0, 9.0],
}


def test_curves_go_over_the_steps_of_the_environment():
    figure = return_curves(HISTORY, 256, title="ppo")
    left, right = figure.axes
    for axes, names in ((left, ("return", "validation/return")), (right, ("length", "validation/length"))):
        for line, name in zip(axes.lines, names, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), [2560, 5120, 7680])
            np.testing.assert_array_equal(line.get_ydata(), HISTORY[name])
        assert axes.get_xlabel() == "steps of the environment"
    assert [text.get_text() for text in left.get_legend().get_texts()] == [
        "as it learns",
        "with the actions thought best",
    ]


def test_without_measured_episodes_there_is_one_curve():
    history = {name: values for name, values in HISTORY.items() if "/" not in name}
    figure = return_curves(history, 8, unit="episodes")
    assert [len(axes.lines) for axes in figure.axes] == [1, 1]
    assert figure.axes[0].get_xlabel() == "episodes"


def test_before_the_first_step_there_is_no_return_but_what_was_measured():
    left = return_curves(HISTORY, 4, before=20).axes[0]
    np.testing.assert_array_equal(left.lines[0].get_xdata(), [40])
    np.testing.assert_array_equal(left.lines[1].get_xdata(), [0, 0, 40])


def test_of_a_population_the_mean_and_a_band():
    history = {**HISTORY, "return": [[1.0, 3.0], [2.0, 4.0], [4.0, np.nan]]}
    left = return_curves(history, 4).axes[0]
    np.testing.assert_allclose(left.lines[0].get_ydata(), [2, 3, 4])
    assert left.lines[0].get_label().endswith("mean ± sd of 2")
    assert len(left.collections) == 1


@pytest.mark.parametrize("missing", ["return", "step", "length"])
def test_another_history_is_refused(missing):
    with pytest.raises(ValueError, match="history: expected step, return and length"):
        return_curves({name: values for name, values in HISTORY.items() if name != missing}, 4)
    with pytest.raises(ValueError, match="history: expected"):
        return_curves({name: [] for name in HISTORY}, 4)
