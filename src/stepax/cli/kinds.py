"""The two kinds of runs: those of models, which learn from data, and those of agents, which learn from what they do."""

import pathlib
from collections.abc import Mapping
from typing import Any, Protocol

from stepax import record
from stepax.cli.plan import Plan

__all__ = ["AGENT", "AnyPlan", "is_agent", "plan_of"]

AGENT = "agent"
"""Under which name the details of a run hold the plan of an agent: by it the kinds are told apart."""


class AnyPlan(Protocol):
    """Plain values from which a training is made."""

    def details(self) -> dict[str, Any]:
        """The plan as what JSON can hold, in parts."""
        ...


def is_agent(folder: pathlib.Path) -> bool:
    """Whether a run is an agent's.

    Raises:
        stepax.record.RunError: The folder holds no run.
    """
    return AGENT in record.load(folder)["details"]


def plan_of(details: Mapping[str, Any]) -> AnyPlan:
    """The plan that the details of a run hold.

    Raises:
        stepax.record.RunError: They hold none.
    """
    if AGENT not in details:
        return Plan.of(details)
    from stepax.cli.agents.plan import AgentPlan  # what is for agents is imported only for them

    return AgentPlan.of(details)
