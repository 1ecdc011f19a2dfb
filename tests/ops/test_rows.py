"""Sums over rows and one row for all of them are those of NumPy, with all derivatives, in parts and lanes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from stepax.ops import embed, rows
from stepax.ops.rows import every_row, scale_rows, sum_of_products, sum_of_rows


def numbers(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@given(st.integers(1, 5000), st.integers(1, 3))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_values_are_those_of_numpy(count, width):
    with jax.enable_x64(True):
        x, y = numbers(count, width), numbers(count, width, seed=1)
        np.testing.assert_allclose(jax.jit(sum_of_rows)(x), np.sum(x, 0), 1e-10, 1e-10)
        np.testing.assert_allclose(jax.jit(sum_of_products)(x, y), np.sum(np.multiply(x, y), 0), 1e-10, 1e-10)
        np.testing.assert_array_equal(jax.jit(every_row, static_argnums=1)(x[0], (count,)), np.tile(x[0], (count, 1)))
        np.testing.assert_array_equal(jax.jit(scale_rows)(x, y[0]), np.multiply(x, y[0][None]))


SHAPES = [(31, 2), (32, 2), (4099, 3), (2, 40, 3), (20, 3, 2, 2), (128, 9, 5, 2), (3, 2, 2, 2), (1, 1), (40,)]


@pytest.mark.parametrize("large", [8, 2**20], ids=["in parts", "at once"])
@pytest.mark.parametrize("shape", SHAPES)
def test_sums_over_all_axes_but_the_last_in_parts_or_at_once(shape, large, monkeypatch):
    monkeypatch.setattr(rows, "LARGE", large)
    axes = tuple(range(len(shape) - 1))
    with jax.enable_x64(True):
        x, y = numbers(*shape), numbers(*shape, seed=1)
        # A function of its own for each case: a compiled program would hide that the constant changed.
        np.testing.assert_allclose(jax.jit(lambda x: sum_of_rows(x))(x), np.sum(x, axes), 1e-10, 1e-10)
        found = jax.jit(lambda x, y: sum_of_products(x, y))(x, y)
        np.testing.assert_allclose(found, np.sum(np.multiply(x, y), axes), 1e-10, 1e-10)


def test_only_large_arrays_are_summed_in_a_loop():
    assert "while" not in jax.jit(sum_of_rows).lower(jnp.zeros((2**13, 64))).as_text()
    assert "while" in jax.jit(sum_of_rows).lower(jnp.zeros((2**14, 64))).as_text()


OPERATIONS = {
    "sum": (sum_of_rows, [(40, 2, 3)]),
    "products": (sum_of_products, [(40, 2, 3), (40, 2, 3)]),
    "every": (lambda row: every_row(row, (4, 2)), [(3,)]),
    "scale": (scale_rows, [(4, 2, 3), (3,)]),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_derivatives_of_both_modes_and_second_order(name):
    function, shapes = OPERATIONS[name]
    with jax.enable_x64(True):
        check_grads(function, [numbers(*shape) for shape in shapes], order=2, modes=["fwd", "rev"])


@pytest.mark.parametrize("name", OPERATIONS)
def test_lanes_anywhere_and_operands_without(name):
    function, shapes = OPERATIONS[name]
    for axis in (0, 1, -1):
        operands = [numbers(*shape[:axis], 5, *shape[axis:]) if axis >= 0 else numbers(*shape, 5) for shape in shapes]
        if any(len(shape) < axis for shape in shapes):
            continue
        for lanes in {(axis,) * len(shapes), (axis, None)[: len(shapes)], (None, axis)[-len(shapes) :]}:
            mixed = [x if lane is not None else numbers(*s) for x, lane, s in zip(operands, lanes, shapes, strict=True)]
            one_by_one = [
                function(*(x if lane is None else jnp.take(x, i, lane) for x, lane in zip(mixed, lanes, strict=True)))
                for i in range(5)
            ]
            np.testing.assert_allclose(jax.vmap(function, lanes)(*mixed), jnp.stack(one_by_one), 1e-5, 1e-5)


@pytest.mark.parametrize("shape", [(40, 0), (0, 3), (0, 0), (2, 0, 3), (40, 3, 0), (0,)])
def test_what_is_empty_is_so_for_numpy_too(shape):
    axes, wide = tuple(range(len(shape) - 1)), (2, *shape)
    cases = [
        (sum_of_rows, lambda x: x.sum(axes), [shape]),
        (sum_of_products, lambda x, y: (x * y).sum(axes), [shape, shape]),
        (lambda row: every_row(row, shape[:-1]), lambda row: jnp.broadcast_to(row, shape), [shape[-1:]]),
        (scale_rows, lambda x, row: x * jnp.broadcast_to(row, x.shape), [shape, shape[-1:]]),
    ]
    assert rows.as_rows(jnp.zeros(wide)).shape == (int(np.prod(wide[:-1])), shape[-1])
    for ours, stock, shapes in cases:
        operands = [numbers(2, *each) for each in shapes]
        for run in (jax.jit, lambda f: f, jax.vmap):
            given = operands if run is jax.vmap else [x[0] for x in operands]
            found, wanted = (
                run(lambda *x, f=f: jax.value_and_grad(lambda *x: jnp.cos(f(*x)).sum(), tuple(range(len(x))))(*x))(
                    *given
                )
                for f in (ours, stock)
            )
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-6, strict=True), found, wanted)


KINDS = [("float32", "bfloat16"), ("bfloat16", "float32"), ("float16", "bfloat16"), ("bfloat16", "bfloat16")]


@pytest.mark.parametrize(("one", "other"), KINDS)
def test_dtypes_of_values_and_gradients_are_those_of_jax(one, other):
    cases = [
        (sum_of_products, lambda x, y: (x * y).sum(0), (4, 3)),
        (scale_rows, lambda x, row: x * jnp.broadcast_to(row, x.shape), (3,)),
    ]
    for ours, stock, shape in cases:
        operands = numbers(4, 3).astype(one), numbers(*shape).astype(other)
        found, wanted = (
            jax.value_and_grad(lambda *a, f=f: f(*a).sum().astype("float32"), (0, 1))(*operands) for f in (ours, stock)
        )
        assert ours(*operands).dtype == stock(*operands).dtype
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a.astype("float32"), b.astype("float32"), 0.05, 0.05)


def test_whole_numbers_meet_floating_ones_as_in_jax():
    whole, row = jnp.arange(6).reshape(2, 3), jnp.array([0.5, 1.5, 2.5])
    np.testing.assert_array_equal(scale_rows(whole, row), whole * row[None])
    np.testing.assert_array_equal(jax.grad(lambda r: scale_rows(whole, r).sum())(row), whole.sum(0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sum_of_rows(1.0), "x: expected the shape .*, got a scalar"),
        (lambda: sum_of_products(1.0, 1.0), "x: expected the shape .*, got a scalar"),
        (lambda: sum_of_products(np.ones((2, 3)), np.ones(3)), r"y: expected the shape of x, \(2, 3\), got \(3,\)"),
        (lambda: every_row(np.ones((2, 3)), (4,)), r"row: expected the shape \[width\], got \(2, 3\)"),
        (lambda: scale_rows(np.ones((2, 3)), np.ones(2)), r"row: expected the shape \(3,\) for x of shape \(2, 3\)"),
        (lambda: scale_rows(np.ones((2, 3)), np.ones((2, 3))), r"row: expected the shape \[width\]"),
        (lambda: scale_rows(1.0, np.ones(1)), "x: expected the shape"),
    ],
)
def test_bad_shapes_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_half_precision_is_summed_in_single():
    x = jnp.ones((4096, 2), jnp.bfloat16)
    for total in (jax.jit(sum_of_rows)(x), jax.jit(sum_of_products)(x, x)):
        assert total.dtype == jnp.bfloat16
        np.testing.assert_array_equal(total, 4096)


@pytest.mark.parametrize("indices", [np.zeros(4, int), np.zeros((0, 2), int)])
def test_rows_of_no_width_may_be_looked_up(indices):
    gradient = jax.grad(lambda table: embed(table, indices).sum())(jnp.zeros((3, 0)))
    assert gradient.shape == (3, 0)
    with pytest.raises(ValueError, match=r"table: expected the shape \[rows, width\], got \(3,\)"):
        embed(jnp.zeros(3), indices)
