"""The figures of an agent's run, and an episode that moves."""

import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from stepax import plot, rl
from stepax.cli.agents.environments import place
from stepax.cli.agents.runs import OpenedAgent
from stepax.cli.console import warn
from stepax.plot import boards, bodies

__all__ = ["draw", "one_episode"]

DRAWN: dict[str, Callable[..., Any]] = {
    "CartPole-v1": bodies.cart_pole,
    "Acrobot-v1": bodies.acrobot,
    "MountainCar-v0": bodies.mountain_car,
    "MountainCarContinuous-v0": bodies.mountain_car,
    "Pendulum-v1": bodies.pendulum,
    "FrozenLake-v1": functools.partial(boards.frozen_lake, rows=rl.LAKE_4X4),
    "FrozenLake8x8-v1": functools.partial(boards.frozen_lake, rows=rl.LAKE_8X8),
    "CliffWalking-v1": boards.cliff_walking,
    "Taxi-v4": boards.taxi,
    "Catch": boards.catch,
    "DeepSea": boards.deep_sea,
}
"""How an observation of each environment is drawn."""

SLOW = 4
"""Pictures a second of an environment that is made of squares; of others it is ``QUICK``."""

QUICK = 25

CURVES = ("return", "length", "ended")
"""Measures that have a figure of their own, or need none."""


def draw(run: OpenedAgent, folder: pathlib.Path, episode: int = 0) -> Iterator[pathlib.Path]:
    """Draws returns and lengths of episodes, the other measures of the training, and an episode.

    Args:
        run: The run.
        folder: Where to.
        episode: Which one: it begins another way for every number.

    Yields:
        The files, one after the other.

    Raises:
        ValueError: ``episode`` is negative.
    """
    if episode < 0:
        raise ValueError(f"--example: expected a number of at least 0, got {episode}")
    plan, history = run.plan, run.record["history"]
    title = f"{plan.name} in {plan.environment}"
    unit = "steps" if "steps" in plan.options else "episodes"
    yield plot.save(
        plot.return_curves(history, plan.made, before=plan.before, unit=unit, title=title), folder / "returns.png"
    )
    others = {name: history[name] for name in history if name.rpartition("/")[2] not in CURVES}
    yield plot.save(plot.learning_curves(others), folder / "learning_curves.png")
    where = place(plan.environment, plan.depth)
    try:
        steps = one_episode(run, episode)
    except ValueError:
        warn("no episode is drawn: the agent's actions are not finite")
        return
    frames = plot.episode_frames(DRAWN[plan.environment], steps, actions=where.actions)
    yield plot.save(plot.episode_strip(frames, title=title), folder / "episode.png")
    is_board = DRAWN[plan.environment] not in vars(bodies).values()
    yield plot.save_animation(frames, folder / "episode.gif", rate=SLOW if is_board else QUICK)


def one_episode(run: OpenedAgent, number: int) -> dict[str, np.ndarray]:
    """The steps of an episode in which the agent does what it thinks best, as :func:`stepax.rl.recorded` gives them."""
    key = jax.random.fold_in(jax.random.key(run.plan.seed), number)
    act = rl.greedy(run.built.learner, run.state)
    return rl.recorded(run.built.environment, act, key, 1, place(run.plan.environment, run.plan.depth).limit)
