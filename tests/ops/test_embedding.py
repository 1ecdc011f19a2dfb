"""Lookups are ``jnp.take``'s, gradients too, for small tables (a product) and large ones (a sum by rows)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from stepax.ops import embed
from stepax.ops.embedding import SMALL


def operands(rows):
    random = np.random.default_rng(0)
    table = random.normal(size=(rows, 3))
    indices = random.integers(-rows, rows, size=(4, 5))
    # A row that is taken again and again: its gradient is a sum.
    return table, np.concatenate([indices, np.full((1, 5), 1)])


@pytest.mark.parametrize("rows", [7, SMALL + 1], ids=["small", "large"])
def test_equals_take(rows, x64):
    table, indices = operands(rows)

    def both(lookup):
        return jax.jit(jax.value_and_grad(lambda t: jnp.sin(lookup(t)).sum()))(table)

    ours = both(lambda t: embed(t, indices))
    stock = both(lambda t: jnp.take(t, indices, axis=0))
    np.testing.assert_allclose(ours[0], stock[0], 1e-12)
    np.testing.assert_allclose(ours[1], stock[1], 1e-12, 1e-12)
    np.testing.assert_array_equal(embed(table, indices), table[indices])


@pytest.mark.parametrize("rows", [3, SMALL + 1], ids=["small", "large"])
def test_numbers_outside_the_table_give_nan_and_change_nothing(rows):
    table = jnp.ones((rows, 2))
    indices = jnp.array([rows, -rows - 1, 0])
    np.testing.assert_array_equal(jnp.isnan(embed(table, indices))[:, 0], [True, True, False])
    gradient = jax.grad(lambda t: embed(t, indices)[2].sum())(table)
    np.testing.assert_array_equal(gradient.sum(1), [2.0] + [0.0] * (rows - 1))


def test_derivatives_and_lanes(x64):
    table, indices = operands(5)
    check_grads(lambda t: jnp.sin(embed(t, indices)), (table,), order=2, modes=["rev"])
    lanes = jax.vmap(jax.grad(lambda t: jnp.sin(embed(t, indices)).sum()))(np.stack([table, 2 * table]))
    for lane, factor in zip(lanes, (1, 2), strict=True):
        np.testing.assert_allclose(
            lane, jax.grad(lambda t: jnp.sin(t[indices]).sum())(jnp.asarray(factor * table)), 1e-12
        )


def test_only_integers():
    with pytest.raises(TypeError, match="indices: expected integers, got float32"):
        embed(jnp.ones((3, 2)), jnp.zeros(4))


@pytest.mark.parametrize(("dtype", "rows"), [(np.uint8, 256), (np.int8, 200), (np.uint16, 300)])
def test_narrow_indices_have_a_gradient(dtype, rows):
    indices = np.array([0, 5, 5, 127], dtype)
    gradient = jax.jit(jax.grad(lambda table: embed(table, indices).sum()))(jnp.zeros((rows, 2)))
    counts = np.bincount(indices, minlength=rows)
    np.testing.assert_array_equal(gradient, np.stack([counts, counts], -1))
