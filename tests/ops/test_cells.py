"""Each cell's backward pass is the derivative of its forward pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepax.ops.cells import GRU, LSTM, simple_cell

CELLS = {"simple": simple_cell(jnp.tanh), "softplus": simple_cell(jax.nn.softplus), "gru": GRU, "lstm": LSTM}


@pytest.mark.parametrize("name", CELLS)
def test_backward_is_the_derivative_of_forward(name, x64):
    cell, random = CELLS[name], np.random.default_rng(0)
    z, u = (random.normal(size=(2, 3 * cell.gates)) for _ in range(2))
    state, by_next = (tuple(random.normal(size=(2, 3)) for _ in range(cell.parts)) for _ in range(2))
    _, pull = jax.vjp(lambda z, u, state: cell.forward(z, u, state)[0], z, u, state)
    _, saved = cell.forward(z, u, state)
    ours, expected = cell.backward(saved, by_next), pull(by_next)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-12, 1e-12), ours, expected)


@pytest.mark.parametrize("name", ["simple", "lstm"])
def test_one_product_may_hold_both(name, x64):
    cell, random = CELLS[name], np.random.default_rng(0)
    z, u = (random.normal(size=(2, 3 * cell.gates)) for _ in range(2))
    state = tuple(random.normal(size=(2, 3)) for _ in range(cell.parts))
    jax.tree.map(np.testing.assert_array_equal, cell.forward(None, z + u, state), cell.forward(z, u, state))
