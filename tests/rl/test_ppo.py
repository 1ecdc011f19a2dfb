"""The surrogate by hand, what the first update must show, and values that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stepax as sx
from stepax.rl import cartpole, known
from stepax.rl.distributions import Categorical
from stepax.rl.networks import ActorCritic, CategoricalPolicy, NormalPolicy, Value
from stepax.rl.normalization import normalized
from stepax.rl.ppo import _losses, ppo

KEY = jax.random.key(0)
SMALL = {"lanes": 4, "length": 8, "epochs": 2, "minibatches": 2}


def network(actions=2, features=(16,)):
    return ActorCritic(CategoricalPolicy(actions, features), Value(features))


def agent(environment=None, model=None, optimizer=None, **settings):
    optimizer = optimizer or optax.adam(3e-3)
    return ppo(environment or cartpole(), model or network(), optimizer, **{**SMALL, **settings})


def trained(learner, steps, seed=0):
    source = sx.generated(steps)
    return sx.fit(learner, source, key=jax.random.key(seed), epochs=1, batch_size=None, progress=False)


def test_the_losses_by_hand():
    # Twice and half as likely as before, for a good action and for a bad one.
    before = np.log(np.float32([0.25, 0.25, 0.5, 0.5]))
    policy = Categorical(jnp.log(jnp.float32([[0.5, 0.5]] * 2 + [[0.25, 0.75]] * 2)))
    batch = {
        "action": np.zeros(4, np.int32),
        "log_probability": before,
        "advantage": np.float32([1, -1, 1, -1]),
        "target": np.float32([1, 1, 1, 1]),
        "value": np.float32([0, 0, 0, 0]),
    }
    value = jnp.float32([0, 0.5, 1, 2])
    found = _losses(policy, value, batch, 0.2, None)
    np.testing.assert_allclose(found["policy_loss"], [-1.2, 2, -0.5, 0.8], 1e-6)
    np.testing.assert_allclose(found["value_loss"], [1, 0.25, 0, 1], 1e-6)
    np.testing.assert_allclose(found["divergence"], [1 - np.log(2)] * 2 + [-0.5 + np.log(2)] * 2, 1e-5)
    assert found["clipped"].tolist() == [1, 1, 1, 1]
    # Values that moved by more than .1 gain nothing by it.
    found = _losses(policy, value, batch, 0.2, 0.1)
    np.testing.assert_allclose(found["value_loss"], [1, 0.81, 0.81, 1], 1e-6)


def test_the_first_update_is_a_policy_gradient():
    """Nothing has changed yet: no divergence, nothing clipped, a surrogate of 0 as advantages have the mean 0."""
    learner = agent(epochs=1, minibatches=1)
    state = jax.jit(learner.init)(KEY, None)
    _, metrics = jax.jit(learner.step)(state, None)
    assert metrics["clipped"] == 0
    np.testing.assert_allclose([metrics["divergence"], metrics["policy_loss"]], 0, atol=1e-6)
    np.testing.assert_allclose(metrics["entropy"], np.log(2), 1e-3)


def test_a_step_is_that_of_gradients_through_the_argument():
    learner = agent()
    state = jax.jit(learner.init)(KEY, None)

    def nothing(objective, params, variables, batch, key):
        grads, variables, metrics = sx.gradient(objective, params, variables, batch, key)
        return jax.tree.map(jnp.zeros_like, grads), variables, metrics

    after, _ = jax.jit(lambda state: learner.step(state, None, gradient=nothing))(state)
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
    assert after.step == 1
    assert jax.eval_shape(lambda s: s, after) == jax.eval_shape(lambda s: s, state)


@pytest.mark.parametrize("name", ["constant", "observed", "delayed", "endless", "chosen", "matched"])
def test_values_are_those_that_are_known(name):
    toy = getattr(known, name)()
    actions = toy.environment.action_space.n
    learner = agent(
        toy.environment, network(actions), lanes=16, length=16, epochs=4, minibatches=4, discount=0.8, trace=0.95
    )
    run = trained(learner, 100)
    seen = {"delayed": [[0], [1]], "observed": [[-1], [1]], "matched": [[-1], [1]]}.get(name, [[0]])
    _, values = learner.predict(run.state, np.float32(seen))
    wanted = [toy.value(observation, 0.8) for observation in np.float32(seen)]

    np.testing.assert_allclose(values, wanted, rtol=0.05, atol=0.05)
    if name in ("chosen", "matched"):
        assert run.history["return"][-1] > 0.9
        assert learner.evaluate(run.state, None, KEY)["return"] == 1


def test_real_actions_are_learnt():
    toy = known.matched_continuous()
    model = normalized(ActorCritic(NormalPolicy(1, (16,), log_std=-1.0), Value((16,))))
    learner = agent(toy.environment, model, lanes=16, length=16, epochs=4, minibatches=4, normalize_rewards=True)
    run = trained(learner, 150)
    assert learner.evaluate(run.state, None, KEY)["return"] > -0.02
    of = run.state.variables["observations"]
    np.testing.assert_allclose([of.mean[0], of.variance[0]], [0, 1 / 3], atol=0.02)


def test_a_clip_may_fall():
    """With a bound of 0 from the second step on every ratio that moved is beyond it."""
    learner = agent(clip=lambda step: jnp.where(step < 1, 10.0, 0.0))
    run = trained(learner, 2)
    state = jax.jit(learner.init)(KEY, None)
    state, first = jax.jit(learner.step)(state, None)
    _, second = jax.jit(learner.step)(state, None)
    assert first["clipped"] == 0
    assert second["clipped"] > 0.5
    assert run.state.step == 2


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"environment": "CartPole-v1"}, TypeError, r"environment: expected a stepax\.rl\.Environment"),
        ({"model": "mlp"}, TypeError, "model: expected a Linen module or a stepax.Model, got str"),
        ({"lanes": 0}, ValueError, "lanes: expected at least 1, got 0"),
        ({"length": 0}, ValueError, "length: expected at least 1, got 0"),
        ({"minibatches": 5}, ValueError, "minibatches: 5 do not divide a rollout of 4 · 8 steps"),
        ({"discount": 1.5}, ValueError, "discount: expected a number from 0 to 1, got 1.5"),
        ({"trace": -1}, ValueError, "trace: expected a number from 0 to 1, got -1"),
        ({"clip": -0.1}, ValueError, "clip: expected a number of at least 0, got -0.1"),
        ({"value_clip": "wide"}, TypeError, "value_clip: expected a number, got str"),
        ({"evaluation_episodes": 0}, ValueError, "evaluation_episodes: expected at least 1, got 0"),
    ],
)
def test_wrong_settings_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        agent(**settings)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (network(3), "model: its policy chooses among 3 actions, and the environment has 2"),
        (
            ActorCritic(NormalPolicy(2), Value()),
            "model: its policy gives real numbers, and the environment takes one of 2",
        ),
        (CategoricalPolicy(2), "model: expected a distribution of actions and values, got Categorical"),
    ],
)
def test_a_model_that_does_not_fit_the_actions_is_refused(model, message):
    with pytest.raises((ValueError, TypeError), match=message):
        jax.eval_shape(agent(model=model).init, KEY, None)
