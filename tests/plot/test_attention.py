import numpy as np
import pytest

from stepax import plot

WEIGHTS = np.array([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]])


def test_rows_are_the_target_and_columns_the_source():
    axes, bar = plot.attention_map(WEIGHTS, "abc", ["x", "end"], title="abc").axes
    np.testing.assert_array_equal(axes.images[0].get_array(), WEIGHTS)
    assert axes.images[0].get_clim() == (0, 1)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["x", "end"]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("source", "target", "abc")
    assert bar.get_ylabel() == "weight"


def test_long_names_stand_aslant_and_are_cut():
    axes = plot.attention_map(WEIGHTS, ["the", "extraordinarilylong", "cat"], ["a $", "\n"]).axes[0]
    assert axes.get_xticklabels()[0].get_rotation() == 45
    assert [label.get_text() for label in axes.get_xticklabels()] == ["the", "extraordinarily…", "cat"]
    assert [label.get_text() for label in axes.get_yticklabels()] == [r"a␣\$", "↵"]


def test_many_tokens_carry_numbers():
    axes = plot.attention_map(np.full((2, 100), 0.01), "x" * 100, "ab").axes[0]
    assert len(axes.get_xticks()) < 20
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]


def test_heads_have_panels_with_names_at_the_edges():
    heads = np.stack([WEIGHTS, WEIGHTS[::-1], WEIGHTS, WEIGHTS, WEIGHTS[::-1]])
    figure = plot.attention_map(heads, "abc", ["x", "end"], title="five")
    figure.draw_without_rendering()
    *panels, bar = figure.axes
    shown = [axes for axes in panels if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == [f"head {i}" for i in range(1, 6)]
    for axes, weights in zip(shown, heads, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), weights)
    assert [axes.get_ylabel() for axes in shown] == ["target", "", "", "", "target"]
    assert [axes.get_xlabel() for axes in shown] == ["", "source", "source", "source", "source"]
    below = [any(label.get_visible() for label in axes.get_xticklabels()) for axes in shown]
    assert below == [False, True, True, True, True]
    assert (bar.get_ylabel(), figure.get_suptitle()) == ("weight", "five")


@pytest.mark.parametrize(
    ("weights", "source", "target", "message"),
    [
        (WEIGHTS, "ab", "xy", r"expected the shape \[target, source\] of the tokens, \(2, 2\), .* got \(2, 3\)"),
        (WEIGHTS.T, "abc", "xy", r"got \(3, 2\)"),
        (WEIGHTS[0], "abc", "xy", r"got \(3,\)"),
        (np.zeros((0, 2, 3)), "abc", "xy", r"at least one of each, or one with heads before these, got \(0, 2, 3\)"),
        (np.zeros((0, 3)), "abc", "", "at least one of each"),
        (2 * WEIGHTS, "abc", "xy", "expected shares from 0 to 1, got 0 to 1.5"),
        (np.nan * WEIGHTS, "abc", "xy", "expected shares from 0 to 1, got nan to nan"),
    ],
)
def test_what_does_not_fit_is_refused(weights, source, target, message):
    with pytest.raises(ValueError, match=message):
        plot.attention_map(weights, source, target)
