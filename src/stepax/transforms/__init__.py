"""Transformations of learners, ``Learner -> Learner``: each adds one thing to every step and keeps the contract."""

from stepax.transforms.accumulate import accumulate
from stepax.transforms.average import average, averaged
from stepax.transforms.guard import NotFinite, check_guard, guard
from stepax.transforms.population import lane, population
from stepax.transforms.precise import full_precision, precise
from stepax.transforms.replay import replay
from stepax.transforms.shard import by_path, fully_sharded, mesh, replicated, shard, shardings
from stepax.transforms.sweep import grid, sweep
from stepax.transforms.trim import trim
from stepax.transforms.watch import watch

__all__ = [
    "NotFinite",
    "accumulate",
    "average",
    "averaged",
    "by_path",
    "check_guard",
    "full_precision",
    "fully_sharded",
    "grid",
    "guard",
    "lane",
    "mesh",
    "population",
    "precise",
    "replay",
    "replicated",
    "shard",
    "shardings",
    "sweep",
    "trim",
    "watch",
]
