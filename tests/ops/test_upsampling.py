"""Upsampling is PyTorch's; depth and space are each other's reverse."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from stepax.ops import depth_to_space, space_to_depth, upsample


def inputs(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_by_hand():
    x = jnp.float32([[1, 2], [3, 4]])[None, :, :, None]
    np.testing.assert_array_equal(upsample(x, 2)[0, :, :, 0], [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]])
    np.testing.assert_allclose(upsample(x[:, 0], 2, method="linear")[0, :, 0], [1, 1.25, 1.75, 2])
    blocks = jnp.arange(8.0).reshape(1, 1, 2, 4)
    np.testing.assert_array_equal(depth_to_space(blocks, 2)[0, :, :, 0], [[0, 1, 4, 5], [2, 3, 6, 7]])


@pytest.mark.parametrize("method", ["nearest", "linear"])
def test_equals_pytorch(method, torch):
    x = inputs(2, 3, 4, 5)
    mode = {"nearest": "nearest", "linear": "bilinear"}[method]
    theirs = torch.nn.functional.interpolate(torch.tensor(np.moveaxis(x, -1, 1)), scale_factor=3, mode=mode)
    np.testing.assert_allclose(np.moveaxis(upsample(x, 3, method=method), -1, 1), theirs, 1e-5, 1e-5)


def test_depth_to_space_is_pytorchs_with_the_blocks_places_first(torch):
    x = inputs(2, 3, 4, 12)
    last = np.moveaxis(x.reshape(2, 3, 4, 4, 3), -2, -1).reshape(x.shape)
    theirs = torch.pixel_shuffle(torch.tensor(np.moveaxis(last, -1, 1)), 2)
    np.testing.assert_array_equal(np.moveaxis(depth_to_space(x, 2), -1, 1), theirs)


@pytest.mark.parametrize(("shape", "factor"), [((2, 3, 8), 4), ((2, 3, 2, 9), 3), ((1, 2, 1, 3, 8), 2), ((2, 3, 2), 1)])
def test_depth_and_space_are_each_others_reverse(shape, factor):
    x = inputs(*shape)
    wide = depth_to_space(x, factor)
    assert wide.shape[1:-1] == tuple(factor * n for n in shape[1:-1])
    np.testing.assert_array_equal(space_to_depth(wide, factor), x)


def test_derivatives(x64):
    x = inputs(1, 2, 2, 4).astype(np.float64)
    for function in (upsample, partial(upsample, method="linear"), depth_to_space):
        check_grads(lambda x, f=function: jnp.sin(f(x, 2)), (x,), order=2, modes=["fwd", "rev"])
    sums = jax.grad(lambda x: upsample(x, 3).sum())(x)
    np.testing.assert_array_equal(sums, np.full(x.shape, 9.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: upsample(inputs(2, 3), 2), r"x: expected the shape \[batch, \*space, channels\], got \(2, 3\)"),
        (lambda: upsample(inputs(2, 3, 1), 0), "factor: expected at least 1, got 0"),
        (lambda: depth_to_space(inputs(2, 3, 1), -1), "factor: expected at least 1, got -1"),
        (lambda: space_to_depth(inputs(3), 1), "x: expected the shape"),
        (lambda: upsample(inputs(2, 3, 1), 2, method="cubic"), "method: expected 'nearest' or 'linear', got 'cubic'"),
        (lambda: depth_to_space(inputs(2, 3, 3, 6), 2), "factor: blocks of 4 elements do not divide 6 channels"),
        (lambda: space_to_depth(inputs(2, 4, 3, 1), 2), r"factor: 2 does not divide the input's space \(4, 3\)"),
    ],
)
def test_bad_input_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("function", [upsample, depth_to_space, space_to_depth])
def test_a_factor_that_is_not_whole_is_refused_and_any_whole_one_taken(function):
    with pytest.raises(TypeError, match=r"factor: expected a whole number, got 2\.0"):
        function(inputs(2, 4, 4), 2.0)
    np.testing.assert_array_equal(function(inputs(2, 4, 4), np.int32(2)), function(inputs(2, 4, 4), 2))


@pytest.mark.parametrize("shape", [(0, 2, 4), (2, 0, 4), (2, 2, 0), (0, 2, 2, 4)])
def test_what_is_empty_stays_so(shape):
    space = shape[1:-1]
    x, twice, half = jnp.zeros(shape), tuple(2 * n for n in space), tuple(n // 2 for n in space)
    blocks = 2 ** len(space)
    for function, expected in (
        (upsample, (shape[0], *twice, shape[-1])),
        (partial(upsample, method="linear"), (shape[0], *twice, shape[-1])),
        (depth_to_space, (shape[0], *twice, shape[-1] // blocks)),
        (space_to_depth, (shape[0], *half, shape[-1] * blocks)),
    ):
        y, pull = jax.vjp(lambda x, f=function: f(x, 2), x)
        assert y.shape == expected
        assert pull(y)[0].shape == shape
