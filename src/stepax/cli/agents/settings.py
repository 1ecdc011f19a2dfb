"""The settings of agents, as plain data: defaults of each agent, and what is better in an environment.

What stands here is what ``stepax train --env … --agent …`` does without other options. Those that were taken over are
from the settings that Stable-Baselines3's zoo tells of (https://github.com/DLR-RM/rl-baselines3-zoo).
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["AGENTS", "BETTER", "OFFERED", "TABULAR", "defaults"]

TABULAR = ("q-learning", "sarsa", "expected-sarsa")
"""Agents that keep a table."""

# Widths of hidden layers, how observations are seen, and the optimizer, Adam; ``max_norm`` is that of the gradient.
# ``average``: how much of an average of the parameters stays with every step of the learner, 0 for none.
_NETWORK: dict[str, Any] = {
    "dense": (64, 64),
    "normalize": "no",
    "learning_rate": 7e-4,
    "schedule": "constant",
    "average": 0.0,
}
_CRITIC: dict[str, Any] = {
    **_NETWORK,
    "discount": 0.99,
    "entropy": 0.0,
    "value_weight": 0.5,
    "max_norm": 0.5,
}
_ACTOR: dict[str, Any] = {"steps": 500_000, "lanes": 8, **_CRITIC, "trace": 0.95, "normalize_rewards": False}
# ``follow``: below 1 the share by which the second network follows at every update, else every how many updates it is
# made equal. ``ahead``: steps of an entry. ``priority``: the exponent of errors, 0 for none. ``exploration``: in which
# share of the training ε falls to ``epsilon``. ``warmup``: steps of the environment before the first update.
_REPLAY: dict[str, Any] = {
    **_NETWORK,
    "steps": 100_000,
    "lanes": 4,
    "length": 4,
    "updates": 8,
    "batch_size": 64,
    "capacity": 50_000,
    "warmup": 1_000,
    "discount": 0.99,
    "epsilon": 0.05,
    "exploration": 0.2,
    "learning_rate": 1e-3,
    "schedule": "linear",
    "average": 0.999,
    "max_norm": 10.0,
    "double": True,
    "dueling": True,
    "ahead": 3,
    "priority": 0.6,
    "follow": 0.01,
}
# As for ``dqn``, but for what it is not asked; ``pretraining``: steps of the learner before it acts; ``several``,
# ``imitation``, ``margin``, ``decay``: weights and the margin of the losses.
_SHOWN: dict[str, Any] = {
    **{name: value for name, value in _REPLAY.items() if name not in ("warmup", "priority", "exploration")},
    "ahead": 10,
    "epsilon": 0.01,
    "pretraining": 1_000,
    "several": 1.0,
    "imitation": 1.0,
    "margin": 0.8,
    "decay": 1e-5,
}
_TABLE: dict[str, Any] = {
    "steps": 500_000,
    "lanes": 16,
    "length": 100,
    "learning_rate": 0.1,
    "schedule": "constant",
    "discount": 0.99,
    "epsilon": 0.1,
    "exploration": 0.0,
}

AGENTS: dict[str, dict[str, Any]] = {
    "ppo": {
        **_ACTOR,
        "steps": 200_000,
        "length": 128,
        "passes": 10,
        "batch_size": 64,
        "clip": 0.2,
        "learning_rate": 3e-4,
        "log_std": 0.0,
    },
    "a2c": {
        **_ACTOR,
        "length": 16,
        "learning_rate": 2e-3,
        "schedule": "linear",
        "normalize_rewards": True,
        "log_std": 0.0,
    },
    "reinforce": {"episodes": 4_000, "lanes": 8, **_CRITIC, "learning_rate": 2e-3, "log_std": 0.0},
    "dqn": _REPLAY,
    "dqfd": _SHOWN,
    **dict.fromkeys(TABULAR, _TABLE),
}
"""Every setting of every agent."""

OFFERED = (
    *("steps", "episodes", "lanes", "length", "discount", "trace", "clip", "passes", "entropy", "epsilon", "capacity"),
    *("learning_rate", "schedule", "batch_size", "dense", "normalize"),
)
"""Those that are options."""

_LAKE: dict[str, Any] = {"steps": 2_000_000, "lanes": 64, "epsilon": 1.0, "schedule": "linear"}
# Along the cliff and in the taxi every action has one outcome, and every step costs.
_SURE: dict[str, Any] = {"discount": 1.0, "learning_rate": 0.5}
_MEAN: dict[str, Any] = {"steps": 1_000_000, "discount": 1.0, "learning_rate": 0.2, "schedule": "linear"}

BETTER: dict[tuple[str, str], dict[str, Any]] = {
    ("ppo", "CartPole-v1"): {
        "steps": 100_000,
        "length": 32,
        "passes": 20,
        "batch_size": 256,
        "discount": 0.98,
        "trace": 0.8,
        "learning_rate": 1e-3,
        "schedule": "linear",
    },
    ("ppo", "Acrobot-v1"): {
        "steps": 1_000_000,
        "lanes": 16,
        "length": 256,
        "passes": 4,
        "batch_size": 256,
        "trace": 0.94,
        "learning_rate": 1e-3,
        "schedule": "linear",
        "average": 0.99,
        "normalize": "yes",
    },
    ("ppo", "MountainCar-v0"): {
        "steps": 1_000_000,
        "lanes": 16,
        "length": 16,
        "passes": 4,
        "trace": 0.98,
        "normalize": "yes",
        "normalize_rewards": True,
    },
    ("ppo", "MountainCarContinuous-v0"): {
        "steps": 200_000,
        "length": 256,
        "batch_size": 256,
        "discount": 0.999,
        "trace": 0.9,
        "normalize": "yes",
        "normalize_rewards": True,
    },
    ("ppo", "Pendulum-v1"): {
        "lanes": 4,
        "length": 256,
        "discount": 0.95,
        "learning_rate": 1e-3,
        "schedule": "linear",
        "average": 0.995,
        "normalize_rewards": True,
    },
    # A picture of 900 numbers a step; the one way that pays is shown.
    ("dqfd", "DeepSea"): {"steps": 10_000, "batch_size": 32, "capacity": 1_000, "discount": 1.0},
    ("dqn", "CartPole-v1"): {"ahead": 10, "priority": 0.0, "dueling": False},
    ("dqn", "Acrobot-v1"): {"batch_size": 128, "normalize": "yes"},
    ("dqn", "MountainCar-v0"): {
        "steps": 120_000,
        "ahead": 10,
        "follow": 500.0,
        "epsilon": 0.1,
        "exploration": 0.33,
        "normalize": "yes",
    },
    **{(agent, lake): _LAKE for agent in TABULAR for lake in ("FrozenLake-v1", "FrozenLake8x8-v1")},
    **{("q-learning", place): _SURE for place in ("CliffWalking-v1", "Taxi-v4")},
    # What these learn is a mean over their own random actions.
    **{(agent, place): _MEAN for agent in TABULAR[1:] for place in ("CliffWalking-v1", "Taxi-v4")},
}
"""What takes the place of an agent's defaults in an environment."""


def defaults(agent: str, environment: str) -> Mapping[str, Any]:
    """All settings of an agent in an environment.

    Args:
        agent: A key of ``AGENTS``.
        environment: The name of an environment.
    """
    return {**AGENTS[agent], **BETTER.get((agent, environment), {})}
