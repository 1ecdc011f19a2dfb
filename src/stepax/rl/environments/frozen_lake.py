"""A frozen lake with holes, to be crossed."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stepax.checks import check_count
from stepax.rl.environment import Environment, time_limit
from stepax.rl.environments.parameters import probability
from stepax.rl.environments.table import Table, from_table, neighbours

__all__ = ["LAKE_4X4", "LAKE_8X8", "frozen_lake", "frozen_lake_8x8", "frozen_lake_table", "random_lake"]

LAKE_4X4 = ("SFFF", "FHFH", "FFFH", "HFFG")
"""Gymnasium's map of FrozenLake-v1."""

LAKE_8X8 = ("SFFFFFFF", "FFFFFFFF", "FFFHFFFF", "FFFFFHFF", "FFFHFFFF", "FHHFFFHF", "FHFFHFHF", "FFFHFFFG")
"""Gymnasium's map of FrozenLake8x8-v1."""

# Left, down, right, up: of two neighbours in this round, each is to the side of the other.
MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))


def frozen_lake(
    rows: Sequence[str] = LAKE_4X4, *, slippery: bool = True, success_rate: Any = 1 / 3, steps: Any = 100
) -> Environment:
    """Gymnasium's FrozenLake-v1: go left (0), down (1), right (2) or up (3) to the goal, and into no hole.

    Reaching a goal gives 1, all else 0; goals and holes terminate. On slippery ice a step goes where it should with
    probability ``success_rate``, and else to either side. The observation is the place, counted row by row.

    Args:
        rows: The map, of ``S`` (start; of several, any), ``F`` (frozen), ``H`` (hole) and ``G`` (goal).
        slippery: Whether the ice is.
        success_rate: Only on slippery ice; may be traced.
        steps: The time limit; ``None`` for none. :func:`frozen_lake_8x8` has 200.

    Returns:
        The environment.

    Raises:
        TypeError: The map is no sequence of texts, or a parameter is no number.
        ValueError: The rows differ in length, a letter is unknown, there is no start, or ``success_rate`` is not in
            [0, 1].
    """
    return time_limit(from_table(frozen_lake_table(rows, slippery=slippery, success_rate=success_rate)), steps)


def frozen_lake_8x8(*, slippery: bool = True, success_rate: Any = 1 / 3, steps: Any = 200) -> Environment:
    """Gymnasium's FrozenLake8x8-v1: :func:`frozen_lake` on the larger map, with its time limit."""
    return frozen_lake(LAKE_8X8, slippery=slippery, success_rate=success_rate, steps=steps)


def frozen_lake_table(rows: Sequence[str] = LAKE_4X4, *, slippery: bool = True, success_rate: Any = 1 / 3) -> Table:
    """The table of :func:`frozen_lake`. At goals and holes every action stays, gives 0 and terminates.

    Args:
        rows: As there.
        slippery: As there.
        success_rate: As there.

    Returns:
        The table; with three outcomes to every action on slippery ice, and one on other.

    Raises:
        TypeError: As there.
        ValueError: As there.
    """
    letters, rate = _letters(rows), probability("success_rate", success_rate)
    moved, flat = neighbours(letters.shape, MOVES), letters.ravel()
    # On slippery ice action a may become a − 1 or a + 1, in the round of the moves.
    slips = (-1, 0, 1) if slippery else (0,)
    next_state = np.stack([np.roll(moved, -slip, axis=1) for slip in slips], axis=-1)
    over = np.isin(flat, ["G", "H"])[:, None, None]
    next_state = np.where(over, np.arange(flat.size)[:, None, None], next_state)
    reward = np.where(over, 0.0, flat[next_state] == "G")
    terminated = over | np.isin(flat[next_state], ["G", "H"])
    return Table(_chances(rate, over, next_state.shape), next_state, reward, terminated, np.flatnonzero(flat == "S"))


def random_lake(seed: int, size: int = 8, frozen: Any = 0.8) -> tuple[str, ...]:
    """A random map whose goal can be reached, drawn on the host: the one that Gymnasium draws from the same seed.

    Args:
        seed: Of the draw.
        size: Rows and columns, at least 2.
        frozen: The probability that a place is frozen, above 0.

    Returns:
        The rows, from ``S`` in the first place to ``G`` in the last.

    Raises:
        TypeError: ``seed`` or ``size`` is no whole number, or ``frozen`` no number.
        ValueError: ``seed`` is negative, ``size`` below 2, or ``frozen`` not in (0, 1].
    """
    check_count("seed", seed, least=0)
    check_count("size", size, least=2)
    share = float(probability("frozen", frozen))
    if not share > 0:
        raise ValueError(f"frozen: expected a number above 0, got {frozen}")
    random = np.random.default_rng(seed)
    while True:
        letters = random.choice(["F", "H"], (size, size), p=[share, 1 - share])
        letters[0, 0], letters[-1, -1] = "S", "G"
        if _reachable(letters):
            return tuple("".join(row) for row in letters)


def _letters(rows: Sequence[str]) -> np.ndarray:
    """The map as an array of letters."""
    if isinstance(rows, str) or not all(isinstance(row, str) for row in rows):
        raise TypeError(f'rows: expected texts such as ("SF", "HG"), got {rows!r}')
    if len({len(row) for row in rows}) != 1 or not rows[0]:
        raise ValueError(f"rows: expected rows of one length, got lengths {[len(row) for row in rows]}")
    letters = np.array([list(row) for row in rows])
    if unknown := set(letters.ravel()) - set("SFHG"):
        raise ValueError(f"rows: expected the letters S, F, H and G, got {sorted(map(str, unknown))}")
    if not (letters == "S").any():
        raise ValueError(f"rows: expected a start S, got {tuple(rows)}")
    return letters


def _chances(rate: Any, over: np.ndarray, shape: tuple[int, ...]) -> Any:
    """The outcomes' probabilities; what is over has one outcome, written first."""
    if shape[-1] == 1:
        return np.ones(shape)
    xp: Any = jnp if isinstance(rate, jax.core.Tracer) else np
    side = (1 - rate) / 2
    return xp.broadcast_to(xp.where(over, np.array([[[1.0, 0, 0]]]), xp.stack([side, rate, side])[None, None]), shape)


def _reachable(letters: np.ndarray) -> bool:
    """Whether a way without holes leads from the first place to the last."""
    moved, open_ = neighbours(letters.shape, MOVES), letters.ravel() != "H"
    seen, edge = {0}, [0]
    while edge:
        new = {int(place) for place in moved[edge.pop()] if open_[place]} - seen
        seen |= new
        edge += new
    return letters.size - 1 in seen
