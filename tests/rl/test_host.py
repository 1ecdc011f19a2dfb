"""Gymnasium's own environments: returns against a loop by hand, and agents that learn from what Python has gathered."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stepax as sx
from stepax import rl
from stepax.model import as_model
from stepax.rl import host
from stepax.rl.rollout import acting, begin, episodes, gathered, rollout

gymnasium = pytest.importorskip("gymnasium", reason="Gymnasium is not here: it comes with the extra `gym`")

KEY = jax.random.key(0)
SMALL = {"lanes": 4, "length": 16}
MODEL = rl.ActorCritic(rl.CategoricalPolicy(2, (16,)), rl.Value((16,)))


def of_policy(environment=None, optimizer=None, **settings):
    optimizer = optimizer or optax.adam(1e-2)
    parts = {"epochs": 4, "minibatches": 2, "discount": 0.98, **SMALL, **settings}
    return rl.ppo(environment or rl.cartpole(), MODEL, optimizer, **parts)


def of_values(environment=None, **settings):
    parts = {"batch_size": 8, "warmup": 1, "replay": rl.n_step(rl.uniform(500), 2, 0.99, lanes=4), **SMALL, **settings}
    return rl.dqn(environment or rl.cartpole(), rl.ActionValues(2, (16,)), optax.sgd(0.01), **parts)


def leans(observation, key):
    """Pushes to where the pole leans."""
    return (observation[:, 2] + observation[:, 3] > 0).astype(jnp.int32), {}


def by_hand(environment, seed, shares):
    """Episodes one step after the other, lane by lane."""
    told = {}
    for lane, share in enumerate(shares):
        observation, _ = environment.reset(seed=seed + lane)
        for turn in range(share):
            total, length, ended = 0, 0, False
            while not ended:
                action = int(observation[2] + observation[3] > 0)
                observation, reward, terminated, truncated, _ = environment.step(action)
                total, length, ended = total + reward, length + 1, terminated or truncated
            told[lane + turn * len(shares)] = total, length
            observation, _ = environment.reset()
    return np.array([told[episode] for episode in range(len(told))]).T


def test_every_lane_plays_its_share():
    found = host.evaluate(leans, "CartPole-v1", episodes=35, seed=7, steps=60)
    limited = gymnasium.wrappers.TimeLimit(gymnasium.make("CartPole-v1"), 60)
    returns, lengths = by_hand(limited, 7, [2] * 3 + [1] * 29)
    np.testing.assert_array_equal(found["return"], returns)
    np.testing.assert_array_equal(found["length"], lengths)
    assert found["length"].max() == 60


def test_returns_are_those_in_our_own_environment():
    agent = of_policy()
    act = rl.greedy(agent, jax.jit(agent.init)(KEY, None))
    theirs = host.evaluate(act, "CartPole-v1", episodes=96)["return"]
    ours = jax.jit(lambda act: episodes(rl.cartpole(), act, KEY, 96, 500))(act)
    # The standard error of a difference of two means.
    spread = theirs.std() * np.sqrt(2 / 96)
    assert abs(theirs.mean() - ours["return"]) < 4 * spread
    assert spread > 0


@pytest.mark.parametrize("make", [of_policy, of_values], ids=["ppo", "dqn"])
def test_a_gathered_trajectory_is_as_good_as_an_own_one(make):
    agent = make(**({"optimizer": optax.sgd(0.01)} if make is of_policy else {"epsilon": 0.3}))
    state, step = jax.jit(agent.init)(KEY, None), jax.jit(agent.step)
    model = as_model(MODEL)

    def policy(state):
        if make is of_policy:
            return acting(model, state.params, state.variables)
        return rl.epsilon_greedy(0.3)(agent, state)

    @jax.jit
    def own(state):
        """The rollout that the step would make."""
        key = jax.random.split(jax.random.fold_in(state.key, state.step))[0]
        return rollout(rl.cartpole(), policy(state), state.extra["lanes"], key, 16)

    for _ in range(3):
        lanes, made = own(state)
        after, told = step(state)
        gathered_after, gathered_told = step(state, jax.tree.map(np.asarray, made))
        for name in ("params", "variables", "opt_state", "step"):
            close(getattr(gathered_after, name), getattr(after, name))
        close(gathered_told, told)
        assert gathered_after.extra["lanes"].finished.tolist() == lanes.finished.tolist()
        if "replay" in after.extra:
            close(gathered_after.extra["replay"], after.extra["replay"])
        state = after
    assert told["loss"] != 0


def close(first, second):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 2e-5, 1e-6), first, second)


def test_agents_learn_from_what_python_has_gathered():
    agent = of_policy(host.environment("CartPole-v1"), lanes=8, length=32)
    turns = host.training(agent, "CartPole-v1", key=KEY, lanes=8, length=32)
    told = [metrics["return"] for _, metrics in itertools.islice(turns, 30)]
    assert np.mean(told[-5:]) > 2 * np.mean(told[:5])


def turned(agent, count, state=None):
    turns = host.training(agent, "CartPole-v1", state, key=KEY, policy=rl.epsilon_greedy(0.2), **SMALL)
    for after, metrics in turns:
        if after.step == count:
            turns.close()
            return after, metrics
    raise AssertionError


def test_a_training_that_goes_on_begins_new_episodes():
    agent = of_values(host.environment("CartPole-v1"))
    three, metrics = turned(agent, 3)
    close(turned(agent, 3)[0].params, three.params)
    assert metrics["length"] > 8
    assert three.extra["replay"].buffer.size == 4 * 48 - three.extra["replay"].open.sum()
    going = three.extra["lanes"].current[1]
    assert (going > 0).all()
    four, _ = turned(agent, 4, three)
    assert four.step == 4
    # What was open is forgotten, and the new episodes are counted from their first step.
    assert (four.extra["lanes"].current[1] <= 16).all()
    # Its first observation is none of the first training's.
    before, after = (np.asarray(state.extra["replay"].buffer.data["observation"]) for state in (three, four))
    new = after[int(three.extra["replay"].buffer.size)]
    assert not (before == new).all(-1).any()


def test_what_a_trajectory_must_be():
    environment = rl.known.endless(4).environment
    lanes = begin(environment, 2, KEY)
    act = lambda observation, key: (jnp.zeros(len(observation), jnp.int32), {})  # noqa: E731
    expected, made = rollout(environment, act, lanes, KEY, 6)
    found, kept = gathered(environment, lanes, {**made, "more": 1}, 6)
    assert set(kept) == set(made)
    jax.tree.map(np.testing.assert_array_equal, found[2:], expected[2:])
    np.testing.assert_array_equal(found.observation, lanes.observation)
    with pytest.raises(TypeError, match=r"batch: expected None or a trajectory, .* got list"):
        gathered(environment, lanes, [], 6)
    with pytest.raises(ValueError, match=r"batch: .*'reward' is missing"):
        gathered(environment, lanes, {name: leaf for name, leaf in made.items() if name != "reward"}, 6)
    with pytest.raises(ValueError, match=r'batch\["observation"\]: expected the shape \[5, 2, 1\], .* got \[6, 2, 1\]'):
        gathered(environment, lanes, made, 5)
    with pytest.raises(TypeError, match=r'batch\["action"\]: expected int32, got float32'):
        gathered(environment, lanes, {**made, "action": made["reward"]}, 6)
    reinforce = rl.reinforce(environment, MODEL, optax.sgd(0.1))
    with pytest.raises(TypeError, match="batch: expected None, this agent makes its own steps, got dict"):
        reinforce.step(None, made)


def test_no_program_steps_what_lives_in_python():
    outside = host.environment("CartPole-v1")
    assert outside.observation_space.shape == (4,)
    assert outside.action_space == rl.Discrete(2)
    rl.check_environment(outside)
    agent = of_policy(outside)
    with pytest.raises(TypeError, match=r"CartPole-v1 is stepped in Python.*host\.training"):
        sx.fit(agent, sx.generated(1), key=KEY, epochs=1, batch_size=None)
    with pytest.raises(TypeError, match=r"host\.evaluate"):
        jax.eval_shape(agent.evaluate, jax.eval_shape(agent.init, KEY), None, KEY)


def test_bad_input():
    with pytest.raises(TypeError, match="act: expected a function"):
        host.evaluate("CartPole-v1", "CartPole-v1")
    with pytest.raises(ValueError, match="episodes: expected at least 1"):
        host.evaluate(leans, "CartPole-v1", episodes=0)
    with pytest.raises(ValueError, match=r"integers of shape \(32,\), got float32 of shape \(32, 1\)"):
        host.evaluate(lambda observation, key: (observation[:, :1], {}), "CartPole-v1")
    agent, settings = of_policy(), {"key": KEY, "lanes": 4}
    with pytest.raises(ValueError, match=r'batch\["observation"\]: expected the shape \[16, 4, 4\]'):
        next(host.training(agent, "CartPole-v1", length=3, **settings))
    with pytest.raises(ValueError, match=r"learner: expected no stepax\.average"):
        next(host.training(sx.average(agent), "CartPole-v1", length=16, **settings))
    with pytest.raises(TypeError, match="epsilon_greedy"):
        next(host.training(of_values(), "CartPole-v1", length=16, **settings))
    with pytest.raises(TypeError, match="key"):
        next(host.training(agent, "CartPole-v1", key=0, lanes=4, length=16))
