"""Sums over rows and one row for all of them are those of NumPy, with all derivatives, in parts and lanes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from stepax.ops import rows
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


def test_half_precision_is_summed_in_single():
    x = jnp.ones((4096, 2), jnp.bfloat16)
    for total in (jax.jit(sum_of_rows)(x), jax.jit(sum_of_products)(x, x)):
        assert total.dtype == jnp.bfloat16
        np.testing.assert_array_equal(total, 4096)
