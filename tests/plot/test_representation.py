import numpy as np
import pytest

from stepax import plot

RNG = np.random.default_rng(0)
LAYERS = {
    "input": RNG.uniform(size=(8, 8, 1)),
    "conv_0": RNG.normal(size=(8, 8, 32)),
    "dense_0": RNG.normal(size=50),
    "head": np.array([0.5, 3.0, -1.0]),
}
ACCURACY = {"input": 0.9, "conv_0": 0.93, "dense_0": 0.97, "head": 0.98}


def test_a_column_for_each_layer_above_the_probes():
    *columns, probes = plot.representation(LAYERS, ACCURACY, classes=("a", "b", "c")).axes
    assert [axes.get_title() for axes in columns] == ["input\n8×8×1", "conv_0\n8×8×32", "dense_0\n50", "head\n3"]
    line, baseline = probes.lines
    np.testing.assert_allclose(line.get_ydata(), [90, 93, 97, 98])
    np.testing.assert_allclose(baseline.get_ydata(), [90, 90])
    assert [label.get_text() for label in probes.get_xticklabels()] == list(LAYERS)
    assert [text.get_text() for text in probes.texts] == ["90.0", "93.0", "97.0", "98.0"]
    assert probes.get_ylabel() == "test accuracy (%)"


def test_each_kind_of_layer_is_shown_in_its_own_way():
    first, maps, dense, scores, _ = plot.representation(LAYERS, ACCURACY, classes=("a", "b", "c")).axes
    np.testing.assert_array_equal(first.images[0].get_array(), LAYERS["input"][..., 0])
    assert maps.images[0].get_array().shape == (4 * 9 - 1, 4 * 9 - 1)
    folded = dense.images[0].get_array()
    np.testing.assert_array_equal(folded.compressed(), LAYERS["dense_0"])
    assert folded.shape == (7, 8)
    np.testing.assert_allclose([bar.get_width() for bar in scores.patches], LAYERS["head"])
    assert [label.get_text() for label in scores.get_yticklabels()] == ["a", "b", "c"]


def test_the_highest_score_has_another_colour():
    scores = plot.representation(LAYERS, ACCURACY).axes[3]
    first, second, third = (bar.get_facecolor() for bar in scores.patches)
    assert first == third != second


def test_a_short_vector_is_bars_with_the_names_of_its_columns():
    layers = {"input": np.array([1.0, -2.0]), "head": np.array([0.1, 0.2])}
    accuracy = {"input": 0.5, "head": 0.6}
    first = plot.representation(layers, accuracy, columns=("length", "a name that is much too long")).axes[0]
    np.testing.assert_allclose([bar.get_width() for bar in first.patches], [1, -2])
    assert [label.get_text() for label in first.get_yticklabels()] == ["length", "a name that is mu…"]


def test_a_single_score_lies_between_two_classes():
    layers = {"input": np.ones(3), "head": np.array([-2.0])}
    scores = plot.representation(layers, {"input": 1.0, "head": 1.0}, classes=("no", "yes")).axes[1]
    assert scores.get_xlabel() == "← no   score   yes →"
    assert scores.get_xlim() == (-2.4, 2.4)


def test_the_axis_of_accuracy_ends_at_100_and_does_not_magnify():
    probes = plot.representation(LAYERS, dict.fromkeys(LAYERS, 1.0)).axes[-1]
    low, high = probes.get_ylim()
    assert high - low >= 6
    assert max(probes.get_yticks()) == 100


def test_guessing_is_drawn_where_it_is_near():
    near = plot.representation(LAYERS, ACCURACY, chance=0.8).axes[-1]
    far = plot.representation(LAYERS, ACCURACY, chance=0.1).axes[-1]
    assert (len(near.lines), len(far.lines)) == (3, 2)


def test_layers_and_accuracies_have_to_be_the_same():
    with pytest.raises(ValueError, match="same layers"):
        plot.representation(LAYERS, {"input": 1.0})


def test_the_legend_tells_on_how_many_rows_the_probe_stands():
    probes = plot.representation(LAYERS, ACCURACY, rows=(1000, 360)).axes[-1]
    first = probes.get_legend().get_texts()[0].get_text()
    assert first == "linear probe on this layer, fitted on 1,000 rows, tested on 360"
