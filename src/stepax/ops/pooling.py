"""Max and average pooling whose gradient is fast on every platform.

XLA differentiates a max over sliding windows by ``select_and_scatter``, which is slow on a CPU. Windows that do not
overlap are a reshape and a max over two axes instead, whose gradient is a comparison. Where values tie, that gradient
is shared among them.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from stepax.typing import Array

__all__ = ["average_pool", "max_pool"]


def max_pool(x: Array, window: Sequence[int], strides: Sequence[int] | None = None, padding: str = "VALID") -> Array:
    """The maximum over windows.

    Args:
        x: ``[batch, *space, channels]``.
        window: The window's size, one number per axis of space.
        strides: The distance between windows; ``None``: side by side.
        padding: ``"VALID"`` or ``"SAME"`` (padded places never win).

    Returns:
        ``[batch, *smaller, channels]``.

    Raises:
        ValueError: The window does not fit the input.
    """
    window, strides = _check(x, window, strides, padding)
    if window == strides and padding == "VALID":
        return _blocks(x, window).max(_block_axes(window))
    # A start on the host: one that is traced would hide from JAX that this is a maximum, which has a gradient.
    lowest = -np.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    return lax.reduce_window(x, np.array(lowest, x.dtype), lax.max, (1, *window, 1), (1, *strides, 1), padding)


def average_pool(
    x: Array, window: Sequence[int], strides: Sequence[int] | None = None, padding: str = "VALID"
) -> Array:
    """The mean over windows; at a padded edge, over the places inside the input.

    Args:
        x: ``[batch, *space, channels]``, floating.
        window: The window's size, one number per axis of space.
        strides: The distance between windows; ``None``: side by side.
        padding: ``"VALID"`` or ``"SAME"``.

    Returns:
        ``[batch, *smaller, channels]``.

    Raises:
        ValueError: The window does not fit the input.
    """
    window, strides = _check(x, window, strides, padding)
    if window == strides and padding == "VALID":
        return _blocks(x, window).mean(_block_axes(window))

    def total(values: Array) -> Array:
        return lax.reduce_window(values, np.zeros((), x.dtype), lax.add, (1, *window, 1), (1, *strides, 1), padding)

    return total(x) / total(jnp.ones((1, *x.shape[1:-1], 1), x.dtype))


def _check(
    x: Array, window: Sequence[int], strides: Sequence[int] | None, padding: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    window = tuple(window)
    strides = window if strides is None else tuple(strides)
    space = x.shape[1:-1]
    if not len(window) == len(strides) == len(space):
        raise ValueError(
            f"window {window} and strides {strides}: expected one number per axis of space, "
            f"and x has the shape {x.shape}"
        )
    for name, sizes in {"window": window, "strides": strides}.items():
        if min(sizes) < 1:
            raise ValueError(f"{name}: expected sizes of at least 1, got {sizes}")
    if padding not in ("VALID", "SAME"):
        raise ValueError(f"padding: expected 'VALID' or 'SAME', got {padding!r}")
    if padding == "VALID" and any(w > n for w, n in zip(window, space, strict=True)):
        raise ValueError(
            f"window: {window} is larger than the input's space {space}; use fewer pooling layers or a larger input"
        )
    return window, strides


def _blocks(x: Array, window: tuple[int, ...]) -> Array:
    """``[batch, *space, channels]`` as ``[batch, n₁, w₁, n₂, w₂, …, channels]``, with the remainder cut off."""
    counts = [n // w for n, w in zip(x.shape[1:-1], window, strict=True)]
    cut = lax.slice(x, (0,) * x.ndim, (x.shape[0], *(n * w for n, w in zip(counts, window, strict=True)), x.shape[-1]))
    split = [size for pair in zip(counts, window, strict=True) for size in pair]
    return cut.reshape(x.shape[0], *split, x.shape[-1])


def _block_axes(window: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(2 + 2 * i for i in range(len(window)))
