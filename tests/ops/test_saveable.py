"""Under ``jax.checkpoint``, products are kept where the policy says so, and the gradient stays what it is."""

import contextlib
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import print_saved_residuals

from stepax import ops

WEIGHTS = {
    "kernel": np.random.default_rng(0).normal(size=(3, 3, 4)),
    "dense": np.random.default_rng(1).normal(size=(4, 6)),
    "bias": np.ones(6),
}


def network(weights):
    y = jnp.sin(ops.conv(jnp.ones((2, 5, 3)), weights["kernel"]))
    y = jnp.sin(ops.dense(y, weights["dense"], weights["bias"]))
    return jnp.sin(jnp.matmul(y, jnp.ones((6, 2)))).sum()


def kept(policy):
    """What the forward pass keeps for the backward one beside its arguments, as JAX names it."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        print_saved_residuals(jax.checkpoint(network, policy=policy), WEIGHTS)
    found = [line.split(" output of ")[1].split()[0] for line in text.getvalue().splitlines() if " output of " in line]
    return sorted(found)


def test_results_of_products_are_kept_and_no_others():
    assert kept(None) == []
    assert kept(ops.products_saveable) == ["dot_general", "stepax_conv", "stepax_product"]


def test_jaxs_own_policy_knows_none_of_ours():
    """If it ever does, ours is no longer needed."""
    assert kept(jax.checkpoint_policies.dots_saveable) == ["dot_general"]


@pytest.mark.parametrize("lanes", [False, True])
def test_products_are_not_made_again(lanes):
    def products(policy):
        run = jax.grad(jax.checkpoint(network, policy=policy))
        weights = jax.tree.map(lambda w: np.stack([w, w]), WEIGHTS) if lanes else WEIGHTS
        text = str(jax.make_jaxpr(jax.vmap(run) if lanes else run)(weights))
        return sum(text.count(name) for name in ("stepax_conv[", "stepax_product[", "dot_general["))

    # The first convolution, the dense layer and the last product are made again where nothing is kept.
    assert products(None) - products(ops.products_saveable) == 3


def test_gradients_stay_what_they_are(x64):
    plain = jax.grad(network)(WEIGHTS)
    ours = jax.jit(jax.grad(jax.checkpoint(network, policy=ops.products_saveable)))(WEIGHTS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-12, 1e-12), ours, plain)
