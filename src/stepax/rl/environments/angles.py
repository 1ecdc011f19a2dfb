"""Angles of what turns."""

import math

import jax.numpy as jnp

from stepax.typing import Array

__all__ = ["wrapped"]


def wrapped(angle: Array) -> Array:
    """The same angle within ±π, in radians."""
    return angle - 2 * math.pi * jnp.round(angle / (2 * math.pi))
