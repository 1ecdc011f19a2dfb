import numpy as np
import pytest

from stepax import plot


def images(figure):
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def test_filters_of_grey_share_one_scale_about_zero():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 1, 5))
    figure = plot.filters(kernel)
    for i, image in enumerate(images(figure)):
        np.testing.assert_array_equal(image, kernel[:, :, 0, i])
    assert len(images(figure)) == 5
    limits = {axes.images[0].get_clim() for axes in figure.axes if axes.images}
    assert limits == {(-np.abs(kernel).max(), np.abs(kernel).max())}
    assert figure.axes[-1].get_ylabel() == "weight"


def test_filters_of_three_channels_are_colours_with_grey_at_zero():
    kernel = np.zeros((2, 2, 3, 2))
    kernel[0, 0, 0, 0] = -4.0
    first, second = images(plot.filters(kernel))
    np.testing.assert_array_equal(second, np.full((2, 2, 3), 0.5))
    np.testing.assert_array_equal(first[0, 0], [0, 0.5, 0.5])


def test_other_channels_stand_beside_each_other():
    kernel = np.arange(2 * 2 * 4 * 3, dtype=float).reshape(2, 2, 4, 3)
    figure = plot.filters(kernel, limit=8)
    shown = images(figure)
    assert len(shown) == 8
    np.testing.assert_array_equal(shown[5], kernel[:, :, 1, 1])
    assert "2 of 3 units" in figure.get_suptitle()


def test_the_limit_holds_and_is_told():
    figure = plot.filters(np.ones((3, 3, 1, 100)), limit=64, layer="layer conv_0")
    assert len(images(figure)) == 64
    assert figure.get_suptitle() == "Weights of the layer conv_0: 64 of 100 units, 3×3×1 each"


def test_titles_name_the_tiles():
    figure = plot.filters(np.ones((3, 3, 1, 2)), titles=("cat", "dog"))
    assert [axes.get_title() for axes in figure.axes if axes.images] == ["cat", "dog"]


def test_weights_of_zero_can_be_drawn():
    assert images(plot.filters(np.zeros((1, 1, 1, 1))))[0] == 0


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="kernel"):
        plot.filters(np.ones((3, 3)))
    with pytest.raises(ValueError, match="titles"):
        plot.filters(np.ones((3, 3, 1, 2)), titles=("cat",))
