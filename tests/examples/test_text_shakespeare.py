"""The example runs in small, and its optimizer is nanoGPT's."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stepax as sx
from examples import record


@pytest.fixture(scope="module")
def module():
    return record.load("text_shakespeare")


def test_it_runs(module, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sx.data, "corpus", lambda name: "First Citizen:\nBefore we proceed any further, hear me.\n" * 20
    )
    small, large = module.Setting(1, 2, 8, 8, 2, 4), module.Setting(1, 1, 8, 16, 2, 3, 0.1)
    found = module.main(seeds=2, small=small, lstm=6, gpu=True, large=large, characters=900)
    assert {name: len(values) for name, values in found.items()} == {
        "gpt_loss": 2, "gpt_bits": 2, "lstm_loss": 2, "lstm_bits": 2, "large_loss": 1,
        "large_last_loss": 1,
    }  # fmt: skip
    assert all(math.isfinite(value) for values in found.values() for value in values)
    np.testing.assert_allclose(found["gpt_bits"], np.array(found["gpt_loss"]) / math.log(2))
    assert {claim["number"] for claim in module.CLAIMS} <= set(found)
    assert found["large_loss"] <= found["large_last_loss"]
    assert "gpt: " in capsys.readouterr().out


def test_the_published_size(module):
    """nanoGPT says .80 M parameters without places, of 65 tokens."""
    params = jax.eval_shape(module.gpt(module.SMALL, 65).init, jax.random.key(0), jnp.zeros((1, 64), jnp.int32))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    assert count - 64 * 128 == 4 * (12 * 128**2 + 2 * 128) + 128 + 65 * 128
    assert {leaf.ndim for leaf in jax.tree.leaves(params)} == {1, 2}
    shapes = [leaf.shape for leaf in jax.tree.leaves(params) if leaf.ndim == 1]
    assert len(shapes) == 9, "a scale for each normalisation, and no bias"


def test_the_rate_is_that_of_nanogpt(module):
    params = {"a": jnp.ones((1, 1)), "b": jnp.ones(1)}
    optimizer = module.optimizer(2000)
    state = optimizer.init(params)

    def rate(step):
        if step < 100:
            return 1e-3 * (step + 1) / 101
        return 1e-4 + 0.5 * (1 + math.cos(math.pi * (step - 100) / 1900)) * 9e-4

    grads = {"a": jnp.zeros((1, 1)), "b": jnp.zeros(1)}
    for step in (0, 1, 99, 100, 500, 1999):
        placed = jax.tree.map(
            lambda leaf, step=step: jnp.full_like(leaf, step) if leaf.dtype == jnp.int32 else leaf, state
        )
        updates, _ = optimizer.update(grads, placed, params)
        # Without a gradient there is the decay alone, and none of what is no matrix.
        np.testing.assert_allclose(updates["a"], [[-0.1 * rate(step)]], 1e-5)
        assert updates["b"] == 0


def test_gradients_are_cut(module):
    chain = module.optimizer(10)
    assert isinstance(chain, optax.GradientTransformation)
    params = {"b": jnp.zeros(2)}
    large, small = (chain.update({"b": jnp.array([3.0, 4.0]) * s}, chain.init(params), params)[1] for s in (1, 0.2))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-6), large, small)
