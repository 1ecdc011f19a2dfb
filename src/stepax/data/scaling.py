"""Affine scalings of the columns of a table, fitted on training rows and kept with the model."""

from typing import Any, NamedTuple

import numpy as np

from stepax.checks import check

__all__ = ["Scaling", "min_max", "standardization"]


BLOCK = 4096
"""Rows that are looked at together."""


class Scaling(NamedTuple):
    """The map ``x -> (x - mean) / scale`` for rows of one shape; it works on NumPy and JAX arrays, under jit too.

    Attributes:
        mean: What is taken away, ``[…]``: the shape of one row.
        scale: What is divided by, of the same shape, never 0.
    """

    mean: Any
    scale: Any

    def apply(self, x: Any) -> Any:
        """``(x - mean) / scale`` for ``x [*leading, …]``."""
        return (x - _lift(self.mean, x)) / _lift(self.scale, x)

    def invert(self, x: Any) -> Any:
        """``x * scale + mean`` for ``x [*leading, …]``: undoes ``apply`` up to rounding."""
        return x * _lift(self.scale, x) + _lift(self.mean, x)


def standardization(x: Any) -> Scaling:
    """The scaling of each column to mean 0 and standard deviation 1 over the rows (divisor n).

    A constant column gets scale 1, and so becomes 0.

    Args:
        x: Training rows ``[n, …]`` of finite numbers; only the leading axis is averaged.

    Returns:
        ``Scaling`` of arrays ``[…]``, in the floating-point dtype of ``x`` (float32 for integers).

    Raises:
        TypeError: Not numbers.
        ValueError: No rows, rows of different shapes, or NaN or inf among them.

    >>> standardization(np.array([[1.0, 5.0], [3.0, 5.0]], np.float32))
    Scaling(mean=array([2., 5.], dtype=float32), scale=array([1., 1.], dtype=float32))
    """
    x = _checked(x)
    # float64: in float32 the mean of 60,000 pixels already loses its last digits.
    mean = x.mean(axis=0, dtype=np.float64)
    # In blocks: the differences of all rows at once, in float64, would need several times the memory of the data.
    blocks = np.array_split(x, max(1, len(x) // BLOCK))
    deviation = np.sqrt(sum(np.square(block - mean).sum(axis=0) for block in blocks) / len(x))
    # A constant column is known by its range: rounding in its mean can make its deviation tiny instead of 0.
    return _scaling(x, mean, np.where(x.max(axis=0) == x.min(axis=0), 1, deviation))


def min_max(x: Any) -> Scaling:
    """The scaling of each column to the interval from 0 to 1 over the rows.

    A constant column gets scale 1, and so becomes 0.

    Args:
        x: Training rows ``[n, …]`` of finite numbers.

    Returns:
        ``Scaling`` of arrays ``[…]``: ``mean`` is the smallest value and ``scale`` the range.

    Raises:
        TypeError: Not numbers.
        ValueError: No rows, rows of different shapes, or NaN or inf among them.
    """
    x = _checked(x)
    low = x.min(axis=0).astype(np.float64)
    span = x.max(axis=0) - low
    return _scaling(x, low, np.where(span == 0, 1, span))


def _checked(x: Any) -> np.ndarray:
    """``x`` as a NumPy array of finite numbers."""
    try:
        x = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"x: expected rows of one shape, got a {type(x).__name__} of several ({error})") from error
    check(x, "x")
    return x


def _scaling(x: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> Scaling:
    """A scaling in the floating-point dtype of ``x``."""
    # A scale below the smallest normal number would become 0 here or on a device that flushes such numbers.
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    return Scaling(np.asarray(mean, dtype), np.asarray(np.maximum(scale, np.finfo(dtype).tiny), dtype))


def _lift(array: Any, x: Any) -> Any:
    """``array`` with leading axes of 1 up to the rank of ``x``: implicit rank promotion may be forbidden."""
    return array.reshape((1,) * (x.ndim - array.ndim) + array.shape)
