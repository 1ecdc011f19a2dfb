"""Sums over rows, and the same row everywhere, each the other's gradient; both in stages.

XLA's CPU backend sums a large array over a long leading axis slowly, by overlapping windows. Sums over few rows at a
time, and then over their sums, are plain fast loops. What is broadcast to every row in the same stages has such a sum
as its gradient.
"""

import jax.numpy as jnp

from stepax.typing import Array

__all__ = ["every_row", "sum_of_rows"]

# XLA leaves sums over fewer rows than this alone.
STAGE = 31


def sum_of_rows(x: Array) -> Array:
    """The sum over all axes but the last: ``[…, width]`` to ``[width]``."""
    width = x.shape[-1]
    rows = x.reshape(-1, width)
    for size in _stages(rows.shape[0]):
        rows = rows.reshape(-1, size, width).sum(1)
    return rows.sum(0)


def every_row(row: Array, count: int) -> Array:
    """``count`` times the same row: ``[width]`` to ``[count, width]``."""
    width = row.shape[0]
    stages = _stages(count)
    first = count
    for size in stages:
        first //= size
    rows = jnp.broadcast_to(row[None], (first, width))
    for size in reversed(stages):
        rows = jnp.broadcast_to(rows[:, None], (rows.shape[0], size, width)).reshape(-1, width)
    return rows


def _stages(count: int) -> list[int]:
    """By which numbers of rows to sum, one after the other: each divides what the one before leaves."""
    stages = []
    while count > STAGE:
        size = next((size for size in range(STAGE, 1, -1) if count % size == 0), None)
        if size is None:
            break
        stages.append(size)
        count //= size
    return stages
