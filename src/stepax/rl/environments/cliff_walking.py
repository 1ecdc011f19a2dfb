"""A walk along a cliff."""

from typing import Any

import numpy as np

from stepax.rl.environment import Environment, time_limit
from stepax.rl.environments.table import Table, from_table, neighbours

__all__ = ["cliff_walking", "cliff_walking_table"]

SHAPE = (4, 12)
START, GOAL = 36, 47
# Up, right, down, left.
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))


def cliff_walking(*, slippery: bool = False, steps: Any = None) -> Environment:
    """Gymnasium's CliffWalking-v1: go up (0), right (1), down (2) or left (3) along a cliff to the goal behind it.

    A step costs 1; one over the edge costs 100 and leads back to the start. The goal terminates. The observation is the
    place of ``4 × 12``, counted row by row. The shortest way costs 13.

    Args:
        slippery: Whether a step goes to either side with probability 1/3 each, as in CliffWalkingSlippery-v1.
        steps: A time limit; Gymnasium has none.

    Returns:
        The environment.

    Reference:
        Sutton and Barto, Reinforcement learning: an introduction, 2018, example 6.6.
    """
    return time_limit(from_table(cliff_walking_table(slippery=slippery)), steps)


def cliff_walking_table(*, slippery: bool = False) -> Table:
    """The table of :func:`cliff_walking`, of 48 states."""
    moved = neighbours(SHAPE, MOVES)
    slips = (-1, 0, 1) if slippery else (0,)
    place = np.stack([np.roll(moved, -slip, axis=1) for slip in slips], axis=-1)
    fallen = (place > START) & (place < GOAL)
    chance = np.full(place.shape, 1 / len(slips))
    after, reward = np.where(fallen, START, place), np.where(fallen, -100.0, -1.0)
    return Table(chance, after, reward, place == GOAL, np.array([START]))
