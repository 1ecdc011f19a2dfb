"""Image filters against numbers by hand and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from stepax.nn import filters

SCIPY_MODES = {
    "reflect": "mirror",
    "symmetric": "reflect",
    "edge": "nearest",
    "constant": "constant",
    "wrap": "grid-wrap",
}


def images(*shape, seed=0):
    return np.random.default_rng(seed).random(shape or (2, 9, 7, 3), np.float32)


def by_channel(function, images):
    """A function of one plane, applied to every channel of every image."""
    planes = [[function(image[..., c]) for c in range(images.shape[-1])] for image in images.astype(np.float64)]
    return np.moveaxis(np.array(planes), 1, -1)


def same(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=2e-6)


# Numbers by hand


def test_sobel_by_hand():
    ramp = jnp.broadcast_to(jnp.arange(5.0)[None, None, :, None], (1, 4, 5, 1))
    x, y = filters.sobel(ramp)
    np.testing.assert_array_equal(x[0, :, 1:-1, 0], 8 * np.ones((4, 3)))
    np.testing.assert_array_equal(x[0, :, [0, -1], 0], np.zeros((2, 4)))  # mirrored
    np.testing.assert_array_equal(y, np.zeros((1, 4, 5, 1)))
    np.testing.assert_array_equal(filters.edges(ramp.transpose(0, 2, 1, 3))[0, 1:-1, :, 0], 8 * np.ones((3, 4)))


def test_edges_are_the_length_of_the_gradient():
    x, y = filters.sobel(images())
    same(filters.edges(images()), np.hypot(x, y))


def test_sharpen_by_hand():
    image = jnp.zeros((1, 5, 5, 1)).at[0, 2, 2, 0].set(1)
    sharp = filters.sharpen(image)[0, 1:4, 1:4, 0]
    np.testing.assert_array_equal(sharp, [[0, -1, 0], [-1, 5, -1], [0, -1, 0]])
    np.testing.assert_array_equal(filters.sharpen(image, amount=0), image)


def test_blur_of_a_point_is_the_kernel():
    image = jnp.zeros((1, 7, 7, 1)).at[0, 3, 3, 0].set(1)
    weights = filters.gaussian_kernel(5, 1.0)
    same(filters.blur(image)[0, 1:6, 1:6, 0], jnp.outer(weights, weights))
    same(filters.box_blur(image)[0, 2:5, 2:5, 0], np.full((3, 3), 1 / 9))


def test_gaussian_kernel_by_hand():
    weights = np.array([np.exp(-0.5), 1, np.exp(-0.5)])
    same(filters.gaussian_kernel(3, 1.0), weights / weights.sum())
    same(filters.gaussian_kernel(1, 1.0), [1])


# SciPy


@pytest.mark.parametrize("border", SCIPY_MODES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 4), (1, 5), (5, 2)])
def test_filter_images_equals_scipy(border, shape):
    kernel = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    expected = by_channel(
        lambda plane: ndimage.correlate(plane, kernel.astype(float), mode=SCIPY_MODES[border]), images()
    )
    same(filters.filter_images(images(), kernel, border=border), expected)


@pytest.mark.parametrize("border", SCIPY_MODES)
def test_filters_equal_scipy(border):
    mode = SCIPY_MODES[border]
    x, y = filters.sobel(images(), border=border)
    same(x, by_channel(lambda plane: ndimage.sobel(plane, axis=1, mode=mode), images()))
    same(y, by_channel(lambda plane: ndimage.sobel(plane, axis=0, mode=mode), images()))
    gaussian = by_channel(lambda plane: ndimage.gaussian_filter(plane, 1.3, radius=3, mode=mode), images())
    same(filters.blur(images(), size=7, sigma=1.3, border=border), gaussian)
    same(
        filters.box_blur(images(), size=5, border=border),
        by_channel(lambda plane: ndimage.uniform_filter(plane, 5, mode=mode), images()),
    )
    sharp = by_channel(lambda plane: plane - 0.5 * ndimage.laplace(plane, mode=mode), images())
    same(filters.sharpen(images(), amount=0.5, border=border), sharp)


# Invariants


def test_a_flat_image():
    flat = jnp.full((1, 4, 4, 2), 0.25)
    for function in (filters.blur, filters.box_blur, filters.sharpen):
        same(function(flat), flat)
    assert not filters.edges(flat).any()


def test_channels_and_images_do_not_mix():
    whole = filters.blur(images())
    np.testing.assert_array_equal(filters.blur(images()[1:, ..., 2:]), whole[1:, ..., 2:])


def test_an_image_smaller_than_the_kernel():
    for shape in ((1, 1, 1, 1), (1, 2, 3, 1)):
        assert filters.blur(images(*shape), size=9, sigma=2).shape == shape


def test_the_gradient_of_edges_is_finite_where_the_image_is_flat():
    gradient = jax.grad(lambda x: filters.edges(x).sum())(jnp.zeros((1, 4, 4, 1)).at[0, 0, 0, 0].set(1))
    assert np.isfinite(gradient).all()
    assert gradient.any()


def test_dtypes():
    assert filters.blur(jnp.ones((1, 4, 4, 1), jnp.bfloat16)).dtype == jnp.bfloat16
    whole = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    assert filters.sobel(whole)[0].dtype == jnp.float32
    np.testing.assert_array_equal(filters.sharpen(whole), filters.sharpen(whole.astype(np.float32)))


def test_jit_and_vmap():
    same(jax.jit(filters.gaussian_kernel, static_argnums=0)(5, 1.5), filters.gaussian_kernel(5, 1.5))
    for function in (filters.blur, filters.edges, filters.sharpen):
        same(jax.jit(function)(images()), function(images()))
        same(jax.vmap(function)(images()[None])[0], function(images()))


def test_checks():
    with pytest.raises(ValueError, match=r"got \(4, 4, 1\) and \(3, 3\)"):
        filters.filter_images(jnp.zeros((4, 4, 1)), jnp.ones((3, 3)))
    with pytest.raises(ValueError, match=r"got \(1, 4, 4, 1\) and \(3,\)"):
        filters.filter_images(jnp.zeros((1, 4, 4, 1)), jnp.ones(3))
    for size in (4, 0, -1):
        for function in (filters.blur, filters.box_blur):
            with pytest.raises(ValueError, match=f"size: expected an odd, positive number of pixels, got {size}"):
                function(jnp.zeros((1, 4, 4, 1)), size=size)
    for sigma in (0.0, -1, float("nan")):
        with pytest.raises(ValueError, match="sigma: expected a positive number of pixels, got"):
            filters.blur(jnp.zeros((1, 4, 4, 1)), 5, sigma)
    with pytest.raises(TypeError, match=r"size: expected an odd, positive number of pixels, got 2\.5"):
        filters.box_blur(jnp.zeros((1, 4, 4, 1)), 2.5)
    with pytest.raises(ValueError, match=r"border: expected one of 'constant', .*, got 'mirror'"):
        filters.sobel(jnp.zeros((1, 4, 4, 1)), border="mirror")


def test_no_images():
    for function in (filters.blur, filters.edges, filters.sharpen, filters.box_blur):
        assert function(jnp.zeros((0, 4, 4, 2))).shape == (0, 4, 4, 2)
