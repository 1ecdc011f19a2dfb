"""The plan of an agent's training: plain values from which it is made, now or again from the folder of its run."""

import math
import pathlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, get_type_hints

from stepax import data
from stepax.checks import check_count
from stepax.cli.agents.environments import environment, place, places
from stepax.cli.agents.settings import AGENTS, OFFERED, TABULAR, defaults
from stepax.cli.choices import chosen, settings
from stepax.cli.console import program
from stepax.cli.kinds import AGENT
from stepax.cli.optimizers import SCHEDULES
from stepax.cli.plan import check_fields, check_options, frozen
from stepax.record import RECORD, RunError
from stepax.rl import Box, Discrete

__all__ = ["AgentPlan", "checked", "planned"]

ROWS = range(20, 51)
"""How many rows the history of a training is to have, where there are as many steps."""

LEARNS_FROM_THEM = "dqfd"
"""The agent for which demonstrations are."""

COUNTS = ("steps", "episodes", "lanes", "length", "passes", "batch_size", "capacity")
SHARES = ("discount", "trace", "epsilon")
POSITIVE = ("clip", "learning_rate")


@dataclass(frozen=True)
class AgentPlan:
    """Who learns, where, and how.

    Attributes:
        name: The agent's.
        environment: The environment's name.
        depth: Of DeepSea, or ``None``.
        options: All settings of the agent.
        rounds: Steps of the learner in an epoch, which is a row of the history.
        epochs: How many of them.
        seed: The root of all randomness.
        demonstrations: The path of a file, or ``None``.
        demonstrated: How many steps it has.
    """

    name: str
    environment: str
    depth: int | None
    options: Mapping[str, Any]
    rounds: int
    epochs: int
    seed: int
    demonstrations: str | None = None
    demonstrated: int = 0

    @property
    def made(self) -> int:
        """What a step of the learner makes: steps of the environment, or of reinforce episodes."""
        return made(self.options)

    @property
    def before(self) -> int:
        """Steps of the learner before it acts: of dqfd those in which it learns from demonstrations alone."""
        return self.options.get("pretraining", 0)

    def details(self) -> dict[str, Any]:
        """The plan as what JSON can hold."""
        return {AGENT: asdict(self)}

    @classmethod
    def of(cls, details: Mapping[str, Any]) -> "AgentPlan":
        """The inverse of ``details``.

        Raises:
            stepax.record.RunError: These are not the details of an agent's run; the message names the field.
        """
        given = frozen(details.get(AGENT))
        try:
            check_fields(AGENT, get_type_hints(cls), given)
            plan = cls(**given)
            check_options(AGENT, chosen("agent", AGENTS, plan.name), plan.options)
            checked(plan)
        except ValueError as error:
            raise RunError(f"{RECORD} was not made by `stepax train`, or by another version of it: {error}") from error
        return plan


def made(options: Mapping[str, Any]) -> int:
    """What a step of the learner makes, by its settings."""
    return options["lanes"] * options.get("length", 1)


def planned(wanted: Any) -> AgentPlan:
    """The plan for options.

    Args:
        wanted: The options of ``stepax train``, with ``--env``.

    Returns:
        The plan.

    Raises:
        ValueError: A name is unknown, an option is out of range, or does not apply to what was chosen; agent and
            environment do not fit.
    """
    asked = wanted.agent
    where = place(asked.env, asked.depth)
    name = asked.agent or ("ppo" if where.table is None else TABULAR[0])
    chosen("agent", AGENTS, name)
    given = _given(wanted)
    usual = defaults(name, asked.env)
    settings(f"--agent {name}", {option: usual[option] for option in usual if option in OFFERED}, given)
    options = {**usual, **{option: value for option, value in given.items() if value is not None}}
    plan = AgentPlan(name, asked.env, asked.depth, options, 1, 1, wanted.optimization.seed)
    checked(plan)
    rounds, epochs = _rows(plan)
    if rounds * epochs <= plan.before:
        least = ROWS[-1] * plan.made
        raise ValueError(
            f"--steps: expected at least {least}, after {plan.before} that learn from demonstrations alone"
        )
    return replace(_with_demonstrations(plan, asked.demonstrations), rounds=rounds, epochs=epochs)


def _with_demonstrations(plan: AgentPlan, path: pathlib.Path | None) -> AgentPlan:
    if plan.name != LEARNS_FROM_THEM:
        if path is not None:
            raise ValueError(f"--demonstrations does not apply to --agent {plan.name}: they are for {LEARNS_FROM_THEM}")
        return plan
    if path is None:
        how = f"`{program()} record` makes such a file"
        raise ValueError(f"--agent {plan.name} learns from demonstrations first: pass --demonstrations FILE.npz; {how}")
    path = path.expanduser().resolve()
    return replace(plan, demonstrations=str(path), demonstrated=len(data.demonstrations(path)["reward"]))


def _given(wanted: Any) -> dict[str, Any]:
    """What was given of the options that agents have; any other is refused."""
    env, found = wanted.agent.env, {}
    for group in (wanted.data, wanted.model, wanted.agent, wanted.optimization):
        usual = type(group)()
        for field in fields(group):
            value, default = getattr(group, field.name), getattr(usual, field.name)
            if field.name in OFFERED:
                found[field.name] = value
            elif value != default and field.name not in ("env", "agent", "depth", "demonstrations", "seed"):
                option = f"--{field.name.replace('_', '-')}"
                raise ValueError(f"{option} does not apply to --env {env}, where an agent learns by what it does")
    if wanted.output.watch is not None:
        raise ValueError(f"--watch does not apply to --env {env}")
    return found


def checked(plan: AgentPlan) -> AgentPlan:
    """The plan, once its settings were found to be in range, and its agent one that can act in the environment.

    Raises:
        ValueError: They are not; the message names the option.
    """
    options = plan.options
    for option in COUNTS:
        if isinstance(options.get(option), str):
            raise ValueError(f"--{option.replace('_', '-')} {options[option]} does not apply to agents")
        check_count(f"--{option.replace('_', '-')}", options.get(option, 1))
    for option in SHARES:
        if not 0 <= options.get(option, 0) <= 1:
            raise ValueError(f"--{option}: expected a number from 0 to 1, got {options[option]}")
    for option in POSITIVE:
        if not 0 < options.get(option, 1) < math.inf:
            raise ValueError(f"--{option.replace('_', '-')}: expected a positive number, got {options[option]}")
    if not 0 <= options.get("entropy", 0) < math.inf:
        raise ValueError(f"--entropy: expected a number of at least 0, got {options['entropy']}")
    if any(width < 1 for width in options.get("dense", ())):
        raise ValueError(f"--dense: expected whole numbers of at least 1, got {options['dense']}")
    chosen("schedule", SCHEDULES, options["schedule"])
    _check_place(plan)
    _check_sizes(plan)
    return plan


def _check_place(plan: AgentPlan) -> None:
    where = environment(plan.environment, plan.depth)
    if isinstance(where.action_space, Box) and plan.name not in ("ppo", "a2c", "reinforce"):
        raise ValueError(
            f"--agent {plan.name} chooses among single actions, and those of {plan.environment} are real numbers: "
            f"try --agent ppo, or one of {', '.join(places(single=True))}"
        )
    if plan.name in TABULAR and not isinstance(where.observation_space, Discrete):
        raise ValueError(
            f"--agent {plan.name} keeps a table with a row for each observation, and those of {plan.environment} are "
            f"real numbers: try --agent dqn, or one of {', '.join(places(counted=True))}"
        )
    if plan.options.get("normalize") == "yes" and isinstance(where.observation_space, Discrete):
        raise ValueError(f"--normalize yes does not apply to {plan.environment}, whose observations are counted")
    if plan.name in TABULAR and plan.options["learning_rate"] > 1:
        rate = plan.options["learning_rate"]
        raise ValueError(f"--learning-rate: expected a number of at most 1 for {plan.name}, got {rate}")


def _check_sizes(plan: AgentPlan) -> None:
    options, each = plan.options, plan.made
    what = "steps" if "steps" in options else "episodes"
    if options[what] < each:
        rows = f"{options['lanes']} lanes" + (f" of {options['length']}" if "length" in options else "")
        one = f"those of one step of the agent in {rows}"
        raise ValueError(f"--{what}: expected at least {each}, {one}, got {options[what]}")
    size = options.get("batch_size", 1)
    if plan.name == "ppo" and each % size:
        rollout = f"--lanes {options['lanes']} times --length {options['length']}"
        raise ValueError(f"--batch-size: {size} does not divide the {each} steps of a rollout, {rollout}")
    if (first := max(options.get("warmup", 0), size if "warmup" in options else 0)) >= options[what]:
        raise ValueError(f"--{what}: expected more than {first}, before which nothing is learnt, got {options[what]}")
    if options.get("dueling") and not options["dense"]:
        raise ValueError("--dense: expected at least one width, before values and advantages part")
    least = max(size, each, options["lanes"] * options.get("ahead", 1))
    if (got := options.get("capacity", least)) < least:
        raise ValueError(f"--capacity: expected at least {least}, for a batch and the steps between two, got {got}")


def _rows(plan: AgentPlan) -> tuple[int, int]:
    """Steps of the learner in an epoch, and epochs: no more than were asked for, and hardly fewer."""
    total = plan.before + (plan.options.get("steps") or plan.options["episodes"]) // plan.made
    if total <= ROWS[-1]:
        return 1, total
    epochs = min(reversed(ROWS), key=lambda rows: total % rows)
    return total // epochs, epochs
