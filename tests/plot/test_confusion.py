import numpy as np
import pytest

from stepax import plot

MATRIX = np.array([[8, 2, 0], [0, 5, 0], [1, 0, 3]])


def test_colours_are_shares_of_the_true_class_in_per_cent():
    axes = plot.confusion(MATRIX, ("a", "b", "c")).axes[0]
    expected = [[80, 20, 0], [0, 100, 0], [25, 0, 75]]
    np.testing.assert_allclose(axes.images[0].get_array(), expected)
    assert axes.images[0].get_clim() == (0, 100)


def test_cells_hold_counts_and_percentages_and_empty_ones_nothing():
    axes = plot.confusion(MATRIX, ("a", "b", "c")).axes[0]
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts == {
        (0, 0): "8\n80 %",
        (1, 0): "2\n20 %",
        (1, 1): "5\n100 %",
        (0, 2): "1\n25 %",
        (2, 2): "3\n75 %",
    }


def test_axes_and_title_say_what_is_seen():
    figure = plot.confusion(MATRIX, ("a", "b", "c"))
    axes, bar = figure.axes
    assert axes.get_title() == "Confusion matrix: 84.2 % of 19 right"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    assert bar.get_ylabel() == "share of the true class (%)"


def test_a_class_without_examples_is_empty_and_not_nan():
    axes = plot.confusion(np.array([[2, 0], [0, 0]]), ("a", "b")).axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), [[100, 0], [0, 0]])


def test_many_classes_carry_no_numbers_and_not_every_name():
    axes = plot.confusion(np.eye(100), [str(i) for i in range(100)]).axes[0]
    assert not axes.texts
    assert len(axes.get_xticks()) <= 40


def test_fractions_of_weights_keep_a_decimal():
    axes = plot.confusion(np.array([[0.5, 1.5], [0, 2]]), ("a", "b")).axes[0]
    assert sorted(text.get_text() for text in axes.texts) == ["0.5\n25 %", "1.5\n75 %", "2\n100 %"]


def test_names_have_to_fit():
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        plot.confusion(MATRIX, ("a", "b"))
