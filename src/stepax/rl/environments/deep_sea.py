"""A dive to a treasure that random actions find once in two to the power of the depth."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stepax.checks import check_count, check_key
from stepax.rl.environment import Environment, Step
from stepax.rl.environments.parameters import number
from stepax.rl.spaces import Box, Discrete
from stepax.typing import Array, Key

__all__ = ["DeepSea", "deep_sea", "right_actions"]


class DeepSea(NamedTuple):
    """Scalars, int32.

    Attributes:
        row: How deep the diver is.
        column: How far to the right.
    """

    row: Array
    column: Array


def deep_sea(right: Any, *, stochastic: bool = False, move_cost: Any = 0.01) -> Environment:
    """Deep Sea of bsuite: a diver sinks by a row a step, to the left or to the right, and the treasure is at the right.

    Each of ``depth`` steps leads one column to the left or to the right, as far as there are columns. One to the right
    costs ``move_cost / depth``, and in the last row and column gives 1 beside. After the last row the episode
    terminates. So only the way that always goes to the right is worth its while: the best return is ``1 − move_cost``.

    The stochastic one, as in the paper: to the right fails with probability ``1 / depth``, and in the first and the
    last column of the last row there is noise on the reward, of standard deviation 1. The best mean return is
    ``(1 − 1 / depth) ** (depth − 1)``, less the costs.

    Args:
        right: Which action, 0 or 1, leads to the right in each place: ``[depth, depth]``, as :func:`right_actions`
            draws it; the other one leads to the left. It may be traced.
        stochastic: Whether chance plays a part.
        move_cost: Of all steps together; may be traced.

    Returns:
        The environment. The observation is ``[depth, depth]``, 1 at the diver, and 0 all over after the last row.

    Raises:
        TypeError: ``move_cost`` is no number, or ``right`` has no integer dtype.
        ValueError: ``right`` is no square of zeros and ones, or ``move_cost`` is not finite.

    Reference:
        Osband et al., Behaviour suite for reinforcement learning, 2019, arXiv:1908.03568; Osband et al., Randomized
        prior functions for deep reinforcement learning, 2018, arXiv:1806.03335.
    """
    cost, depth = number("move_cost", move_cost), _depth(right)
    last, action_space = depth - 1, Discrete(2)

    def observed(state: DeepSea) -> Array:
        row, column = jnp.arange(depth)[:, None], jnp.arange(depth)[None]
        return ((row == state.row) & (column == state.column)).astype(jnp.float32)

    def reset(key: Key) -> tuple[DeepSea, Array]:
        state = DeepSea(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
        return state, observed(state)

    def step(state: DeepSea, action: Any, key: Key) -> Step:
        action_space.check(action)
        row, column = state
        to_right = jnp.asarray(action, jnp.int32) == jnp.asarray(right, jnp.int32)[row, column]
        reward = jnp.where(to_right, jnp.where(column == last, 1.0, 0.0) - cost / depth, 0.0).astype(jnp.float32)
        moves = to_right
        if stochastic:
            slip, noise = jax.random.split(key)
            moves = to_right & (jax.random.uniform(slip, (), jnp.float32) >= 1 / depth)
            noisy = (row == last) & ((column == 0) | (column == last))
            reward = jnp.where(noisy, reward + jax.random.normal(noise, (), jnp.float32), reward)
        # To the right and held back, the diver sinks straight down.
        aside = jnp.where(to_right, moves.astype(jnp.int32), -1)
        after = DeepSea(row + 1, jnp.clip(column + aside, 0, last))
        return Step(after, observed(after), reward, after.row >= depth, jnp.zeros((), bool))

    return Environment(reset, step, Box(np.zeros((depth, depth)), 1.0), action_space)


def right_actions(key: Key, depth: int) -> Array:
    """Draws which action leads to the right, for each place anew, so that no rule can be learnt.

    Args:
        key: For the draw.
        depth: Of the sea.

    Returns:
        Zeros and ones, ``[depth, depth]``, int32.

    Raises:
        TypeError: ``key`` is no typed key, or ``depth`` no whole number.
        ValueError: ``depth`` is below 1.
    """
    check_key(key)
    check_count("depth", depth)
    return jax.random.bernoulli(key, 0.5, (depth * depth,)).astype(jnp.int32).reshape(depth, depth)


def _depth(right: Any) -> int:
    shape = np.shape(right)
    if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
        raise ValueError(f"right: expected zeros and ones of shape [depth, depth], got shape {list(shape)}")
    if not jnp.issubdtype(jnp.result_type(right), jnp.integer):
        raise TypeError(f"right: expected whole numbers, 0 and 1, got dtype {jnp.result_type(right)}")
    if not isinstance(right, jax.core.Tracer) and not np.isin(np.asarray(right), [0, 1]).all():
        raise ValueError(f"right: expected zeros and ones, got numbers from {np.min(right)} to {np.max(right)}")
    return shape[0]
