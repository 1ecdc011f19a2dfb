"""Max and average pooling whose gradient is fast on every platform.

XLA differentiates a max over sliding windows by ``select_and_scatter``, which is slow on a CPU, and so is a max over
axes with its count of ties. Here the places of a window are arrays of their own, compared two by two in one pass over
the input; the gradient goes, in one pass as well, to the place that won. Where values tie, that is the first, as in
PyTorch and Flax.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from stepax.typing import Array

__all__ = ["average_pool", "max_pool"]

# Larger windows are left to XLA: so many arrays would be slow to compile.
MOST_PLACES = 16


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
    if math.prod(window) <= MOST_PLACES or _side_by_side(window, strides, padding):
        return _max(x, window, strides, padding)
    # A start on the host: one that is traced would hide from JAX that this is a maximum, which has a gradient.
    return lax.reduce_window(x, _lowest(x.dtype), lax.max, (1, *window, 1), (1, *strides, 1), padding)


@partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def _max(x: Array, window: tuple[int, ...], strides: tuple[int, ...], padding: str) -> Array:
    if math.prod(window) > MOST_PLACES:
        return _blocks(x, window).max(_block_axes(window))
    return _pairwise(jnp.maximum, _places(x, window, strides, padding))


@_max.defjvp
def _max_jvp(
    window: tuple[int, ...], strides: tuple[int, ...], padding: str, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    """The tangent of each window's winner, written so that its transpose, the gradient, is one pass."""
    (x,), (t,), (y,) = primals, tangents, (_max(primals[0], window, strides, padding),)
    axes = _block_axes(window)
    numbers = _numbers(window)
    if math.prod(window) > MOST_PLACES:
        largest = _blocks(x, window) == jnp.expand_dims(y, axes)
        winner = jnp.where(largest, numbers, numbers.size).min(axes)
    else:
        places = enumerate(_places(x, window, strides, padding))
        _, winner = _pairwise(_later_if_larger, [(x, jnp.full(x.shape, i, numbers.dtype)) for i, x in places])
    if _side_by_side(window, strides, padding):
        blocks = _blocks(t, window)
        won = jnp.broadcast_to(jnp.expand_dims(winner, axes) == numbers, blocks.shape)
        # In the input's shape: what follows the gradient then finds one array, not one per shape.
        covered = (t.shape[0], *(n * w for n, w in zip(y.shape[1:-1], window, strict=True)), t.shape[-1])
        kept = jnp.where(won.reshape(covered), blocks.reshape(covered), 0)
        return y, kept.reshape(blocks.shape).sum(axes)
    of_winner = [jnp.where(winner == i, t, 0) for i, t in enumerate(_places(t, window, strides, padding))]
    return y, _pairwise(jnp.add, of_winner)


def _later_if_larger(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    larger = b[0] > a[0]
    return jnp.where(larger, b[0], a[0]), jnp.where(larger, b[1], a[1])


def _numbers(window: tuple[int, ...]) -> np.ndarray:
    """The places of a window numbered, in the axes of :func:`_blocks`."""
    count = math.prod(window)
    dtype = np.uint8 if count <= MOST_PLACES else np.int32
    return np.arange(count, dtype=dtype).reshape(1, *(size for w in window for size in (1, w)), 1)


def _side_by_side(window: tuple[int, ...], strides: tuple[int, ...], padding: str) -> bool:
    return window == strides and padding == "VALID"


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
    if _side_by_side(window, strides, padding):
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


def _places(x: Array, window: tuple[int, ...], strides: tuple[int, ...], padding: str) -> list[Array]:
    """What each place of a window meets, ``[batch, *smaller, channels]`` each."""
    if _side_by_side(window, strides, padding):
        blocks = _blocks(x, window)
        # Numbers for the places in a window, everything for the rest.
        return [
            blocks[(slice(None), *(part for i in place for part in (slice(None), i)))] for place in np.ndindex(*window)
        ]
    pads = lax.padtype_to_pads(x.shape[1:-1], window, strides, padding)
    padded = lax.pad(x, _lowest(x.dtype), [(0, 0, 0), *((*pair, 0) for pair in pads), (0, 0, 0)])
    counts = [(n - w) // stride + 1 for n, w, stride in zip(padded.shape[1:-1], window, strides, strict=True)]
    places = []
    for place in np.ndindex(*window):
        stop = [start + stride * (n - 1) + 1 for start, stride, n in zip(place, strides, counts, strict=True)]
        places.append(lax.slice(padded, (0, *place, 0), (x.shape[0], *stop, x.shape[-1]), (1, *strides, 1)))
    return places


def _lowest(dtype: Any) -> np.ndarray:
    return np.array(-np.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min, dtype)


def _pairwise(combine: Callable[[Any, Any], Any], arrays: list[Any]) -> Any:
    """All arrays combined, as a balanced tree."""
    while len(arrays) > 1:
        pairs = zip(arrays[::2], arrays[1::2], strict=False)
        arrays = [combine(a, b) for a, b in pairs] + arrays[len(arrays) & ~1 :]
    return arrays[0]


def _blocks(x: Array, window: tuple[int, ...]) -> Array:
    """``[batch, *space, channels]`` as ``[batch, n₁, w₁, n₂, w₂, …, channels]``, with the remainder cut off."""
    counts = [n // w for n, w in zip(x.shape[1:-1], window, strict=True)]
    cut = lax.slice(x, (0,) * x.ndim, (x.shape[0], *(n * w for n, w in zip(counts, window, strict=True)), x.shape[-1]))
    split = [size for pair in zip(counts, window, strict=True) for size in pair]
    return cut.reshape(x.shape[0], *split, x.shape[-1])


def _block_axes(window: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(2 + 2 * i for i in range(len(window)))
