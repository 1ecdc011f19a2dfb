import numpy as np
import pytest

from stepax import Search, Trial, plot


def trial(mean, deviation=0.0, pruned=None, **values):
    return Trial(values, [mean], mean, deviation, {}, pruned)


def found(*trials):
    return Search(trials, "validation/loss", trials[0].values)


RATES = found(
    *(
        trial(mean, rate=rate, dropout=dropout, layers=layers)
        for mean, rate, dropout, layers in [
            (0.5, 1e-2, 0.01, (8,)),
            (0.6, 1e-3, 0.5, (8, 8)),
            (0.7, 1e-4, 0.3, (8,)),
            (0.8, 2e-4, 0.4, (4,)),
        ]
    )
)


def points(axes, label):
    (drawn,) = [part for part in axes.collections if part.get_label() == label]
    return drawn.get_offsets().tolist()


def test_a_panel_for_each_value_with_the_best_marked():
    rate, dropout, layers = plot.search(RATES).axes
    assert points(rate, "a setting") == [[1e-2, 0.5], [1e-3, 0.6], [1e-4, 0.7], [2e-4, 0.8]]
    assert [points(axes, "the best") for axes in (rate, dropout, layers)] == [[[1e-2, 0.5]], [[0.01, 0.5]], [[2, 0.5]]]
    assert [axes.get_xlabel() for axes in (rate, dropout, layers)] == ["rate", "dropout", "layers"]
    assert [axes.get_ylabel() for axes in (rate, dropout, layers)] == ["validation/loss", "", ""]


def test_only_what_is_spread_over_powers_of_ten_has_a_logarithmic_axis():
    rate, dropout, layers = plot.search(RATES).axes
    assert (rate.get_xscale(), dropout.get_xscale(), rate.get_yscale()) == ("log", "linear", "linear")
    assert [text.get_text() for text in layers.get_xticklabels()] == ["(4,)", "(8, 8)", "(8,)"]
    wide = found(trial(0.01, rate=0.1), trial(2.0, rate=0.2))
    axes = plot.search(wide).axes[0]
    assert (axes.get_yscale(), axes.yaxis.get_major_formatter()(0.05)) == ("log", "0.05")


def test_what_was_given_up_is_hollow_and_what_is_not_finite_is_left_out():
    result = found(trial(0.5, rate=0.1), trial(0.7, rate=0.2, pruned=1), trial(np.nan, rate=0.3))
    figure = plot.search(result)
    assert points(figure.axes[0], "a setting") == [[0.1, 0.5]]
    assert points(figure.axes[0], "given up") == [[0.2, 0.7]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a setting", "given up", "the best"]
    with pytest.raises(ValueError, match="found: expected a trial with a finite measure"):
        plot.search(found(trial(np.inf, rate=0.1)))


def test_seeds_have_bars():
    axes = plot.search(found(trial(0.5, 0.1, rate=0.1), trial(0.7, 0.2, rate=0.2))).axes[0]
    (bars,) = [part for part in axes.collections if hasattr(part, "get_segments")]
    np.testing.assert_allclose([segment[:, 1] for segment in bars.get_segments()], [[0.4, 0.6], [0.5, 0.9]])


def test_whole_numbers_have_whole_ticks():
    (axes,) = plot.search(found(trial(0.5, layers=1), trial(0.7, layers=2), trial(0.8, layers=3))).axes
    assert {1, 2, 3} <= set(axes.get_xticks()) <= set(range(-1, 6))


def test_four_values_take_two_rows():
    assert len(plot.search(found(trial(0.5, a=1, b=2, c=True, d="x"))).axes) == 4
