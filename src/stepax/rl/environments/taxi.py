"""A taxi that fetches a passenger and brings it where it wants to go."""

from typing import Any

import numpy as np

from stepax.rl.environment import Environment, time_limit
from stepax.rl.environments.table import Table, from_table, neighbours

__all__ = ["taxi", "taxi_table"]

# Rows and columns of the streets, places of a passenger (the last one in the taxi), destinations.
SHAPE = (5, 5, 5, 4)
# Where passengers wait and go: red, green, yellow, blue, as squares counted row by row.
STOPS = np.array([0, 4, 20, 23])
# Squares with a wall to the east.
WALLS = np.array([1, 6, 15, 17, 20, 22])
INSIDE = 4
# South, north, east, west.
MOVES = ((1, 0), (-1, 0), (0, 1), (0, -1))


def taxi(*, steps: Any = 200) -> Environment:
    """Gymnasium's Taxi-v4: drive south (0), north (1), east (2) or west (3), pick up (4), and drop off (5).

    A step costs 1, a pick-up or a drop-off where there is none 10; bringing the passenger to its destination gives 20
    and terminates. The observation is ``((row · 5 + column) · 5 + passenger) · 4 + destination``, where a passenger is
    at stop 0 to 3 or in the taxi, 4. At first the taxi is anywhere, and the passenger at another stop than where it
    wants to go: 300 states.

    Args:
        steps: The time limit; ``None`` for none.

    Returns:
        The environment.

    Reference:
        Dietterich, Hierarchical reinforcement learning with the MAXQ value function decomposition, 2000.
    """
    return time_limit(from_table(taxi_table()), steps)


def taxi_table() -> Table:
    """The table of :func:`taxi`, of 500 states, each action with one outcome."""
    row, column, passenger, destination = np.unravel_index(np.arange(np.prod(SHAPE)), SHAPE)
    square = row * SHAPE[1] + column
    moved = neighbours(SHAPE[:2], MOVES)
    moved[WALLS, 2], moved[WALLS + 1, 3] = WALLS, WALLS + 1
    inside = passenger == INSIDE
    waits = ~inside & (square == STOPS[np.minimum(passenger, INSIDE - 1)])
    arrived = inside & (square == STOPS[destination])
    # At another stop the passenger gets out, too, and waits there.
    leaves = inside & np.isin(square, STOPS)
    out = np.where(leaves, np.searchsorted(STOPS, square), passenger)
    squares = np.stack([*(moved[square, k] for k in range(4)), square, square], axis=1)
    passengers = np.stack([*[passenger] * 4, np.where(waits, INSIDE, passenger), out], axis=1)
    after = (squares * SHAPE[2] + passengers) * SHAPE[3] + destination[:, None]
    costs = np.full(after.shape, -1.0)
    costs[:, 4] = np.where(waits, -1, -10)
    costs[:, 5] = np.where(arrived, 20, np.where(leaves, -1, -10))
    ended = np.zeros(after.shape, bool)
    ended[:, 5] = arrived
    starts = np.flatnonzero(~inside & (passenger != destination))
    return Table(np.ones((*after.shape, 1)), after[..., None], costs[..., None], ended[..., None], starts)
