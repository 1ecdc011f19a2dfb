import numpy as np
import pytest

from stepax import plot

IMAGE = np.random.default_rng(0).uniform(size=(8, 8, 1))


def test_a_band_of_tiles_for_each_convolution():
    rng = np.random.default_rng(1)
    maps = {"conv_0": rng.normal(size=(8, 8, 20)), "conv_1": rng.normal(size=(4, 4, 40)), "dense_0": np.ones(5)}
    figure = plot.feature_maps(IMAGE, maps, title="what")
    given, first, second = (axes for sub in figure.subfigs for axes in sub.axes)
    assert given.get_title() == "input\n8×8×1"
    assert first.get_title(loc="left") == "conv_0: 20 of 20 maps, 8×8"
    assert second.get_title(loc="left") == "conv_1: 32 of 40 maps, 4×4"
    assert first.images[0].get_array().shape == (2 * 9 - 1, 16 * 9 - 1)
    assert second.images[0].get_array().shape == (2 * 5 - 1, 16 * 5 - 1)
    assert figure.get_suptitle() == "what"


def test_every_map_has_its_own_scale_and_a_constant_one_is_dark():
    maps = np.stack([np.full((2, 2), 7.0), np.array([[0.0, 10.0], [5.0, 0.0]])], axis=-1)
    figure = plot.feature_maps(IMAGE, {"conv_0": maps})
    canvas = figure.subfigs[1].axes[0].images[0].get_array()
    np.testing.assert_array_equal(canvas[:, :2], np.zeros((2, 2)))
    np.testing.assert_array_equal(canvas[:, 3:5], [[0, 1], [0.5, 0]])
    assert canvas.mask[:, 2].all()


def test_without_maps_there_is_no_figure():
    with pytest.raises(ValueError, match="maps"):
        plot.feature_maps(IMAGE, {"dense_0": np.ones(5)})
