"""Environments as pure functions: small ones of Gymnasium and bsuite, tables, and some whose values are known."""

from stepax.rl.environments import known
from stepax.rl.environments.acrobot import acrobot
from stepax.rl.environments.cartpole import cartpole
from stepax.rl.environments.catch import catch
from stepax.rl.environments.cliff_walking import cliff_walking, cliff_walking_table
from stepax.rl.environments.deep_sea import deep_sea, right_actions
from stepax.rl.environments.frozen_lake import (
    LAKE_4X4,
    LAKE_8X8,
    frozen_lake,
    frozen_lake_8x8,
    frozen_lake_table,
    random_lake,
)
from stepax.rl.environments.mountain_car import mountain_car, mountain_car_continuous
from stepax.rl.environments.pendulum import pendulum
from stepax.rl.environments.table import Table, from_table
from stepax.rl.environments.taxi import taxi, taxi_table

__all__ = [
    "LAKE_4X4",
    "LAKE_8X8",
    "Table",
    "acrobot",
    "cartpole",
    "catch",
    "cliff_walking",
    "cliff_walking_table",
    "deep_sea",
    "from_table",
    "frozen_lake",
    "frozen_lake_8x8",
    "frozen_lake_table",
    "known",
    "mountain_car",
    "mountain_car_continuous",
    "pendulum",
    "random_lake",
    "right_actions",
    "taxi",
    "taxi_table",
]
