"""What every agent promises, at toy size: a new one joins by an entry in ``AGENTS``."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stepax as sx
from stepax import rl
from stepax.record import parameter_hash
from stepax.rl.environments.known import matched

KEY = jax.random.key(0)
STEPS = 3  # of an epoch
ENDS = {"evaluation_episodes": 4, "evaluation_steps": 5}


def actor_critic():
    return rl.ActorCritic(rl.CategoricalPolicy(2, (4,)), rl.Value((4,)))


def deep(replay, environment, **settings):
    network = rl.normalized(rl.ActionValues(2, (4,)))
    settings = {"lanes": 2, "length": 4, "updates": 2, "batch_size": 8, "warmup": 2, **ENDS, **settings}
    return rl.dqn(environment, network, optax.sgd(0.05), replay=replay, **settings)


def taught(environment):
    """By demonstrations of the right actions in the environment itself."""
    settings = {"pretraining": 0, "capacity": 40, "steps": 2, "updates": 2, "batch_size": 8, **SMALL}
    network = rl.normalized(rl.ActionValues(2, (4,)))
    return rl.dqfd(environment, network, optax.sgd(0.05), shown(), **settings)


@functools.cache
def shown():
    def right(observation, key):
        return (observation[:, 0] > 0).astype(jnp.int32), {}

    return rl.recorded(matched().environment, right, KEY, 4, 1)


def lake(environment):
    """The environment with two places, so that a table fits it."""

    def number(observation):
        return (observation[0] > 0).astype(jnp.int32)

    def reset(key):
        state, observation = environment.reset(key)
        return state, number(observation)

    def step(state, action, key):
        made = environment.step(state, action, key)
        return made._replace(observation=number(made.observation))

    return environment._replace(reset=reset, step=step, observation_space=rl.Discrete(2))


SMALL = {"lanes": 2, "length": 4, **ENDS}
AGENTS = {
    "ppo": lambda env: rl.ppo(
        env, rl.normalized(actor_critic()), optax.sgd(0.05), epochs=2, minibatches=2, normalize_rewards=True, **SMALL
    ),
    "a2c": lambda env: rl.a2c(env, actor_critic(), optax.sgd(0.05), **SMALL),
    "reinforce": lambda env: rl.reinforce(env, actor_critic(), optax.sgd(0.05), lanes=4, length=4, **ENDS),
    "dqn": lambda env: deep(rl.uniform(100), env),
    "dqn of parts": lambda env: deep(rl.n_step(rl.prioritised(100), 3, 0.99, lanes=2), env, follow=rl.gradual(0.1)),
    "dqfd": taught,
    "q-learning": lambda env: rl.q_learning(lake(env), rate=0.1, epsilon=0.5, **SMALL),
    "sarsa": lambda env: rl.sarsa(lake(env), rate=rl.ByVisits(), epsilon=0.5, **SMALL),
    "expected sarsa": lambda env: rl.expected_sarsa(lake(env), rate=0.1, epsilon=0.5, **SMALL),
}
GRADIENTS = [name for name in AGENTS if not name.endswith(("q-learning", "sarsa"))]


@functools.cache
def agent(name):
    """One of each for all tests: what one of them has compiled, the others find."""
    return AGENTS[name](matched().environment)


@functools.cache
def begun(name, seed=0):
    return jax.jit(agent(name).init)(jax.random.key(seed), None)


@functools.cache
def stepped(name):
    """A step in the rotation that the others are held against: the state and the metrics after it."""
    return jax.jit(agent(name).step)(begun(name), None)


def fitted(learner, epochs, seed=0, **settings):
    data = {"key": jax.random.key(seed), "epochs": epochs, "batch_size": None, "progress": False}
    return sx.fit(learner, sx.generated(STEPS), **data, **settings)


def same_bits(first, second):
    for (path, a), b in zip(jax.tree.leaves_with_path(first), jax.tree.leaves(second), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))


def close(first, second):
    for (path, a), b in zip(jax.tree.leaves_with_path(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, 1e-4, 1e-6, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("name", AGENTS)
def test_a_step_keeps_tree_shapes_dtypes_and_key_and_counts(name):
    state, (after, metrics) = begun(name), stepped(name)
    assert jax.eval_shape(agent(name).init, KEY, None) == jax.eval_shape(lambda s: s, state)
    assert jax.eval_shape(lambda s: s, after) == jax.eval_shape(lambda s: s, state)
    assert after.step == 1
    same_bits(after.key, state.key)
    assert {"loss", "weight", "return", "length"} <= set(metrics)
    assert {(value.shape, value.dtype) for value in metrics.values()} == {((), jnp.dtype("float32"))}
    assert metrics["length"] == 1


@pytest.mark.parametrize(("name", "number"), [("ppo", 8), ("dqn", 8), ("dqfd", 4 + 8)])
def test_normalised_networks_count_what_was_seen_and_shown(name, number):
    after = stepped(name)[0]
    moments = after.variables["observations"]
    if name == "dqn":  # before it learns, the network that lags behind has the same eyes
        same_bits(after.extra["target"][1]["observations"], moments)
    np.testing.assert_allclose(moments.number, number, 1e-4)
    assert abs(moments.mean[0]) < 1
    np.testing.assert_allclose(moments.variance, 1 - moments.mean**2, 1e-3)  # of −1 and 1


@pytest.mark.parametrize("name", AGENTS)
def test_a_pause_changes_no_bit(name, tmp_path):
    """What goes on after it: networks, environments in the middle of an episode, and the replay."""
    whole = fitted(agent(name), 4)
    fitted(agent(name), 2, checkpoints=tmp_path)
    resumed = fitted(agent(name), 4, checkpoints=tmp_path)
    same_bits(resumed.state, whole.state)
    if name in GRADIENTS:  # a table comes to the exact values from any key
        assert parameter_hash(fitted(agent(name), 4, seed=1).state.params) != parameter_hash(whole.state.params)


@pytest.mark.parametrize("name", AGENTS)
def test_a_lane_of_a_population_equals_its_single_run(name):
    many = sx.population(agent(name), 2)
    states, told = jax.jit(many.step)(jax.jit(many.init)(KEY, None), None)
    assert {value.shape for value in told.values()} == {(2,)}
    alone = jax.jit(agent(name).init)(jax.random.split(KEY, 2)[1], None)
    alone, metrics = jax.jit(agent(name).step)(alone, None)
    lane = sx.lane(states, 1)
    for fields in ("params", "variables", "opt_state", "extra", "step"):
        close(getattr(lane, fields), getattr(alone, fields))
    close(jax.tree.map(lambda values: values[1], told), metrics)


@pytest.mark.parametrize("name", GRADIENTS)
def test_every_gradient_goes_through_the_argument(name):
    seen = []

    def gradient(objective, params, variables, batch, key):
        grads, variables, metrics = sx.gradient(objective, params, variables, batch, key)
        seen.append(jax.tree.structure(grads))
        return jax.tree.map(jnp.zeros_like, grads), variables, metrics

    state = begun(name)._replace(step=jnp.int32(2))
    moved, _ = jax.jit(lambda state: agent(name).step(state, None, gradient=gradient))(state)
    assert seen
    same_bits(moved.params, state.params)


@pytest.mark.parametrize("name", AGENTS)
def test_a_step_lowers_for_every_platform(name):
    state = jax.eval_shape(agent(name).init, KEY, None)
    exported = jax.export.export(jax.jit(agent(name).step), platforms=("cpu", "cuda", "tpu"))(state, None)
    assert exported.platforms == ("cpu", "cuda", "tpu")


@pytest.mark.parametrize("name", AGENTS)
def test_an_environment_without_numbers_ends_a_guarded_training(name):
    environment = matched().environment

    def step(state, action, key):
        return environment.step(state, action, key)._replace(reward=jnp.float32(jnp.nan))

    learner = sx.guard(AGENTS[name](environment._replace(step=step)), limit=3)
    with pytest.raises(sx.NotFinite, match="3 steps in a row were not finite") as caught:
        fitted(learner, 4)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(caught.value.state.params))
