"""Episodes that are played to be measured and looked at."""

import math
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.table import Table

from stepax import rl
from stepax.cli.agents.learners import BuiltAgent
from stepax.cli.console import warn
from stepax.compile import jit
from stepax.learner import State
from stepax.rl.rollout import Act, whole_episodes

__all__ = ["EPISODES", "Played", "measured", "note_left", "played", "summary", "table"]

EPISODES = 100
"""How many are played where nothing is said."""

LANES = 100
"""The most that are played side by side."""


class Played(NamedTuple):
    """What episodes have brought, ``[episodes]`` each.

    Attributes:
        returns: The sums of their rewards.
        lengths: How many steps they had.
        ended: Whether they came to their end.
    """

    returns: np.ndarray
    lengths: np.ndarray
    ended: np.ndarray


def played(environment: rl.Environment, act: Act, key: Any, episodes: int, limit: int) -> Played:
    """Plays whole episodes.

    Args:
        environment: The environment.
        act: The policy, a tree as those of ``rl.greedy`` are.
        key: For both.
        episodes: How many.
        limit: Where those that have no end are left.
    """
    lanes = min(episodes, LANES)

    def some(act: Act, key: Any) -> tuple[Any, Any, Any]:
        made = whole_episodes(environment, act, key, lanes, limit)
        weight = made["weight"]
        ended = ((made["terminated"] | made["truncated"]) & (weight > 0)).any(0)
        return (made["reward"] * weight).sum(0), weight.sum(0), ended

    program = jit(some)
    parts = [program(act, jax.random.fold_in(key, i)) for i in range(-(-episodes // lanes))]
    returns, lengths, ended = (np.concatenate(column)[:episodes] for column in zip(*parts, strict=True))
    return Played(np.asarray(returns, np.float64), np.asarray(lengths, np.int64), ended)


def measured(built: BuiltAgent, state: State, seed: int, episodes: int, limit: int) -> Played:
    """Episodes of a trained agent, in which it does what it thinks best, apart from those that it learnt from."""
    # A training splits its key in two; this is none of both.
    key = jax.random.split(jax.random.key(seed), 3)[2]
    return played(built.environment, rl.greedy(built.learner, state), key, episodes, limit)


def summary(of: Played) -> dict[str, Any]:
    """Numbers about episodes, by name."""
    count = len(of.returns)
    spread = float(of.returns.std(ddof=1)) if count > 1 else 0.0
    return {
        "episodes": count,
        "return": float(of.returns.mean()),
        "return_deviation": spread,
        "return_error": spread / math.sqrt(count),
        "return_least": float(of.returns.min()),
        "return_most": float(of.returns.max()),
        "length": float(of.lengths.mean()),
        "ended": float(of.ended.mean()),
    }


def table(parts: dict[str, dict[str, Any]], title: str) -> Table:
    """Summaries beside each other, one for each place where episodes were played."""
    drawn = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=len(parts) > 1)
    drawn.add_column("")
    for name in parts:
        drawn.add_column(name, justify="right")
    rows = {
        "return, mean ± standard error": lambda told: f"{told['return']:.2f} ± {told['return_error']:.2f}",
        "standard deviation": lambda told: f"{told['return_deviation']:.2f}",
        "least and most": lambda told: f"{told['return_least']:.2f} to {told['return_most']:.2f}",
        "length, mean": lambda told: f"{told['length']:.1f}",
        "episodes": lambda told: f"{told['episodes']:,}",
    }
    for name, text in rows.items():
        drawn.add_row(name, *map(text, parts.values()))
    return drawn


def note_left(of: Played, limit: int) -> None:
    """Warns of episodes that have no end."""
    if left := int((~of.ended).sum()):
        warn(f"{left:,} of {len(of.ended):,} episodes had not ended after {limit:,} steps, and count as they were then")
