"""Demonstrations: episodes of a trained agent, or of a rule that is known beforehand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stepax import rl
from stepax.cli.agents.environments import DEEP_SEA, ENVIRONMENTS, environment, place
from stepax.cli.agents.options import Record
from stepax.cli.agents.runs import open_agent
from stepax.rl.rollout import Act
from stepax.typing import Array, Key

__all__ = ["RULES", "demonstrated", "returns_of", "rule"]


def demonstrated(options: Record) -> tuple[str, dict[str, np.ndarray]]:
    """Plays the episodes.

    Args:
        options: Either a run or an environment; the number of episodes has been checked.

    Returns:
        Who played, in words, and the steps as :func:`stepax.rl.recorded` gives them.

    Raises:
        ValueError: Neither a run nor an environment, or both; no rule is known there.
        stepax.record.RunError: The folder holds no agent's run.
    """
    if (options.run is None) == (options.env is None):
        raise ValueError("expected a RUN, or --env NAME for an environment in which a rule plays, and not both")
    key = jax.random.key(options.seed)
    if options.run is None:
        name, depth = str(options.env), options.depth
        limit, act, made = place(name, depth).limit, rule(name, depth), environment(name, depth)
        return f"a rule in {name}", rl.recorded(made, act, key, options.episodes, limit)
    if options.depth is not None:
        raise ValueError("--depth is for --env DeepSea; a run has its own")
    run = open_agent(options.run)
    act = rl.greedy(run.built.learner, run.state)
    limit = place(run.plan.environment, run.plan.depth).limit
    who = f"{run.plan.name} of {options.run} in {run.plan.environment}"
    return who, rl.recorded(run.built.environment, act, key, options.episodes, limit)


def returns_of(steps: dict[str, np.ndarray]) -> np.ndarray:
    """The return of every episode of demonstrations."""
    ends = np.flatnonzero(steps["terminated"] | steps["truncated"])
    return np.add.reduceat(np.asarray(steps["reward"], np.float64), [0, *(ends[:-1] + 1)])


def rule(name: str, depth: int | None) -> Act:
    """A policy that is known beforehand.

    Args:
        name: The environment.
        depth: Of DeepSea.

    Raises:
        ValueError: None is known there.
    """
    where = place(name, depth)
    if where.table is not None:
        discount = 1.0 if name in ENDING else 0.99
        best = rl.value_iteration(where.table(), discount=discount).policy
        return _policy(lambda seen: jnp.asarray(best, jnp.int32)[seen])
    if name == DEEP_SEA:
        right = rl.right_actions(jax.random.key(where.limit), where.limit)
        return _policy(lambda seen: (seen * right[None]).sum((1, 2)).astype(jnp.int32))
    if name not in RULES:
        known = ", ".join(other for other in ENVIRONMENTS if ENVIRONMENTS[other].table or other in (*RULES, DEEP_SEA))
        raise ValueError(f"--env: no rule is known for {name}: expected one of {known}, or the RUN of an agent")
    return _policy(RULES[name])


def _along_the_speed(seen: Array) -> Array:
    """Pushes the car where it goes, so that it gathers speed."""
    return jnp.where(seen[:, 1] >= 0, 2, 0).astype(jnp.int32)


def _under_the_ball(seen: Array) -> Array:
    """Moves the paddle towards the column of the ball."""
    columns = jnp.arange(seen.shape[2])[None]
    ball = (seen[:, :-1].sum(1) * columns).sum(1)
    paddle = (seen[:, -1] * columns).sum(1)
    return (1 + jnp.sign(ball - paddle)).astype(jnp.int32)


ENDING = ("CliffWalking-v1", "Taxi-v4")
"""Tables in which every step costs, so that rewards need no discount."""

RULES: dict[str, Any] = {"MountainCar-v0": _along_the_speed, "Catch": _under_the_ball}
"""``observations -> actions`` where these do well without having learnt."""


def _policy(of: Any) -> Act:
    def act(seen: Array, key: Key) -> tuple[Array, dict[str, Any]]:
        return of(seen), {}

    return act
