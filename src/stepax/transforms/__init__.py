"""Transformations of learners, ``Learner -> Learner``: each adds one thing to every step and keeps the contract."""

from stepax.transforms.precise import full_precision, precise

__all__ = ["full_precision", "precise"]
