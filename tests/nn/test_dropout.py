"""Dropout against Flax's, and with a traced rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from stepax.nn.dropout import Dropout

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(size=(20, 6, 5)).astype(np.float32))


def dropped(module, x=X):
    return module.apply({}, x, rngs={"dropout": KEY})


@pytest.mark.parametrize("axes", [(), (1,), (0, 2)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_draws_are_those_of_flax(axes, dtype):
    x = X.astype(dtype)
    expected = dropped(linen.Dropout(0.3, axes, deterministic=False), x)
    found = dropped(Dropout(0.3, axes), x)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


def test_a_traced_rate_is_as_good_as_a_number():
    rates = jnp.float32([0.0, 0.3, 0.9])
    together = jax.jit(jax.vmap(lambda rate: dropped(Dropout(rate))))(rates)
    for lane, rate in enumerate([0.0, 0.3, 0.9]):
        np.testing.assert_allclose(together[lane], dropped(Dropout(rate)), 1e-6)


def test_in_inference_nothing_is_dropped_and_no_key_is_needed():
    np.testing.assert_array_equal(Dropout(0.5, deterministic=True).apply({}, X), X)
    np.testing.assert_array_equal(Dropout(0.0).apply({}, X), X)


def test_the_mean_stays_and_the_share_is_the_rate():
    found = dropped(Dropout(0.25), jnp.ones(100_000))
    assert (found == 0).mean() == pytest.approx(0.25, abs=0.01)
    assert found.mean() == pytest.approx(1, abs=0.01)
