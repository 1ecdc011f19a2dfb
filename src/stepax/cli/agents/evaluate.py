"""``stepax evaluate`` of an agent: the returns of its episodes, here and in Gymnasium's own environment."""

from typing import Any

import numpy as np

from stepax import rl
from stepax.checks import check_count
from stepax.cli.agents.environments import ENVIRONMENTS, place
from stepax.cli.agents.play import EPISODES, Played, measured, note_left, summary, table
from stepax.cli.agents.runs import OpenedAgent, open_agent
from stepax.cli.console import print_json, print_tables
from stepax.cli.options import Evaluate

__all__ = ["in_gymnasium", "main"]


def main(options: Evaluate) -> None:
    """Prints what episodes of an agent have brought.

    Raises:
        ValueError: An option does not apply, or is out of range; Gymnasium is not installed, or has no such
            environment.
    """
    for option in ("data", "encoding", "part"):
        if getattr(options, option) is not None:
            raise ValueError(f"--{option} does not apply to {options.run}, an agent's run: it reads no data")
    episodes = EPISODES if options.episodes is None else options.episodes
    check_count("--episodes", episodes)
    run = open_agent(options.run)
    if options.gymnasium:
        check_gymnasium(run.plan.environment)
    limit = place(run.plan.environment, run.plan.depth).limit
    found = measured(run.built, run.state, run.plan.seed, episodes, limit)
    parts = {"stepax": summary(found)}
    if options.gymnasium:
        parts["Gymnasium"] = summary(in_gymnasium(run, episodes, limit))
        del parts["Gymnasium"]["ended"]  # a limit that was set is one of Gymnasium's own there
    if options.json:
        named: dict[str, Any] = {"run": str(options.run), "environment": run.plan.environment, **parts["stepax"]}
        print_json(named | ({"gymnasium": parts["Gymnasium"]} if options.gymnasium else {}))
    else:
        print_tables([table(parts, f"{options.run}: {run.plan.name} in {run.plan.environment}")])
    note_left(found, limit)


def check_gymnasium(environment: str) -> None:
    """Refuse what cannot be played in Gymnasium.

    Raises:
        ValueError: It is not installed, or has no such environment.
    """
    if not ENVIRONMENTS[environment].gymnasium:
        raise ValueError(f"--gymnasium: there is no {environment} in Gymnasium")
    try:
        import gymnasium  # noqa: F401
    except ImportError as error:
        raise ValueError("--gymnasium needs gymnasium: pip install 'stepax[gym]'") from error


def in_gymnasium(run: OpenedAgent, episodes: int, limit: int) -> Played:
    """The same agent in Gymnasium's environment of the same name."""
    act = rl.greedy(run.built.learner, run.state)
    seed = run.plan.seed % 2**31
    made = rl.host.evaluate(act, run.plan.environment, episodes=episodes, seed=seed, steps=limit)
    return Played(made["return"], made["length"], np.ones(episodes, bool))
