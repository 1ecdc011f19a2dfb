"""Transformations of learners, ``Learner -> Learner``: each adds one thing to every step and keeps the contract."""

from stepax.transforms.accumulate import accumulate
from stepax.transforms.average import average, averaged
from stepax.transforms.guard import NotFinite, check_guard, guard
from stepax.transforms.population import lane, population
from stepax.transforms.precise import full_precision, precise
from stepax.transforms.sweep import grid, sweep
from stepax.transforms.watch import watch

__all__ = [
    "NotFinite",
    "accumulate",
    "average",
    "averaged",
    "check_guard",
    "full_precision",
    "grid",
    "guard",
    "lane",
    "population",
    "precise",
    "sweep",
    "watch",
]
