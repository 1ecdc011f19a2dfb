"""Tables: steps by hand, draws that have the table's distribution, walls of a grid, and tables that are none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from tests.rl.environments.battery import KEY, check, draws, once, solved

from stepax.rl import Table, from_table
from stepax.rl.environments.table import neighbours

# From 0, action 0 stays with ¼, goes to 1 with ½, to 2 with ¼; action 1 goes to 2 and ends. From 1 and 2 back to 0.
TABLE = Table(
    np.array([[[0.25, 0.5, 0.25], [0, 1, 0]], [[1, 0, 0], [1, 0, 0]], [[1, 0, 0], [0, 0, 1]]]),
    np.array([[[0, 1, 2], [0, 2, 0]], [[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]]),
    np.array([[[0, 1, 2], [0, 5, 0]], [[1, 0, 0], [2, 0, 0]], [[3, 0, 0], [0, 0, 4]]]),
    np.array([[[0, 0, 0], [0, 1, 0]], [[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]], bool),
    np.array([0, 2, 2]),
)


def test_contract():
    check(from_table(TABLE))


def test_steps_by_hand():
    environment = from_table(TABLE)
    made = once(environment, jnp.int32(0), 1)
    assert (made.state, made.observation, made.reward, made.terminated) == (2, 2, 5, True)
    made = once(environment, jnp.int32(1), 1)
    assert (made.state, made.reward, made.terminated, made.truncated) == (0, 2, False, False)
    assert once(environment, jnp.int32(2), 1).reward == 4


def test_draws_have_the_distribution():
    environment, keys = from_table(TABLE), jax.random.split(KEY, 20_000)
    made = jax.jit(jax.vmap(environment.step, (None, None, 0)))(jnp.int32(0), jnp.int32(0), keys)
    counts = np.bincount(made.state, minlength=3)
    assert scipy.stats.chisquare(counts, [5000, 10_000, 5000]).pvalue > 0.01
    np.testing.assert_array_equal(made.reward, made.state)
    state, observation = draws(environment, 9000)
    np.testing.assert_array_equal(state, observation)
    counts = np.bincount(state, minlength=3)
    assert counts[1] == 0
    assert scipy.stats.chisquare(counts[[0, 2]], [3000, 6000]).pvalue > 0.01


def test_a_table_of_one_outcome_draws_nothing():
    single = Table(*(array[..., :1] for array in TABLE[:3]), TABLE.terminated[..., :1], np.array([1]))
    environment = from_table(single._replace(probability=np.ones((3, 2, 1))))
    text = str(jax.make_jaxpr(lambda key: environment.step(environment.reset(key)[0], 1, key))(KEY))
    assert "random" not in text
    assert "random" in str(jax.make_jaxpr(lambda key: from_table(TABLE).step(0, 1, key))(KEY))


def test_probabilities_may_be_traced():
    @jax.jit
    @jax.vmap
    def mean(chance):
        table = TABLE._replace(probability=jnp.asarray(TABLE.probability).at[0, 0].set(chance))
        step = from_table(table).step
        return jax.vmap(lambda key: step(jnp.int32(0), jnp.int32(0), key).reward)(jax.random.split(KEY, 500)).mean()

    means = mean(jnp.float32([[1, 0, 0], [0, 0, 1], [0.5, 0, 0.5]]))
    np.testing.assert_array_equal(means[:2], [0, 2])
    assert 0.8 < means[2] < 1.2


def test_values_by_hand():
    # A way of one step from each state: v(1) = 2 + γ v(0), v(2) = 4 + γ v(0), v(0) the better of 5 and what goes on.
    values = solved(TABLE, discount=0.0)
    np.testing.assert_allclose(values, [5, 2, 4])
    values = solved(TABLE, discount=0.5)
    v0 = max(5, (1 + 0.5 * 0.5 * 2 + 0.25 * 0.5 * 4) / (1 - 0.125 - 0.25 * 0.5 - 0.125 * 0.5))
    np.testing.assert_allclose(values, [v0, 2 + v0 / 2, 4 + v0 / 2])


def test_neighbours_by_hand():
    # 0 1 2
    # 3 4 5
    moved = neighbours((2, 3), ((-1, 0), (0, 1)))
    np.testing.assert_array_equal(moved, [[0, 1], [1, 2], [2, 2], [0, 4], [1, 5], [2, 5]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probability": TABLE.probability * 2}, "table.probability: expected numbers of at least 0 that sum to 1"),
        ({"probability": 1 - 2 * TABLE.probability}, "table.probability: expected numbers of at least 0"),
        ({"next_state": TABLE.next_state + 1}, "table.next_state: expected whole numbers from 0 to 2"),
        ({"next_state": TABLE.next_state * 1.0}, "table.next_state: expected whole numbers from 0 to 2"),
        ({"reward": TABLE.reward[..., 0]}, r"table: expected arrays of one shape \[states, actions, outcomes\]"),
        ({"starts": np.array([3])}, "table.starts: expected whole numbers from 0 to 2"),
        ({"starts": np.array([], int)}, r"table.starts: expected at least one state, .* got shape \(0,\)"),
    ],
)  # fmt: skip
def test_bad_tables(change, message):
    with pytest.raises(ValueError, match=message):
        from_table(TABLE._replace(**change))
    with pytest.raises(TypeError, match=r"table: expected a stepax.rl.Table, got tuple"):
        from_table(tuple(TABLE))


def test_an_action_that_is_none():
    with pytest.raises(ValueError, match="action: expected a whole number from 0 to 1, got 2"):
        from_table(TABLE).step(jnp.int32(0), 2, KEY)
