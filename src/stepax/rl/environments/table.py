"""Environments of few states, as tables: what acts in them, and what solves them exactly, reads the same numbers."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stepax.rl.environment import Environment, Step
from stepax.rl.spaces import Discrete
from stepax.typing import Array, Key

__all__ = ["Table", "from_table", "neighbours"]


class Table(NamedTuple):
    """Every state, every action, and each of its outcomes.

    Attributes:
        probability: Of an outcome, ``[states, actions, outcomes]``; they sum to 1 over outcomes. May be traced.
        next_state: Where it leads, ``[states, actions, outcomes]``, whole numbers.
        reward: What it gives, ``[states, actions, outcomes]``.
        terminated: Whether the episode ends with it, ``[states, actions, outcomes]``, bool.
        starts: The states in which an episode begins, all as likely, ``[starts]``, whole numbers.
    """

    probability: Any
    next_state: Any
    reward: Any
    terminated: Any
    starts: Any


def from_table(table: Table) -> Environment:
    """The environment of a table. State and observation are the number of the state, int32.

    Where every action has a single outcome, a step draws nothing.

    Args:
        table: Its numbers.

    Returns:
        The environment.

    Raises:
        TypeError: No table.
        ValueError: Its arrays do not go together, probabilities are negative or do not sum to 1, or a state is none of
            those of the table.
    """
    _check(table)
    states, actions, outcomes = table.next_state.shape
    starts = np.asarray(table.starts, np.int32)
    next_state, terminated = np.asarray(table.next_state, np.int32).ravel(), np.asarray(table.terminated, bool).ravel()
    reward = np.asarray(table.reward, np.float32).ravel()
    xp = jnp if _traced(table.probability) else np
    # What a draw is held against: the last bound is 1, and left out, as it might be less by rounding.
    bounds = xp.cumsum(table.probability, -1)[..., :-1].astype(np.float32).reshape(states * actions, outcomes - 1)
    first, action_space = Discrete(len(starts)), Discrete(actions)

    def reset(key: Key) -> tuple[Array, Array]:
        state = jnp.asarray(starts)[first.sample(key) if len(starts) > 1 else 0]
        return state, state

    def step(state: Array, action: Any, key: Key) -> Step:
        action_space.check(action)
        row = actions * state + jnp.asarray(action, jnp.int32)
        if outcomes > 1:
            drawn = jnp.sum(jax.random.uniform(key, (), jnp.float32) >= jnp.asarray(bounds)[row], dtype=jnp.int32)
            row = outcomes * row + drawn
        after, given, ended = (jnp.asarray(column)[row] for column in (next_state, reward, terminated))
        return Step(after, after, given, ended, jnp.zeros((), bool))

    return Environment(reset, step, Discrete(states), action_space)


def neighbours(shape: tuple[int, int], moves: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Where moves lead on a grid whose edge is a wall, its places counted row by row.

    Args:
        shape: Rows and columns.
        moves: By how many rows and columns, one for each action.

    Returns:
        ``[places, moves]``.

    >>> neighbours((2, 2), ((1, 0), (0, -1))).tolist()
    [[2, 0], [3, 0], [2, 2], [3, 2]]
    """
    places = np.indices(shape).reshape(2, -1, 1) + np.array(moves).T[:, None, :]
    rows, columns = (np.clip(place, 0, size - 1) for place, size in zip(places, shape, strict=True))
    return rows * shape[1] + columns


def _check(table: Table) -> None:
    if not isinstance(table, Table):
        raise TypeError(f"table: expected a stepax.rl.Table, got {type(table).__name__}")
    shapes = {name: np.shape(array) for name, array in table._asdict().items()}
    starts, form = shapes.pop("starts"), shapes["next_state"]
    if len(form) != 3 or len(set(shapes.values())) > 1 or 0 in form:
        raise ValueError(f"table: expected arrays of one shape [states, actions, outcomes], got {shapes}")
    if len(starts) != 1 or not starts[0]:
        raise ValueError(f"table.starts: expected at least one state, of shape [starts], got shape {starts}")
    for name in ("next_state", "starts"):
        numbers = np.asarray(getattr(table, name))
        if not np.issubdtype(numbers.dtype, np.integer) or numbers.min() < 0 or numbers.max() >= form[0]:
            raise ValueError(f"table.{name}: expected whole numbers from 0 to {form[0] - 1}")
    if _traced(table.probability):
        return
    probability = np.asarray(table.probability)
    if (probability < 0).any() or not np.allclose(probability.sum(-1), 1, rtol=0, atol=1e-6):
        raise ValueError("table.probability: expected numbers of at least 0 that sum to 1 over the outcomes")


def _traced(value: Any) -> bool:
    return isinstance(value, jax.core.Tracer)
