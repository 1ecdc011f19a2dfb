"""A dense layer as two-dimensional matrix products, the bias's gradient included."""

from stepax.ops.rows import every_row
from stepax.typing import Array

__all__ = ["dense"]


def dense(x: Array, kernel: Array, bias: Array | None = None) -> Array:
    """``x W + b``, over the last axis of ``x``.

    On a CPU a product with leading axes, such as time, runs at about half the rate of the same product over rows, and
    the sum over rows that is the bias's gradient costs as much as a product: here it is one, with a row of ones.

    Args:
        x: ``[…, inputs]``.
        kernel: ``W``, ``[inputs, features]``.
        bias: ``b``, ``[features]``; none if ``None``.

    Returns:
        ``[…, features]``.

    Raises:
        ValueError: Shapes do not fit together.
    """
    if kernel.ndim != 2 or x.ndim < 1 or x.shape[-1] != kernel.shape[0]:
        raise ValueError(f"kernel: expected the shape [inputs, features] for x of shape {x.shape}, got {kernel.shape}")
    if bias is not None and bias.shape != kernel.shape[1:]:
        raise ValueError(f"bias: expected the shape {kernel.shape[1:]}, got {bias.shape}")
    rows = x.reshape(-1, x.shape[-1])
    y = rows @ kernel
    if bias is not None:
        y = y + every_row(bias, rows.shape[:1])
    return y.reshape(*x.shape[:-1], kernel.shape[1])
