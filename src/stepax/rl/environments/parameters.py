"""The parameters of environments: numbers, which a sweep may hand over as traced arrays."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["number", "positive", "probability"]


def number(name: str, value: Any) -> Any:
    """A finite number, as a Python float; one that is traced, as float32.

    Raises:
        TypeError: It is no number.
        ValueError: It is nan, infinite or no scalar.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number | np.ndarray | jax.Array):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__} {value!r}")
    if np.shape(value):
        raise ValueError(f"{name}: expected one number, got an array of shape {np.shape(value)}")
    if isinstance(value, jax.core.Tracer):
        return value.astype(jnp.float32)
    if not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, got {value}")
    return float(value)


def positive(name: str, value: Any) -> Any:
    """A :func:`number` above 0, as far as it is known.

    Raises:
        TypeError: It is no number.
        ValueError: It is not above 0, infinite or no scalar.
    """
    checked = number(name, value)
    if not isinstance(checked, jax.core.Tracer) and checked <= 0:
        raise ValueError(f"{name}: expected a number above 0, got {value}")
    return checked


def probability(name: str, value: Any) -> Any:
    """A :func:`number` from 0 to 1, as far as it is known.

    Raises:
        TypeError: It is no number.
        ValueError: It is not in [0, 1], or no scalar.
    """
    checked = number(name, value)
    if not isinstance(checked, jax.core.Tracer) and not 0 <= checked <= 1:
        raise ValueError(f"{name}: expected a number from 0 to 1, got {value}")
    return checked
