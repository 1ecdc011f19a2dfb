"""Pooling is Flax's in values and PyTorch's in gradients; of ties, the first wins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from stepax.ops import average_pool, max_pool, pooling

OURS = {"max": max_pool, "average": average_pool}
FLAX = {
    "max": linen.max_pool,
    "average": lambda x, window, strides, padding: linen.avg_pool(x, window, strides, padding, count_include_pad=False),
}
FORMS = [
    ((6, 4), (2, 2), (2, 2), "VALID"),
    ((7, 5), (3, 2), (3, 2), "VALID"),  # a remainder is cut off
    ((7, 5), (3, 3), (2, 1), "VALID"),  # windows overlap
    ((5, 5), (2, 2), (2, 2), "SAME"),
    ((5, 6), (3, 3), (1, 2), "SAME"),
    ((9,), (2,), (3,), "VALID"),  # and leave gaps
    ((9,), (4,), (4,), "VALID"),
    ((4, 2, 3), (2, 1, 2), (2, 1, 2), "VALID"),
]


def distinct(space, channels=2):
    """Numbers without ties, in no order."""
    size = 2 * int(np.prod(space)) * channels
    return np.random.default_rng(0).permutation(size).reshape(2, *space, channels).astype(np.float32)


def with_gradient(pool, x):
    @jax.jit
    def run(x):
        y, pull = jax.vjp(pool, x)
        return y, pull(1 + jnp.arange(y.size, dtype=y.dtype).reshape(y.shape))[0]

    return run(x)


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize(("space", "window", "strides", "padding"), FORMS)
def test_values_and_gradients_are_those_of_flax(kind, space, window, strides, padding):
    x = distinct(space)
    ours = with_gradient(lambda x: OURS[kind](x, window, strides, padding), x)
    flax = with_gradient(lambda x: FLAX[kind](x, window, strides, padding), x)
    for a, b in zip(ours, flax, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, 1e-5, 1e-5)


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize(("window", "strides"), [((2, 3), None), ((3, 3), (2, 2))])
def test_values_and_gradients_are_those_of_pytorch(kind, window, strides, torch):
    x = distinct((7, 8))
    value, gradient = with_gradient(lambda x: OURS[kind](x, window, strides), x)
    theirs = torch.tensor(np.moveaxis(x, -1, 1), requires_grad=True)
    pool = {"max": torch.nn.functional.max_pool2d, "average": torch.nn.functional.avg_pool2d}[kind]
    y = pool(theirs, window, strides)
    g = 1 + np.arange(value.size, dtype=np.float32).reshape(value.shape)
    y.backward(torch.tensor(np.moveaxis(g, -1, 1)))
    np.testing.assert_allclose(np.moveaxis(value, -1, 1), y.detach(), 1e-5)
    np.testing.assert_allclose(np.moveaxis(gradient, -1, 1), theirs.grad, 1e-4, 1e-4)


def test_by_hand():
    x = jnp.float32([[1, 5, 2, 0, 7], [3, 4, 1, 1, 9], [8, 8, 8, 8, 8]])[None, :, :, None]
    np.testing.assert_array_equal(max_pool(x, (2, 2))[0, :, :, 0], [[5, 2]])
    np.testing.assert_array_equal(average_pool(x, (2, 2))[0, :, :, 0], [[3.25, 1]])
    np.testing.assert_allclose(average_pool(x, (3, 3), (3, 3), "SAME")[0, :, :, 0], [[40 / 9, 33 / 6]])


@pytest.mark.parametrize(("space", "window", "strides", "padding"), [*FORMS, ((10, 12), (5, 4), (5, 4), "VALID")])
def test_where_values_tie_the_first_place_gets_the_gradient_as_in_flax(space, window, strides, padding):
    x = distinct(space) % 3
    ours = with_gradient(lambda x: max_pool(x, window, strides, padding), x)
    flax = with_gradient(lambda x: linen.max_pool(x, window, strides, padding), x)
    np.testing.assert_array_equal(ours[1], flax[1])


@pytest.mark.parametrize("window", [(5, 5), (3, 3)])
def test_the_winner_is_told_without_its_value(monkeypatch, window):
    """In two fusions XLA may compute the input twice, rounded otherwise: a maximum then equals none of the values."""
    x = jnp.asarray(distinct((10, 6)))
    _, expected = jax.jvp(lambda x: max_pool(x, window), (x,), (x,))
    largest = pooling._max

    def rounded(*arguments):
        return jnp.nextafter(largest(*arguments), jnp.inf)

    monkeypatch.setattr(pooling, "_max", rounded)
    _, tangent = jax.jit(lambda x: pooling._max_jvp(window, window, ((0, 0),) * 2, (x,), (x,)))(x)
    np.testing.assert_array_equal(tangent, expected)


def test_ties_by_hand():
    x = jnp.zeros((1, 2, 4, 1)).at[0, 1, 3].set(1.0)
    gradient = jax.grad(lambda x: max_pool(x, (2, 2)).sum())(x)
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[1, 0, 0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(("window", "strides"), [((2, 2), None), ((3, 2), (2, 2)), ((5, 5), None)])
def test_forward_mode_and_second_derivatives(window, strides):
    x = jnp.asarray(distinct((5, 6), 1)) / 60

    def f(x):
        return (max_pool(x, window, strides) ** 3).sum()

    value, tangent = jax.jvp(f, (x,), (jnp.ones_like(x),))
    np.testing.assert_allclose(tangent, jax.grad(f)(x).sum(), 1e-5)
    np.testing.assert_allclose(value, f(x), 1e-6)
    both = [jax.hessian(f)(x), jax.jacrev(jax.grad(f))(x)]
    np.testing.assert_allclose(*both, 1e-5)
    # A maximum is linear in its winner: the second derivative is that of the cube, at the winner.
    diagonal = jnp.diagonal(both[0].reshape(x.size, x.size))
    assert jnp.count_nonzero(diagonal) == len(jnp.unique(max_pool(x, window, strides)))


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
@pytest.mark.parametrize("dtype", [np.int32, np.uint8, jnp.bfloat16])
def test_the_maximum_keeps_the_dtype(padding, dtype):
    x = jnp.asarray(distinct((3, 3), 1), dtype)
    y = max_pool(x, (2, 2), padding=padding)
    assert y.dtype == dtype
    assert y[0, 0, 0, 0] == x[0, :2, :2, 0].max()


def test_padding_never_wins():
    np.testing.assert_array_equal(max_pool(jnp.full((1, 3, 3, 1), -5.0), (2, 2), padding="SAME"), -5)


@pytest.mark.parametrize("pool", OURS.values())
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((2,),), r"window: expected a whole number of at least 1, or one per axis of space \(2\), got \(2,\)"),
        (((2, 2), (1,)), "strides: expected .* one per axis"),
        (((2, 2), None, "FULL"), "padding: expected one of 'SAME', 'VALID', a number, .*, got 'FULL'"),
        (((2, 2), None, "CAUSAL"), "padding: expected"),
        (((2, 2), None, (1, 1, 1)), "padding: expected"),
        (((2, 3), None, ((0, 2), 1)), r"padding: expected numbers of at least 0, smaller than the window \(2, 3\)"),
        (((2, 3), None, -1), "padding: expected numbers of at least 0"),
        (((4, 2),), r"window: \(4, 2\) is larger than the input's space \(3, 3\); use"),
        (((6, 2), None, (1, 0)), r"window: \(6, 2\) is larger than the input's space \(3, 3\) with padding"),
        (((2, 0),), "window: expected a whole number of at least 1"),
        ((0,), "window: expected a whole number of at least 1"),
        (((2, 2), (0, 1)), "strides: expected a whole number of at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(pool, arguments, message):
    with pytest.raises(ValueError, match=message):
        pool(jnp.zeros((1, 3, 3, 1)), *arguments)


@pytest.mark.parametrize("pool", OURS.values())
@pytest.mark.parametrize("arguments", [(2.5,), ((2, 2), "2"), ((2, 2), 1, None), ((2, 2), 1, (1, 0.5))])
def test_what_is_no_whole_number_is_refused(pool, arguments):
    name = ("window", "strides", "padding")[len(arguments) - 1]
    with pytest.raises(TypeError, match=f"{name}: expected"):
        pool(jnp.zeros((1, 3, 3, 1)), *arguments)


@pytest.mark.parametrize("pool", OURS.values())
def test_an_input_without_space_is_refused(pool):
    with pytest.raises(ValueError, match=r"x: expected the shape \[batch, \*space, channels\], got \(3, 3\)"):
        pool(jnp.zeros((3, 3)), 2)


@pytest.mark.parametrize("kind", OURS)
def test_one_number_holds_for_all_axes(kind):
    x = distinct((7, 5))
    np.testing.assert_array_equal(OURS[kind](x, np.int64(2), 1), OURS[kind](x, (2, 2), (1, 1)))


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize(("window", "strides"), [((2, 3), (2, 3)), ((3, 3), (1, 2)), ((5, 4), (2, 2))])
@pytest.mark.parametrize(("padding", "pairs"), [(1, ((1, 1), (1, 1))), ((0, (1, 2)), ((0, 0), (1, 2)))])
def test_padding_in_numbers_is_that_of_flax(kind, window, strides, padding, pairs):
    x = distinct((6, 5))
    ours = with_gradient(lambda x: OURS[kind](x, window, strides, padding), x)
    flax = with_gradient(lambda x: FLAX[kind](x, window, strides, pairs), x)
    for a, b in zip(ours, flax, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, 1e-5, 1e-5)


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("shape", [(0, 6, 6, 2), (2, 6, 6, 0), (2, 0, 6, 2)])
@pytest.mark.parametrize(
    ("window", "strides"), [((2, 2), (2, 2)), ((2, 3), (1, 2)), ((5, 5), (5, 5)), ((5, 5), (1, 1))]
)
@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_what_is_empty_is_so_for_flax_too(kind, shape, window, strides, padding):
    x = jnp.zeros(shape)
    ours = with_gradient(lambda x: OURS[kind](x, window, strides, padding), x)
    flax = with_gradient(lambda x: FLAX[kind](x, window, strides, padding), x)
    assert [a.shape for a in ours] == [b.shape for b in flax]
