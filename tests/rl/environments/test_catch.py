"""Catch: an episode by hand, and random ones against a slow loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from tests.rl.environments.battery import KEY, check, draws

from stepax.rl import catch
from stepax.rl.environments.catch import Catch


def played(environment, state, actions):
    def one(state, action):
        made = environment.step(state, action, KEY)
        return made.state, made

    return jax.jit(lambda state, actions: jax.lax.scan(one, state, actions)[1])(state, jnp.asarray(actions))


def slowly(rows, columns, column, actions):
    paddle, board = columns // 2, []
    for row, action in enumerate(actions, start=1):
        paddle = min(max(paddle + (-1, 0, 1)[action], 0), columns - 1)
        board.append(np.zeros((rows, columns)))
        board[-1][row, column] = board[-1][rows - 1, paddle] = 1
    return np.array(board), 1 if paddle == column else -1


def test_contract():
    check(catch(rows=4))


def test_an_episode_by_hand():
    state = Catch(jnp.int32(0), jnp.int32(2), jnp.int32(1))
    made = played(catch(rows=3, columns=3), state, [2, 1])
    np.testing.assert_array_equal(made.observation[0], [[0, 0, 0], [0, 0, 1], [0, 0, 1]])
    np.testing.assert_array_equal(made.observation[1], [[0, 0, 0], [0, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(made.reward, [0, 1])
    np.testing.assert_array_equal(made.terminated, [False, True])
    made = played(catch(rows=3, columns=3), state, [2, 0])
    np.testing.assert_array_equal(made.observation[1], [[0, 0, 0], [0, 0, 0], [0, 1, 1]])
    np.testing.assert_array_equal(made.reward, [0, -1])


def test_a_slow_loop_says_the_same():
    random, environment = np.random.default_rng(0), catch()
    actions, columns = random.integers(0, 3, (1000, 9)), random.integers(0, 5, 1000)
    start = Catch(jnp.zeros(1000, jnp.int32), jnp.int32(columns), jnp.full(1000, 2, jnp.int32))

    def many(state, action):
        made = jax.vmap(environment.step, (0, 0, None))(state, action, KEY)
        return made.state, made

    made = jax.jit(lambda: jax.lax.scan(many, start, jnp.asarray(actions.T))[1])()
    made = jax.tree.map(np.asarray, made)
    assert not made.terminated[:-1].any()
    assert made.terminated[-1].all()
    assert (made.reward[:-1] == 0).all()
    for row in range(1000):
        board, reward = slowly(10, 5, columns[row], actions[row])
        np.testing.assert_array_equal(made.observation[:, row], board)
        assert made.reward[-1, row] == reward


def test_starts():
    state, observation = draws(catch())
    assert (state.row == 0).all()
    assert (state.paddle == 2).all()
    assert scipy.stats.chisquare(np.bincount(state.column, minlength=5)).pvalue > 0.01
    np.testing.assert_array_equal(observation[:, 0].argmax(-1), state.column)
    np.testing.assert_array_equal(observation.sum((1, 2)), 2)
    assert (observation[:, 9, 2] == 1).all()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"rows": 1}, ValueError, "rows: expected at least 2, got 1"),
        ({"columns": 0}, ValueError, "columns: expected at least 1, got 0"),
        ({"columns": 2.5}, TypeError, "columns: expected a whole number, got float 2.5"),
    ],
    ids=str,
)
def test_bad_sizes(settings, error, message):
    with pytest.raises(error, match=message):
        catch(**settings)


def test_an_action_that_is_none():
    with pytest.raises(ValueError, match="action: expected a whole number from 0 to 2, got 3"):
        catch().step(Catch(0, 0, 0), 3, KEY)
