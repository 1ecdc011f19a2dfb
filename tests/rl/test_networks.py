"""Shapes, and what networks answer before they have learnt anything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepax.rl.distributions import Categorical, Normal
from stepax.rl.networks import ActionValues, ActorCritic, CategoricalPolicy, Dueling, NormalPolicy, Value, orthogonal

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def drawn(module, x=X):
    return jax.jit(module.init)(jax.random.key(0), x)


def test_a_policy_begins_indifferent():
    module = CategoricalPolicy(3)
    policy = module.apply(drawn(module), X)
    assert isinstance(policy, Categorical)
    np.testing.assert_allclose(jax.nn.softmax(policy.logits), np.full((4, 3), 1 / 3), atol=0.02)


def test_real_actions_have_a_spread_that_is_learnt():
    module = NormalPolicy(2, log_std=-0.5)
    variables = drawn(module)
    policy = module.apply(variables, X)
    assert isinstance(policy, Normal)
    assert policy.mean.shape == (4, 2)
    assert np.abs(policy.mean).max() < 0.1
    np.testing.assert_array_equal(policy.log_std, np.full((4, 2), -0.5, np.float32))
    slope = jax.grad(lambda params: module.apply({"params": params}, X).log_probability(X[:, :2]).sum())
    assert (slope(variables["params"])["log_std"] != 0).all()


def test_hidden_layers_are_orthogonal():
    kernel = drawn(Value((3, 3)))["params"]["body"]["dense_0"]["kernel"]
    np.testing.assert_allclose(kernel @ kernel.T, 2 * np.eye(3), atol=1e-5)


def test_hidden_layers_of_many_agents_are_those_of_each():
    """One after the other, so that not all of them wait for the same threads; and the same for each."""
    draw, keys = orthogonal(2.0), jax.random.split(jax.random.key(3), 3)
    together = jax.jit(jax.vmap(lambda key: draw(key, (4, 3))))(keys)
    assert "while" in jax.jit(jax.vmap(lambda key: draw(key, (4, 3)))).lower(keys).as_text()
    for kernel, key in zip(together, keys, strict=True):
        np.testing.assert_allclose(kernel.T @ kernel, 4 * np.eye(3), atol=1e-5)
        np.testing.assert_allclose(kernel, draw(key, (4, 3)), atol=1e-5)


def test_actor_and_critic_share_nothing():
    module = ActorCritic(CategoricalPolicy(2, (5,)), Value((5,)))
    variables = drawn(module)
    policy, value = module.apply(variables, X)
    assert value.shape == (4,)
    by_policy = jax.grad(lambda v: module.apply(v, X)[0].log_probability(jnp.zeros(4, int)).sum())(variables)["params"]
    by_value = jax.grad(lambda v: module.apply(v, X)[1].sum())(variables)["params"]
    assert all((leaf == 0).all() for leaf in jax.tree.leaves((by_policy["critic"], by_value["actor"])))
    assert policy.logits.shape == (4, 2)


@pytest.mark.parametrize("shape", [(4, 2, 3), (4,)])
def test_observations_of_any_shape(shape):
    module = Value((5,))
    x = np.ones(shape, np.float32)
    assert module.apply(drawn(module, x), x).shape == (4,)


def test_a_duel_needs_a_layer_of_its_own():
    with pytest.raises(ValueError, match="features: expected at least one width"):
        Dueling(2, ()).init(jax.random.key(0), X)


def test_the_advantages_of_a_duel_have_the_mean_0():
    module = Dueling(3, (6, 5))
    params = drawn(module)["params"]
    values = module.apply({"params": params}, X)
    assert values.shape == (4, 3)
    hidden = jax.nn.relu(X @ params["dense_0"]["kernel"])
    value = jax.nn.relu(hidden @ params["value"]["dense_0"]["kernel"]) @ params["value"]["out"]["kernel"]
    np.testing.assert_allclose(values.mean(-1), value[:, 0], 1e-4, 1e-6)
    assert ActionValues(3, (5,)).apply(drawn(ActionValues(3, (5,))), X).shape == (4, 3)
