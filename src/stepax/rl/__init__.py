"""Reinforcement learning: environments as pure functions, agents whose whole training is one pure step."""

from stepax.rl.a2c import a2c
from stepax.rl.distributions import Categorical, Distribution, Normal
from stepax.rl.environment import Environment, Limited, Resetting, Step, auto_reset, check_environment, time_limit
from stepax.rl.environments import (
    LAKE_4X4,
    LAKE_8X8,
    Table,
    acrobot,
    cartpole,
    catch,
    cliff_walking,
    cliff_walking_table,
    deep_sea,
    frozen_lake,
    frozen_lake_8x8,
    frozen_lake_table,
    known,
    mountain_car,
    mountain_car_continuous,
    pendulum,
    random_lake,
    right_actions,
    tabular,
    taxi,
    taxi_table,
)
from stepax.rl.estimators import VTrace, gae, lambda_returns, n_step_returns, returns, vtrace
from stepax.rl.networks import ActorCritic, CategoricalPolicy, NormalPolicy, Value
from stepax.rl.normalization import normalized
from stepax.rl.ppo import ppo
from stepax.rl.prioritised import prioritised
from stepax.rl.reinforce import reinforce
from stepax.rl.replay import Replay, Sample, n_step, uniform
from stepax.rl.spaces import Box, Discrete

__all__ = [
    "LAKE_4X4",
    "LAKE_8X8",
    "ActorCritic",
    "Box",
    "Categorical",
    "CategoricalPolicy",
    "Discrete",
    "Distribution",
    "Environment",
    "Limited",
    "Normal",
    "NormalPolicy",
    "Replay",
    "Resetting",
    "Sample",
    "Step",
    "Table",
    "VTrace",
    "Value",
    "a2c",
    "acrobot",
    "auto_reset",
    "cartpole",
    "catch",
    "check_environment",
    "cliff_walking",
    "cliff_walking_table",
    "deep_sea",
    "frozen_lake",
    "frozen_lake_8x8",
    "frozen_lake_table",
    "gae",
    "known",
    "lambda_returns",
    "mountain_car",
    "mountain_car_continuous",
    "n_step",
    "n_step_returns",
    "normalized",
    "pendulum",
    "ppo",
    "prioritised",
    "random_lake",
    "reinforce",
    "returns",
    "right_actions",
    "tabular",
    "taxi",
    "taxi_table",
    "time_limit",
    "uniform",
    "vtrace",
]
