"""The options of agents."""

import pathlib
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from stepax.cli.parsing import shown

__all__ = ["Agent", "Record"]

# Names as the tables in ``environments`` and ``settings`` have them; not read from there, as in ``stepax.cli.options``.
ENVIRONMENTS = (
    "CartPole-v1|Acrobot-v1|MountainCar-v0|MountainCarContinuous-v0|Pendulum-v1|FrozenLake-v1|FrozenLake8x8-v1|"
    "CliffWalking-v1|Taxi-v4|Catch|DeepSea"
)
AGENTS = "ppo|a2c|reinforce|dqn|dqfd|q-learning|sarsa|expected-sarsa"
BY_BOTH = "by agent and environment"


@dataclass(frozen=True)
class Agent:
    """What acts, and where: with --env an agent is trained, from what it does itself.

    Of the options of models and training dense, normalize, learning-rate, schedule, batch-size and seed apply, too, and
    all of what it leaves behind.

    Attributes:
        env: The environment: Gymnasium's by their names, or Catch or DeepSea of bsuite.
        agent: How it learns. The last three keep a table, and are for environments whose observations can be counted.
        steps: How many steps of the environment it has in all, rounded down to whole steps of its own.
        episodes: The same for reinforce, which plays whole episodes.
        lanes: How many environments run side by side.
        length: How many steps each of them makes between two steps of the agent.
        discount: What a reward counts that comes a step later.
        trace: How far advantages look ahead, from 0 (a step) to 1 (to the end).
        clip: How far ppo lets the probability of an action move; falls as --schedule says.
        passes: How often ppo goes through each rollout.
        entropy: The weight of the entropy, which keeps a policy from deciding too early.
        epsilon: How likely an action is a random one, at the end of what it falls along.
        capacity: How many transitions the replay of dqn and dqfd keeps.
        demonstrations: A file of `stepax record`, from which dqfd learns first.
        depth: How deep DeepSea is.
    """

    env: Annotated[str | None, shown(ENVIRONMENTS, "none: learn from data")] = None
    agent: Annotated[str | None, shown(AGENTS, "ppo, and q-learning where a table does")] = None
    steps: Annotated[int | None, shown("N", BY_BOTH)] = None
    episodes: Annotated[int | None, shown("N", "by environment")] = None
    lanes: Annotated[int | None, shown("N", BY_BOTH)] = None
    length: Annotated[int | None, shown("N", BY_BOTH)] = None
    discount: Annotated[float | None, shown("FACTOR", BY_BOTH)] = None
    trace: Annotated[float | None, shown("FACTOR", BY_BOTH)] = None
    clip: Annotated[float | None, shown("FRACTION", BY_BOTH)] = None
    passes: Annotated[int | None, shown("N", BY_BOTH)] = None
    entropy: Annotated[float | None, shown("WEIGHT", BY_BOTH)] = None
    epsilon: Annotated[float | None, shown("PROBABILITY", BY_BOTH)] = None
    capacity: Annotated[int | None, shown("N", BY_BOTH)] = None
    demonstrations: Annotated[pathlib.Path | None, shown("FILE.npz", "none; dqfd needs it")] = None
    depth: Annotated[int | None, shown("N", "10")] = None


@dataclass(frozen=True)
class Record:
    """Record episodes of a trained agent, or of a rule known beforehand, as demonstrations for dqfd.

    Attributes:
        run: The folder of the run; with --env none.
        env: An environment in which a rule plays: MountainCar-v0, Catch, DeepSea, or one that is a table, whose best
            policy is computed.
        depth: How deep DeepSea is.
        episodes: How many.
        out: The .npz file.
        seed: The root of all randomness.
    """

    run: Annotated[
        Positional[pathlib.Path | None], arg(metavar="[RUN]", help_behavior_hint="(default: none, with --env)")
    ] = None
    env: Annotated[str | None, shown("NAME", "that of the run")] = None
    depth: Annotated[int | None, shown("N", "10")] = None
    episodes: int = 10
    out: Annotated[pathlib.Path, arg(metavar="FILE.npz")] = pathlib.Path("demonstrations.npz")
    seed: int = 0
