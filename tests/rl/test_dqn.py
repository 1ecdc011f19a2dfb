"""Targets by hand, values that are known, and all parts together."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stepax as sx
from stepax.rl import cartpole, known, n_step, pendulum, prioritised, uniform
from stepax.rl.dqn import double, dqn, gradual, maximum, periodic
from stepax.rl.networks import ActionValues, Dueling

KEY = jax.random.key(0)
SMALL = {"lanes": 2, "length": 4, "batch_size": 8, "warmup": 2}


def agent(environment=None, model=None, optimizer=None, **settings):
    return dqn(
        environment or cartpole(),
        model or ActionValues(2, (16,)),
        optimizer or optax.adam(3e-3),
        **{**SMALL, "replay": uniform(200), **settings},
    )


def trained(learner, epochs, **settings):
    source = sx.generated(5)
    return sx.fit(learner, source, key=KEY, epochs=epochs, batch_size=None, progress=False, **settings)


def test_what_the_next_observation_is_worth():
    online, lagging = jnp.float32([[1, 2], [5, 4]]), jnp.float32([[10, 20], [30, 40]])
    assert maximum(online, lagging).tolist() == [20, 40]
    assert double(online, lagging).tolist() == [20, 30]


def test_how_the_second_network_follows():
    new, old = {"w": jnp.float32([4])}, {"w": jnp.float32([0])}
    assert [float(periodic(3)(new, old, jnp.int32(count))["w"][0]) for count in (1, 2, 3, 4)] == [0, 0, 4, 0]
    assert gradual(0.25)(new, old, jnp.int32(1))["w"].tolist() == [1]


def test_nothing_is_learnt_before_there_is_enough():
    learner = agent()
    state, step = jax.jit(learner.init)(KEY), jax.jit(learner.step)
    for number in range(4):
        after, metrics = step(state)
        same = all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), after.params, state.params)))
        assert same == (number < 2)
        assert (metrics["weight"] == 0) == (number < 2)
        assert after.extra["replay"].size == 8 * (number + 1)
        state = after


def test_an_update_is_the_gradient_of_the_squared_errors():
    """One transition alone in the replay, of which the target is known: 1 and nothing after it."""
    model = ActionValues(1, (3,))
    learner = agent(
        known.constant().environment,
        model,
        optax.sgd(0.5),
        lanes=1,
        length=1,
        batch_size=1,
        warmup=0,
        loss=lambda error: error**2,
    )
    state = jax.jit(learner.init)(KEY)
    after, metrics = jax.jit(learner.step)(state)

    def loss(params):
        return jnp.mean((1 - model.apply({"params": params}, jnp.zeros((1, 1)))[:, 0]) ** 2)

    wanted = jax.tree.map(lambda p, g: p - 0.5 * g, state.params, jax.grad(loss)(state.params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.params, wanted)
    np.testing.assert_allclose(metrics["loss"], loss(state.params), 1e-5)
    # The second network is still the one from the beginning.
    jax.tree.map(np.testing.assert_array_equal, after.extra["target"][0], state.params)


@pytest.mark.parametrize("name", ["observed", "delayed", "endless", "matched"])
def test_values_are_those_that_are_known(name):
    toy = getattr(known, name)()
    actions = toy.environment.action_space.n
    learner = agent(
        toy.environment,
        ActionValues(actions, (16,)),
        optax.adam(0.01),
        lanes=4,
        updates=4,
        discount=0.8,
        follow=gradual(0.1),
        epsilon=0.5,
    )
    run = trained(learner, 60)
    seen = np.float32({"delayed": [[0], [1]], "endless": [[0]]}.get(name, [[-1], [1]]))
    values = learner.predict(run.state, seen)
    wanted = [[toy.action_value(observation, action, 0.8) for action in range(actions)] for observation in seen]
    np.testing.assert_allclose(values, wanted, rtol=0.05, atol=0.05)
    if name == "matched":
        assert learner.evaluate(run.state, None, KEY)["return"] == 1


def test_all_parts_together():
    """A longer way to the same values: three steps at once, priorities, value and advantages apart."""
    toy = known.delayed(4)
    learner = agent(
        toy.environment,
        Dueling(1, (16, 16)),
        optax.adam(0.01),
        replay=n_step(prioritised(200), 3, 0.8, lanes=2),
        updates=4,
        discount=0.8,
        follow=periodic(5),
    )
    run = trained(learner, 60)
    seen = np.float32([[0], [1], [2], [3]])
    values = learner.predict(run.state, seen)[:, 0]
    np.testing.assert_allclose(values, [toy.value(observation, 0.8) for observation in seen], rtol=0.05, atol=0.05)
    buffer = run.state.extra["replay"].buffer
    assert buffer.updates == (300 - SMALL["warmup"]) * 4


def test_exploration_may_fall():
    learner = agent(epsilon=lambda step: jnp.where(step < 1, 1.0, 0.0), warmup=100, lanes=64, length=1)
    state, step = jax.jit(learner.init)(KEY), jax.jit(learner.step)
    for _ in range(2):
        state, _ = step(state)
    named = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(state.extra["replay"])}
    (actions,) = (leaf for name, leaf in named.items() if name.endswith("['action']"))
    (seen,) = (leaf for name, leaf in named.items() if name.endswith("['observation']"))
    assert 16 < actions[:64].sum() < 48
    np.testing.assert_array_equal(actions[64:128], learner.predict(state, seen[64:128]).argmax(-1))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"environment": pendulum()}, TypeError, "environment: expected discrete actions"),
        ({"epsilon": 1.5}, ValueError, "epsilon: expected a number from 0 to 1, got 1.5"),
        ({"updates": 0}, ValueError, "updates: expected at least 1, got 0"),
        ({"warmup": -1}, ValueError, "warmup: expected at least 0, got -1"),
        ({"warmup": 0, "batch_size": 9}, ValueError, "warmup: 0 steps of 2 · 4 transitions.*expected at least 1"),
        ({"replay": "uniform"}, TypeError, "replay"),
        ({"follow": 0.01}, TypeError, "follow: expected a function"),
        ({"bootstrap": "double"}, TypeError, "bootstrap: expected a function"),
    ],
)
def test_wrong_settings_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        agent(**settings)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"model: expected values \[batch, 2\], one for each action, got the shape"):
        jax.eval_shape(agent(model=ActionValues(3)).init, KEY)
    with pytest.raises(ValueError, match="rate: expected a number from 0 to 1, got 2"):
        gradual(2)
    with pytest.raises(ValueError, match="period: expected at least 1, got 0"):
        periodic(0)
    learner = agent(replay=uniform(4), warmup=0)
    with pytest.raises(ValueError, match="batch_size"):
        jax.eval_shape(lambda: learner.step(learner.init(KEY)))
