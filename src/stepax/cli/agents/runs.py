"""The run of an agent, opened again."""

import pathlib
from typing import Any, NamedTuple

from stepax import record
from stepax.cli.agents.learners import BuiltAgent, build, like
from stepax.cli.agents.plan import AgentPlan
from stepax.cli.kinds import AGENT
from stepax.learner import State

__all__ = ["OpenedAgent", "open_agent"]


class OpenedAgent(NamedTuple):
    """A trained agent with all that is known about it."""

    folder: pathlib.Path
    record: dict[str, Any]
    plan: AgentPlan
    built: BuiltAgent
    state: State


def open_agent(folder: pathlib.Path) -> OpenedAgent:
    """Opens the folder of an agent's run made by ``stepax train --env``.

    Raises:
        stepax.record.RunError: It is missing, damaged, or another kind of run.
        stepax.checkpoint.CheckpointError: Its checkpoint is missing or damaged.
    """
    kept = record.load(folder)
    if AGENT not in kept["details"]:
        raise record.RunError(f"run {folder}: it is a model's, which learnt from data: expected an agent's")
    try:
        plan = AgentPlan.of(kept["details"])
    except record.RunError as error:
        raise record.RunError(f"run {folder}: {error}") from error
    built = build(plan)
    return OpenedAgent(folder, kept, plan, built, record.restore(folder, like(built)))
