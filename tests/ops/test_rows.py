"""Sums in stages are sums, and broadcasts in stages broadcasts; each is the other's gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepax.ops.rows import every_row, sum_of_rows


@given(st.integers(1, 5000), st.integers(1, 3))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_equal_numpy(count, width):
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=(count, width))
        np.testing.assert_allclose(sum_of_rows(x), x.sum(0), 1e-10, 1e-10)
        np.testing.assert_array_equal(every_row(x[0], count), np.broadcast_to(x[0], x.shape))
        by_row = jax.grad(lambda row: (every_row(row, count) * x).sum())(jnp.asarray(x[0]))
        np.testing.assert_allclose(by_row, x.sum(0), 1e-10, 1e-10)
        by_x = jax.grad(lambda x: (sum_of_rows(x) * x[0]).sum())(jnp.asarray(x))
        np.testing.assert_allclose(by_x[1:], np.broadcast_to(x[0], (count - 1, width)), 1e-10)


@pytest.mark.parametrize("count", [31, 32, 4096, 4099])
def test_all_leading_axes_count(count):
    x = np.ones((2, count, 3), np.float32)
    np.testing.assert_array_equal(sum_of_rows(x), np.full(3, 2 * count, np.float32))
