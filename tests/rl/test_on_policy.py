"""A step is a rollout and what a method makes of it: what the method gets, and what stays beside it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from stepax.rl import known
from stepax.rl.estimators import gae
from stepax.rl.networks import ActorCritic, CategoricalPolicy, Value
from stepax.rl.normalization import normalized
from stepax.rl.on_policy import Rollouts, checked, on_policy

KEY = jax.random.key(0)
ROLLOUTS = Rollouts(3, 6, 0.9, 0.5, False, 4, 50)
ENVIRONMENT = known.endless(4).environment


def made(rollouts=ROLLOUTS, model=None):
    """A method that changes nothing and tells all that it gets."""
    model = model or ActorCritic(CategoricalPolicy(1, (4,)), Value((4,)))
    return on_policy(ENVIRONMENT, model, optax.sgd(0.1), rollouts, lambda state, examples, *_: (state, examples))


def stepped(learner):
    state = jax.jit(learner.init)(KEY)
    return state, *jax.jit(learner.step)(state)


def test_advantages_bootstrap_from_where_an_episode_was_cut_off():
    learner = made()
    state, after, told = stepped(learner)
    value = told["value"].reshape(6, 3)
    np.testing.assert_allclose(told["value"], learner.predict(state, told["observation"])[1], 1e-5)
    truncated = jnp.arange(6)[:, None] % 4 == 3
    truncated = jnp.broadcast_to(truncated, (6, 3))
    # Every observation is the same, and so is its value.
    by_hand = gae(jnp.ones((6, 3)), value, value, jnp.zeros_like(truncated), truncated, discount=0.9, trace=0.5)
    np.testing.assert_allclose(told["advantage"], by_hand.reshape(-1), 1e-5)
    np.testing.assert_allclose(told["target"], told["advantage"] + told["value"], 1e-6)
    np.testing.assert_allclose(told["log_probability"], 0, atol=1e-6)
    assert told["return"] == 4
    assert after.step == 1
    assert after.extra["lanes"].finished.tolist() == [1, 1, 1]


def test_what_was_seen_counts_from_the_next_rollout_on():
    model = normalized(ActorCritic(CategoricalPolicy(1, (4,)), Value((4,))))
    state, after, _ = stepped(made(model=model))
    assert state.variables["observations"].number < 1
    np.testing.assert_allclose(after.variables["observations"].number, 18, 1e-4)


def test_rewards_may_be_normalised():
    _, after, told = stepped(made(ROLLOUTS._replace(normalize_rewards=True)))
    sums = np.array([1, 1.9, 2.71, 3.439, 1, 1.9])
    np.testing.assert_allclose(after.extra["rewards"].of.variance, sums.var(), 1e-3)
    value = told["value"][0]
    reward = 1 / sums.std()
    # The last step of the rollout has one term.
    np.testing.assert_allclose(told["advantage"][-1], reward + 0.9 * value - value, 1e-3)


def test_evaluation_is_over_separate_episodes():
    learner = made()
    state = jax.jit(learner.init)(KEY)
    measured = jax.jit(lambda state: learner.evaluate(state, None, KEY))(state)
    assert measured == {"return": 4, "length": 4, "ended": 1, "weight": 4}
    assert checked(ROLLOUTS, weight=0.5) == ROLLOUTS
