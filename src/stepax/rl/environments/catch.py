"""A ball that falls, to be caught with a paddle."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from stepax.checks import check_count
from stepax.rl.environment import Environment, Step
from stepax.rl.spaces import Box, Discrete
from stepax.typing import Array, Key

__all__ = ["Catch", "catch"]


class Catch(NamedTuple):
    """Scalars, int32.

    Attributes:
        row: Of the ball, from the top.
        column: Of the ball.
        paddle: The paddle's column, in the last row.
    """

    row: Array
    column: Array
    paddle: Array


def catch(*, rows: int = 10, columns: int = 5) -> Environment:
    """Catch of bsuite: move a paddle to the left (0), not at all (1), or to the right (2) under a falling ball.

    The ball starts in any column of the first row, and falls by a row a step; the paddle starts in the middle of the
    last. Where the ball arrives the episode terminates, with 1 for a catch and −1 otherwise. The observation is the
    board, ``[rows, columns]``, 1 at the ball and the paddle, 0 elsewhere.

    Args:
        rows: Of the board, at least 2.
        columns: Of the board.

    Returns:
        The environment.

    Raises:
        TypeError: A size is no whole number.
        ValueError: It is too small.

    Reference:
        Osband et al., Behaviour suite for reinforcement learning, 2019, arXiv:1908.03568.
    """
    check_count("rows", rows, least=2)
    check_count("columns", columns)
    anywhere, action_space = Discrete(columns), Discrete(3)

    def observed(state: Catch) -> Array:
        row, column = jnp.arange(rows)[:, None], jnp.arange(columns)[None]
        ball = (row == state.row) & (column == state.column)
        return (ball | ((row == rows - 1) & (column == state.paddle))).astype(jnp.float32)

    def reset(key: Key) -> tuple[Catch, Array]:
        state = Catch(jnp.zeros((), jnp.int32), anywhere.sample(key), jnp.full((), columns // 2, jnp.int32))
        return state, observed(state)

    def step(state: Catch, action: Any, key: Key) -> Step:
        action_space.check(action)
        paddle = jnp.clip(state.paddle + jnp.asarray(action, jnp.int32) - 1, 0, columns - 1)
        after = Catch(state.row + 1, state.column, paddle)
        terminated = after.row >= rows - 1
        caught = jnp.where(paddle == state.column, 1, -1)
        reward = jnp.where(terminated, caught, 0).astype(jnp.float32)
        return Step(after, observed(after), reward, terminated, jnp.zeros((), bool))

    return Environment(reset, step, Box(np.zeros((rows, columns)), 1.0), action_space)
