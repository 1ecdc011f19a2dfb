"""Activations against numbers by hand and PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepax.nn import activations
from stepax.nn.activations import maxout


@pytest.mark.parametrize("name", ["elu", "leaky_relu", "relu", "sigmoid", "softmax", "tanh"])
def test_equals_torch(torch, name):
    x = np.random.default_rng(0).normal(0, 4, (3, 7)).astype(np.float32)
    settings = {"dim": -1} if name == "softmax" else {}
    expected = getattr(torch.nn.functional, name)(torch.tensor(x), **settings)
    np.testing.assert_allclose(getattr(activations, name)(x), expected, rtol=1e-5, atol=1e-6)


def test_all_names_are_there():
    assert {*activations.__all__} == {"elu", "leaky_relu", "maxout", "relu", "sigmoid", "softmax", "tanh"}
    assert all(callable(getattr(activations, name)) for name in activations.__all__)


def test_maxout_by_hand():
    x = jnp.array([[1.0, 5.0, -3.0, -1.0, 2.0, 2.0]])
    np.testing.assert_array_equal(maxout(x), [[5, -1, 2]])
    np.testing.assert_array_equal(maxout(x, pieces=3), [[5, 2]])
    np.testing.assert_array_equal(maxout(x, pieces=6), [[5]])
    np.testing.assert_array_equal(maxout(x, pieces=1), x)


def test_maxout_makes_relu_and_the_absolute_value():
    x = jnp.linspace(-2, 2, 9)
    np.testing.assert_array_equal(maxout(jnp.stack([x, 0 * x], -1))[:, 0], activations.relu(x))
    np.testing.assert_array_equal(maxout(jnp.stack([x, -x], -1))[:, 0], abs(x))


def test_maxout_under_jit_and_vmap_and_grad():
    x = jnp.array([[1.0, 5.0, -3.0, -1.0], [0.0, -1.0, 4.0, 2.0]])
    np.testing.assert_array_equal(jax.jit(maxout)(x), jax.vmap(maxout)(x))
    np.testing.assert_array_equal(jax.grad(lambda x: maxout(x).sum())(x), [[0, 1, 0, 1], [1, 0, 1, 0]])


def test_maxout_checks():
    with pytest.raises(ValueError, match=r"pieces=4 divides, got the shape \(2, 6\)"):
        maxout(jnp.zeros((2, 6)), pieces=4)
    with pytest.raises(ValueError, match="pieces: expected at least 1, got 0"):
        maxout(jnp.zeros(6), pieces=0)
    with pytest.raises(TypeError, match=r"pieces: expected a whole number, got float 2\.0"):
        maxout(jnp.zeros(6), pieces=2.0)
    with pytest.raises(ValueError, match="x: expected a last axis"):
        maxout(jnp.zeros(()))
