"""Reinforcement learning: environments as pure functions, agents whose whole training is one pure step."""

from stepax.rl import host
from stepax.rl.a2c import a2c
from stepax.rl.action_table import ByVisits
from stepax.rl.demonstrations import check_demonstrations, recorded
from stepax.rl.distributions import Categorical, Distribution, Normal
from stepax.rl.dqfd import dqfd, large_margin
from stepax.rl.dqn import double, dqn, gradual, maximum, periodic
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
    from_table,
    frozen_lake,
    frozen_lake_8x8,
    frozen_lake_table,
    known,
    mountain_car,
    mountain_car_continuous,
    pendulum,
    random_lake,
    right_actions,
    taxi,
    taxi_table,
)
from stepax.rl.estimators import VTrace, gae, lambda_returns, n_step_returns, returns, vtrace
from stepax.rl.networks import ActionValues, ActorCritic, CategoricalPolicy, Dueling, NormalPolicy, Value
from stepax.rl.normalization import normalized
from stepax.rl.policies import drawn, epsilon_greedy, greedy
from stepax.rl.ppo import ppo
from stepax.rl.prioritised import prioritised
from stepax.rl.reinforce import reinforce
from stepax.rl.replay import Replay, Sample, n_step, uniform
from stepax.rl.spaces import Box, Discrete
from stepax.rl.tabular import expected_sarsa, q_learning, sarsa
from stepax.rl.value_iteration import Solution, action_values, policy_values, value_iteration

__all__ = [
    "LAKE_4X4",
    "LAKE_8X8",
    "ActionValues",
    "ActorCritic",
    "Box",
    "ByVisits",
    "Categorical",
    "CategoricalPolicy",
    "Discrete",
    "Distribution",
    "Dueling",
    "Environment",
    "Limited",
    "Normal",
    "NormalPolicy",
    "Replay",
    "Resetting",
    "Sample",
    "Solution",
    "Step",
    "Table",
    "VTrace",
    "Value",
    "a2c",
    "acrobot",
    "action_values",
    "auto_reset",
    "cartpole",
    "catch",
    "check_demonstrations",
    "check_environment",
    "cliff_walking",
    "cliff_walking_table",
    "deep_sea",
    "double",
    "dqfd",
    "dqn",
    "drawn",
    "epsilon_greedy",
    "expected_sarsa",
    "from_table",
    "frozen_lake",
    "frozen_lake_8x8",
    "frozen_lake_table",
    "gae",
    "gradual",
    "greedy",
    "host",
    "known",
    "lambda_returns",
    "large_margin",
    "maximum",
    "mountain_car",
    "mountain_car_continuous",
    "n_step",
    "n_step_returns",
    "normalized",
    "pendulum",
    "periodic",
    "policy_values",
    "ppo",
    "prioritised",
    "q_learning",
    "random_lake",
    "recorded",
    "reinforce",
    "returns",
    "right_actions",
    "sarsa",
    "taxi",
    "taxi_table",
    "time_limit",
    "uniform",
    "value_iteration",
    "vtrace",
]
