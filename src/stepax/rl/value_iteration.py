"""The exact answer for an environment of few states: what the best actions are worth, and what any policy is worth.

On the host and in float64, so that what learns in float32 can be held against it.

Reference:
    Sutton and Barto, Reinforcement learning: an introduction, 2018, chapter 4.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from stepax.checks import check_count
from stepax.rl.environments.table import Table, from_table
from stepax.rl.estimators import check_number

__all__ = ["Solution", "action_values", "policy_values", "value_iteration"]


class Solution(NamedTuple):
    """What acting best is worth.

    Attributes:
        values: Of every state, ``[states]``, float64.
        action_values: Of every action, and the best ones after it, ``[states, actions]``.
        policy: The best action in every state, ``[states]``; the first of equal ones.
        sweeps: How many it took.
    """

    values: np.ndarray
    action_values: np.ndarray
    policy: np.ndarray
    sweeps: int


def value_iteration(
    table: Table, *, discount: Any = 0.99, tolerance: Any = 1e-9, most_sweeps: int = 100_000
) -> Solution:
    r"""Goes over all states until :math:`v(s) = \max_a \sum_{s'} p(s' | s, a) (r + \gamma v(s'))` holds.

    Args:
        table: The environment; a time limit is no part of it.
        discount: γ, from 0 to 1.
        tolerance: How far the values may be from the exact ones. With a discount of 1, where no such bound is known,
            how much the last sweep may have changed; and of equally good actions one may lead to no end.
        most_sweeps: When to give up.

    Returns:
        The values and the best actions. What is over, as a goal, is worth what the table says of it.

    Raises:
        TypeError: No table, a traced one, or an argument is no number.
        ValueError: A number is out of its range, or so many sweeps are not enough, as where a sum of rewards without
            discount has no bound.
    """
    _check(table, discount)
    check_number("tolerance", tolerance)
    check_count("most_sweeps", most_sweeps)
    values, change = np.zeros(len(table.next_state)), np.inf
    # The error left is at most this many times the last change.
    factor = discount / (1 - discount) if discount < 1 else 1.0
    for sweep in range(1, most_sweeps + 1):
        backed_up = _backup(table, values, discount)
        change, values = np.abs(backed_up.max(1) - values).max(), backed_up.max(1)
        if factor * change <= tolerance:
            last = _backup(table, values, discount)
            return Solution(values, last, last.argmax(1), sweep)
    advice = "more sweeps or a larger tolerance" + (", or a discount below 1" if discount == 1 else "")
    raise ValueError(f"most_sweeps: after {most_sweeps} sweeps values still change by {change:.3g}; expected {advice}")


def policy_values(table: Table, policy: Any, *, discount: Any = 0.99) -> np.ndarray:
    r"""What a policy is worth: the solution of :math:`v = r_\pi + \gamma P_\pi v`.

    Args:
        table: The environment; a time limit is no part of it.
        policy: An action for every state, ``[states]``, or probabilities, ``[states, actions]``.
        discount: γ, from 0 to 1.

    Returns:
        The value of every state, ``[states]``, float64.

    Raises:
        TypeError: No table, a traced one, or an argument is no number.
        ValueError: The policy has another shape, an action that is none of the table's, or probabilities that are
            negative or do not sum to 1; the discount is out of range, or 1 where the policy may never end.
    """
    _check(table, discount)
    states, actions, _ = np.shape(table.next_state)
    chance = _chances(policy, states, actions)[..., None] * np.asarray(table.probability, np.float64)
    reward = (chance * table.reward).sum((1, 2))
    goes_on = chance * ~np.asarray(table.terminated, bool)
    moves = np.zeros((states, states))
    np.add.at(moves, (np.arange(states)[:, None, None], table.next_state), goes_on)
    if discount == 1:
        _check_ends(moves, (chance - goes_on).sum((1, 2)) > 0)
    return np.linalg.solve(np.eye(states) - discount * moves, reward)


def action_values(table: Table, values: Any, *, discount: Any = 0.99) -> np.ndarray:
    r"""What actions are worth by the values of what follows: :math:`\sum_{s'} p(s' | s, a) (r + \gamma v(s'))`.

    Args:
        table: The environment.
        values: Of every state, ``[states]``.
        discount: γ, from 0 to 1.

    Returns:
        The values of actions, ``[states, actions]``, float64.

    Raises:
        TypeError: No table, a traced one, or an argument is no number.
        ValueError: ``values`` has another shape, or the discount is out of range.
    """
    _check(table, discount)
    values, states = np.asarray(values, np.float64), len(table.next_state)
    if values.shape != (states,):
        raise ValueError(f"values: expected one for each of {states} states, got shape {values.shape}")
    return _backup(table, values, discount)


def _backup(table: Table, values: np.ndarray, discount: Any) -> np.ndarray:
    after = np.where(table.terminated, 0, values[np.asarray(table.next_state)])
    return (np.asarray(table.probability, np.float64) * (table.reward + discount * after)).sum(-1)


def _check(table: Any, discount: Any) -> None:
    for name, value in {"table": table, "discount": discount}.items():
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value)):
            raise TypeError(f"{name}: expected numbers that are known, got traced ones: this runs on the host")
    from_table(table)
    check_number("discount", discount, most=1)


def _chances(policy: Any, states: int, actions: int) -> np.ndarray:
    """The probabilities of actions, ``[states, actions]``."""
    policy = np.asarray(policy)
    if policy.shape == (states,) and np.issubdtype(policy.dtype, np.integer):
        if policy.min() < 0 or policy.max() >= actions:
            raise ValueError(f"policy: expected actions from 0 to {actions - 1}, got {policy.min()} to {policy.max()}")
        return np.eye(actions)[policy]
    if policy.shape != (states, actions):
        raise ValueError(
            f"policy: expected whole numbers of shape ({states},) or probabilities of shape ({states}, {actions}), "
            f"got {policy.dtype} of shape {policy.shape}"
        )
    if not (policy >= 0).all() or not np.allclose(policy.sum(1), 1, rtol=0, atol=1e-5):
        raise ValueError("policy: expected probabilities of at least 0 that sum to 1 over actions")
    return policy.astype(np.float64)


def _check_ends(moves: np.ndarray, ends: np.ndarray) -> None:
    """Refuse a policy that from some state never ends: without discount its sum of rewards has no value."""
    while (more := ends | (moves > 0) @ ends).sum() > ends.sum():
        ends = more
    if not ends.all():
        raise ValueError(f"discount: expected less than 1 for a policy that never ends from state {ends.argmin()}")
