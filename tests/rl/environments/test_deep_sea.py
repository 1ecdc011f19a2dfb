"""Deep Sea: returns by hand, random dives against a slow loop, chance as in the paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.rl.environments.battery import KEY, check, draws

from stepax.rl import deep_sea, right_actions
from stepax.rl.environments.deep_sea import DeepSea

ALWAYS_1 = np.ones((5, 5), int)


def dived(environment, actions, keys):
    """Steps of lanes, `[time, lanes]`; `actions`: the same."""

    def one(state, inputs):
        action, key = inputs
        made = jax.vmap(environment.step)(state, action, jax.random.split(key, action.shape[0]))
        return made.state, (made, state)

    def run(actions, keys):
        state, _ = environment.reset(KEY)
        state = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, actions.shape[1:]), state)
        return jax.lax.scan(one, state, (actions, keys))[1]

    return jax.tree.map(np.asarray, jax.jit(run)(jnp.asarray(actions), keys))


def slowly(right, actions, cost=0.01):
    depth, column, rewards, columns = len(right), 0, [], []
    for row, action in enumerate(actions):
        reward = 0.0
        if action == right[row, column]:
            reward = (1.0 if column == depth - 1 else 0.0) - cost / depth
            column = min(column + 1, depth - 1)
        else:
            column = max(column - 1, 0)
        rewards.append(reward)
        columns.append(column)
    return rewards, columns


@pytest.mark.parametrize("stochastic", [False, True])
def test_contract(stochastic):
    check(deep_sea(right_actions(KEY, 5), stochastic=stochastic))


def test_returns_by_hand():
    # To the right at every step: 1 − .01; four times, and then to the left: −.008; never: 0.
    actions = np.array([[1] * 5, [1, 1, 1, 1, 0], [0] * 5]).T
    made, _ = dived(deep_sea(ALWAYS_1), actions, jax.random.split(KEY, 5))
    np.testing.assert_allclose(made.reward.sum(0), [0.99, -0.008, 0], rtol=1e-5)
    np.testing.assert_array_equal(made.terminated, np.arange(5)[:, None] + np.zeros(3) == 4)
    assert [np.flatnonzero(board).tolist() for board in made.observation[:, 0]] == [[6], [12], [18], [24], []]


def test_a_slow_loop_says_the_same():
    random, right = np.random.default_rng(0), np.asarray(right_actions(KEY, 6))
    assert 0 < right.sum() < 36
    actions = random.integers(0, 2, (6, 1000))
    made, _ = dived(deep_sea(right, move_cost=0.5), actions, jax.random.split(KEY, 6))
    for lane in range(1000):
        rewards, columns = slowly(right, actions[:, lane], 0.5)
        np.testing.assert_allclose(made.reward[:, lane], rewards, rtol=1e-6)
        np.testing.assert_array_equal(made.state.column[:, lane], columns)


def test_chance():
    depth, lanes = 5, 4000
    made, before = dived(
        deep_sea(ALWAYS_1, stochastic=True), np.ones((depth, lanes), int), jax.random.split(KEY, depth)
    )
    moved = (made.state.column > before.column)[:-1]
    np.testing.assert_allclose(moved.mean(), 1 - 1 / depth, atol=0.01)
    # Noise on the reward at the corners of the last row alone.
    treasure, corner = before.column[-1] == depth - 1, np.isin(before.column[-1], [0, depth - 1])
    noise = made.reward[-1] - treasure + 0.01 / depth
    np.testing.assert_allclose(noise[~corner], 0, atol=1e-6)
    np.testing.assert_allclose([noise[corner].mean(), noise[corner].std()], [0, 1], atol=0.06)
    np.testing.assert_allclose(made.reward[:-1], -0.01 / depth, rtol=1e-5)
    np.testing.assert_allclose(made.reward.sum(0).mean(), (1 - 1 / depth) ** (depth - 1) - 0.01, atol=0.05)


def test_starts():
    state, observation = draws(deep_sea(ALWAYS_1), 3)
    assert jax.tree.map(jnp.max, state) == DeepSea(0, 0)
    np.testing.assert_array_equal(observation.sum((1, 2)), 1)
    np.testing.assert_array_equal(observation[:, 0, 0], 1)


def test_what_leads_to_the_right_is_drawn():
    first, second = (np.asarray(right_actions(jax.random.key(seed), 30)) for seed in (0, 1))
    assert set(np.unique(first)) == {0, 1}
    assert 0.45 < first.mean() < 0.55
    assert 0.4 < (first == second).mean() < 0.6
    # It may be traced: seas side by side.
    rewards = jax.jit(jax.vmap(lambda right: deep_sea(right).step(DeepSea(1, 1), jnp.int32(1), KEY).state.column))(
        jnp.stack([jnp.zeros((3, 3), int), jnp.ones((3, 3), int)])
    )
    np.testing.assert_array_equal(rewards, [0, 2])


@pytest.mark.parametrize(
    ("right", "error", "message"),
    [
        (np.ones((2, 3), int), ValueError, r"right: expected zeros and ones of shape .* got shape \[2, 3\]"),
        (np.ones((2, 2)), TypeError, "right: expected whole numbers, 0 and 1, got dtype float"),
        (np.full((2, 2), 2), ValueError, "right: expected zeros and ones, got numbers from 2 to 2"),
        (5, ValueError, r"right: expected zeros and ones of shape \[depth, depth\], got shape \[\]"),
    ],
)  # fmt: skip
def test_bad_arguments(right, error, message):
    with pytest.raises(error, match=message):
        deep_sea(right)
    with pytest.raises(ValueError, match="depth: expected at least 1, got 0"):
        right_actions(KEY, 0)
    with pytest.raises(TypeError, match="key: expected a typed key"):
        right_actions(0, 3)
