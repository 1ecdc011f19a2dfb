"""What every environment passes, and how one is held against Gymnasium's."""

import jax
import jax.numpy as jnp
import numpy as np

from stepax.rl import auto_reset, check_environment, time_limit

KEY = jax.random.key(0)
COUNT = 1000


def check(environment, close=1e-5):
    """The contract of an environment, over some lanes of short episodes with random actions."""
    check_environment(environment)
    wrapped = auto_reset(time_limit(environment, 7))
    check_environment(wrapped)

    def one(carry, key):
        state, _ = carry
        choose, act = jax.random.split(key)
        action = wrapped.action_space.sample(choose)
        made = wrapped.step(state, action, act)
        inside = wrapped.observation_space.contains(made.observation) & wrapped.action_space.contains(action)
        return (made.state, made.observation), (made.state.final_observation, *made[1:], inside, made.state)

    def run(key):
        # The scan itself refuses a carry that changes its tree, shapes or dtypes.
        return jax.lax.scan(one, wrapped.reset(key), jax.random.split(jax.random.fold_in(key, 1), 20))

    keys = jax.random.split(KEY, 4)
    lanes = jax.jit(jax.vmap(run))(keys)
    single = jax.jit(run)(keys[2])
    same(jax.tree.map(lambda leaf: leaf[2], lanes), single, close)
    final, observation, reward, terminated, truncated, inside = map(np.asarray, lanes[1][:6])
    assert inside.all()
    assert reward.dtype == np.float32
    assert np.isfinite(reward).all()
    ended = terminated | truncated
    assert ended.any()
    # Until its end an episode goes on from where a step led.
    np.testing.assert_array_equal(observation[~ended], final[~ended])
    return lanes[1]


def same(first, second, close):
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(one, other, rtol=close, atol=close)


def draws(environment, count=4000):
    """First states and observations of many episodes."""
    return jax.jit(jax.vmap(environment.reset))(jax.random.split(KEY, count))


def once(environment, state, action):
    """One step, compiled, so that actions are not seen."""
    return jax.jit(environment.step)(state, jnp.asarray(action), KEY)


def against(gymnasium, name, environment, states, actions, put, **settings):
    """The differences of each step from Gymnasium's, after the equality of ends: of observations and of rewards.

    Every other step is the last one before the time limit.

    Args:
        gymnasium: The module.
        name: Gymnasium's name of the environment.
        environment: Ours, with its time limit.
        states: Ours, `[COUNT]`.
        actions: `[COUNT, …]`.
        put: `(theirs, row)`: sets the state of Gymnasium's environment to that row of ours.
        **settings: Of Gymnasium's environment.
    """
    theirs = gymnasium.make(name, disable_env_checker=True, **settings)
    theirs.reset(seed=0)
    limit = theirs.spec.max_episode_steps
    elapsed = limit - 2 + np.arange(COUNT) % 2
    state, _ = environment.reset(KEY)
    many = jax.jit(jax.vmap(environment.step, (0, 0, None)))
    ours = many(state._replace(state=states, elapsed=elapsed.astype(np.int32)), actions, KEY)
    rows = []
    for row in range(COUNT):
        put(theirs.unwrapped, row)
        theirs._elapsed_steps = elapsed[row]
        rows.append(theirs.step(actions[row])[:4])
    observation, reward, terminated, truncated = (np.array(column) for column in zip(*rows, strict=True))
    np.testing.assert_array_equal(ours.terminated, terminated)
    np.testing.assert_array_equal(ours.truncated, truncated)
    np.testing.assert_array_equal(truncated, np.arange(COUNT) % 2 == 1)
    return np.abs(ours.observation - observation), np.abs(ours.reward - reward), terminated


def solved(table, discount=1.0, sweeps=2000):
    """The best values of a table's states, by repeated sweeps in float64."""
    values = np.zeros(len(table.next_state))
    for _ in range(sweeps):
        after = np.where(table.terminated, 0, discount * values[table.next_state])
        values, before = (table.probability * (table.reward + after)).sum(-1).max(-1), values
        if np.abs(values - before).max() < 1e-12:
            break
    return values


def same_table(table, environment):
    """Holds a table against all outcomes of a Gymnasium environment, and the states in which an episode begins."""
    theirs = environment.unwrapped
    for (state, action), rows in ours_by_outcome(table).items():
        expected = {}
        for chance, after, reward, ended in theirs.P[state][action]:
            outcome = int(after), float(reward), bool(ended)
            expected[outcome] = expected.get(outcome, 0) + chance
        assert rows.keys() == expected.keys(), (state, action)
        np.testing.assert_allclose([rows[outcome] for outcome in expected], list(expected.values()), rtol=1e-12)
    assert len(theirs.P) == len(table.next_state)
    starts = np.bincount(table.starts, minlength=len(table.next_state)) / len(table.starts)
    np.testing.assert_allclose(starts, theirs.initial_state_distrib, rtol=1e-12)


def ours_by_outcome(table):
    found = {}
    for state, action, outcome in np.ndindex(table.next_state.shape):
        place = state, action, outcome
        rows = found.setdefault((state, action), {})
        if table.probability[place] > 0:
            key = int(table.next_state[place]), float(table.reward[place]), bool(table.terminated[place])
            rows[key] = rows.get(key, 0) + table.probability[place]
    return found


def against_table(gymnasium, name, environment, **settings):
    """One step from each of `COUNT` random states of a Gymnasium environment whose actions have single outcomes."""
    random, count = np.random.default_rng(0), environment.observation_space.n
    states, actions = random.integers(0, count, COUNT), random.integers(0, environment.action_space.n, COUNT)

    def put(theirs, row):
        theirs.s = int(states[row])

    return against(gymnasium, name, environment, states.astype(np.int32), actions, put, **settings)
