"""Numbers by hand and known ones, a policy's value against its own sum, and what is refused."""

import jax
import numpy as np
import pytest

from stepax.rl import Table, cliff_walking_table, frozen_lake_table, taxi_table
from stepax.rl.value_iteration import action_values, policy_values, value_iteration

# From the first state, action 0 ends and gives 1; action 1 leads on or stays, one as likely as the other, and gives
# 0.5. From the second, action 0 ends and gives 2, and action 1 stays for nothing.
SMALL = Table(
    np.array([[[1.0, 0.0], [0.5, 0.5]], [[1.0, 0.0], [1.0, 0.0]]]),
    np.array([[[0, 0], [0, 1]], [[1, 1], [1, 1]]]),
    np.array([[[1.0, 1.0], [0.5, 0.5]], [[2.0, 2.0], [0.0, 0.0]]]),
    np.array([[[True, True], [False, False]], [[True, True], [False, False]]]),
    np.array([0]),
)


def test_values_by_hand():
    """The first state: v = 0.5 + 0.8 (v / 2 + 2 / 2), so that 0.6 v = 1.3."""
    solved = value_iteration(SMALL, discount=0.8, tolerance=1e-12)
    np.testing.assert_allclose(solved.values, [1.3 / 0.6, 2], rtol=1e-11)
    np.testing.assert_allclose(solved.action_values, [[1, 1.3 / 0.6], [2, 1.6]], rtol=1e-11)
    assert solved.policy.tolist() == [1, 0]
    assert solved.sweeps > 20


def test_a_policy_by_hand():
    """Half and half in the first state: v = 1/2 + (0.5 + 0.8 (v / 2 + 2 / 2)) / 2, so that 0.8 v = 1.15."""
    half = np.array([[0.5, 0.5], [1, 0]])
    values = policy_values(SMALL, half, discount=0.8)
    np.testing.assert_allclose(values, [1.15 / 0.8, 2], rtol=1e-14)
    np.testing.assert_allclose(policy_values(SMALL, np.array([0, 0]), discount=1), [1, 2], rtol=1e-14)
    q = action_values(SMALL, values, discount=0.8)
    np.testing.assert_allclose((half * q).sum(1), values, rtol=1e-14)


def test_known_values():
    lake = value_iteration(frozen_lake_table(), discount=1, tolerance=1e-13)
    assert lake.values[0] == pytest.approx(14 / 17, rel=1e-9)
    cliff = value_iteration(cliff_walking_table(), discount=1)
    assert cliff.values[36] == -13
    assert policy_values(cliff_walking_table(), cliff.policy, discount=1)[36] == pytest.approx(-13, rel=1e-12)
    table = taxi_table()
    taxi = value_iteration(table, discount=1)
    # Eight short of twenty, as is known of the mean over the 300 starts.
    assert taxi.values[table.starts].mean() == pytest.approx(7.93, abs=1e-9)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-5])
def test_the_tolerance_bounds_the_error(tolerance):
    table = frozen_lake_table()
    solved = value_iteration(table, discount=0.95, tolerance=tolerance)
    exact = policy_values(table, value_iteration(table, discount=0.95).policy, discount=0.95)
    error = np.abs(solved.values - exact).max()
    assert tolerance / 1000 < error <= tolerance


def test_a_policy_is_worth_its_discounted_sum_of_rewards():
    table = frozen_lake_table()
    policy = np.random.default_rng(0).dirichlet(np.ones(4), 16)
    chance, total = np.eye(16), np.zeros(16)
    moves, gains = np.zeros((16, 16)), np.zeros(16)
    for state, action, outcome in np.ndindex(table.next_state.shape):
        weight = policy[state, action] * table.probability[state, action, outcome]
        gains[state] += weight * table.reward[state, action, outcome]
        if not table.terminated[state, action, outcome]:
            moves[state, table.next_state[state, action, outcome]] += weight
    for t in range(400):
        total += 0.9**t * chance @ gains
        chance = chance @ moves
    np.testing.assert_allclose(policy_values(table, policy, discount=0.9), total, rtol=1e-12)


def test_a_policy_that_never_ends_has_no_value_without_discount():
    with pytest.raises(ValueError, match="expected less than 1 for a policy that never ends from state 1"):
        policy_values(SMALL, np.array([0, 1]), discount=1)
    assert policy_values(SMALL, np.array([0, 1]), discount=0.5).tolist() == [1, 0]
    for_ever = SMALL._replace(reward=np.ones((2, 2, 2)))
    with pytest.raises(ValueError, match=r"after 50 sweeps values still change by 1; .* a discount below 1"):
        value_iteration(for_ever, discount=1, most_sweeps=50)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: value_iteration(SMALL, discount=2), "discount: expected a number from 0 to 1, got 2"),
        (lambda: value_iteration(SMALL, tolerance=-1), "tolerance: expected a number of at least 0, got -1"),
        (lambda: value_iteration(SMALL, most_sweeps=0), "most_sweeps: expected at least 1, got 0"),
        (lambda: value_iteration(3), "table: expected a stepax.rl.Table, got int"),
        (lambda: policy_values(SMALL, np.array([0, 2])), "policy: expected actions from 0 to 1, got 0 to 2"),
        (lambda: policy_values(SMALL, np.array([0.0, 1])), r"policy: expected whole numbers of shape \(2,\)"),
        (lambda: policy_values(SMALL, np.ones((2, 2))), "policy: expected probabilities of at least 0 that sum to 1"),
        (lambda: action_values(SMALL, np.ones(3)), r"values: expected one for each of 2 states, got shape \(3,\)"),
        (lambda: jax.jit(lambda g: value_iteration(SMALL, discount=g).sweeps)(0.9), "discount: .* traced ones"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
