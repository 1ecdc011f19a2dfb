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

from stepax.ops.sizes import Pads, each, pads
from stepax.typing import Array

__all__ = ["average_pool", "max_pool"]

Padding = str | int | Sequence[int | tuple[int, int]]
# Larger windows are left to XLA: so many arrays would be slow to compile.
MOST_PLACES = 16


def max_pool(
    x: Array, window: int | Sequence[int], strides: int | Sequence[int] | None = None, padding: Padding = "VALID"
) -> Array:
    """The maximum over windows.

    Args:
        x: ``[batch, *space, channels]``.
        window: The window's size, one number or one per axis of space.
        strides: The distance between windows, one number or one per axis; ``None``: side by side.
        padding: ``"VALID"``, ``"SAME"``, a number for all ends, or one number or (low, high) pair per axis, smaller
            than the window. Padded places never win.

    Returns:
        ``[batch, *smaller, channels]``.

    Raises:
        TypeError: Window, strides or padding are no whole numbers.
        ValueError: They are too small or too many, or the window does not fit the input.
    """
    window, strides, pairs = _check(x, window, strides, padding)
    if 0 not in x.shape and (math.prod(window) <= MOST_PLACES or _side_by_side(window, strides, pairs)):
        return _max(x, window, strides, pairs)
    # A start on the host: one that is traced would hide from JAX that this is a maximum, which has a gradient.
    return lax.reduce_window(x, _lowest(x.dtype), lax.max, (1, *window, 1), (1, *strides, 1), _all_axes(pairs))


@partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def _max(x: Array, window: tuple[int, ...], strides: tuple[int, ...], pairs: Pads) -> Array:
    if math.prod(window) > MOST_PLACES:
        return _blocks(x, window).max(_block_axes(window))
    return _pairwise(jnp.maximum, _places(x, window, strides, pairs))


@_max.defjvp
def _max_jvp(
    window: tuple[int, ...], strides: tuple[int, ...], pairs: Pads, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    """The tangent of each window's winner, written so that its transpose, the gradient, is one pass."""
    (x,), (t,), (y,) = primals, tangents, (_max(primals[0], window, strides, pairs),)
    axes = _block_axes(window)
    numbers = _numbers(window)
    if math.prod(window) > MOST_PLACES:
        # Not by equality with y: XLA may compute x again for this, rounded otherwise, and then nothing equals y.
        blocks = _blocks(lax.stop_gradient(x), window)
        begin = _lowest(x.dtype), np.array(numbers.size, numbers.dtype)
        _, winner = lax.reduce((blocks, jnp.broadcast_to(numbers, blocks.shape)), begin, _first_largest, axes)
    else:
        places = enumerate(_places(x, window, strides, pairs))
        _, winner = _pairwise(_later_if_larger, [(x, jnp.full(x.shape, i, numbers.dtype)) for i, x in places])
    if _side_by_side(window, strides, pairs):
        blocks = _blocks(t, window)
        won = jnp.broadcast_to(jnp.expand_dims(winner, axes) == numbers, blocks.shape)
        # In the input's shape: what follows the gradient then finds one array, not one per shape.
        covered = (t.shape[0], *(n * w for n, w in zip(y.shape[1:-1], window, strict=True)), t.shape[-1])
        kept = jnp.where(won.reshape(covered), blocks.reshape(covered), 0)
        return y, kept.reshape(blocks.shape).sum(axes)
    of_winner = [jnp.where(winner == i, t, 0) for i, t in enumerate(_places(t, window, strides, pairs))]
    return y, _pairwise(jnp.add, of_winner)


def _later_if_larger(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    larger = b[0] > a[0]
    return jnp.where(larger, b[0], a[0]), jnp.where(larger, b[1], a[1])


def _first_largest(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    """The same in any order of the places."""
    left = (a[0] > b[0]) | ((a[0] == b[0]) & (a[1] < b[1]))
    return jnp.where(left, a[0], b[0]), jnp.where(left, a[1], b[1])


def _numbers(window: tuple[int, ...]) -> np.ndarray:
    """The places of a window numbered, in the axes of :func:`_blocks`."""
    count = math.prod(window)
    dtype = np.uint8 if count <= MOST_PLACES else np.int32
    return np.arange(count, dtype=dtype).reshape(1, *(size for w in window for size in (1, w)), 1)


def _side_by_side(window: tuple[int, ...], strides: tuple[int, ...], pairs: Pads) -> bool:
    return window == strides and not any(map(any, pairs))


def average_pool(
    x: Array, window: int | Sequence[int], strides: int | Sequence[int] | None = None, padding: Padding = "VALID"
) -> Array:
    """The mean over windows; at a padded edge, over the places inside the input.

    Args:
        x: ``[batch, *space, channels]``, floating.
        window: The window's size, one number or one per axis of space.
        strides: The distance between windows, one number or one per axis; ``None``: side by side.
        padding: ``"VALID"``, ``"SAME"``, a number for all ends, or one number or (low, high) pair per axis, smaller
            than the window.

    Returns:
        ``[batch, *smaller, channels]``.

    Raises:
        TypeError: Window, strides or padding are no whole numbers.
        ValueError: They are too small or too many, or the window does not fit the input.
    """
    window, strides, pairs = _check(x, window, strides, padding)
    if _side_by_side(window, strides, pairs):
        return _blocks(x, window).mean(_block_axes(window))

    def total(values: Array) -> Array:
        return lax.reduce_window(
            values, np.zeros((), x.dtype), lax.add, (1, *window, 1), (1, *strides, 1), _all_axes(pairs)
        )

    return total(x) / total(jnp.ones((1, *x.shape[1:-1], 1), x.dtype))


def _check(
    x: Array, window: int | Sequence[int], strides: int | Sequence[int] | None, padding: Padding
) -> tuple[tuple[int, ...], tuple[int, ...], Pads]:
    """The window, the strides and the padding in numbers, one or one pair per axis of space."""
    if jnp.ndim(x) < 3:
        raise ValueError(f"x: expected the shape [batch, *space, channels], got {jnp.shape(x)}")
    space = x.shape[1:-1]
    window = each("window", window, len(space))
    strides = window if strides is None else each("strides", strides, len(space))
    pairs = pads(padding, space, window, strides)
    for n, w, (low, high) in zip(space, window, pairs, strict=True):
        if not 0 <= min(low, high) <= max(low, high) < w:
            raise ValueError(f"padding: expected numbers of at least 0, smaller than the window {window}, got {pairs}")
        # What is empty stays so.
        if n != 0 and n + low + high < w:
            padded = f" with padding {pairs}" if any(map(any, pairs)) else ""
            raise ValueError(
                f"window: {window} is larger than the input's space {space}{padded}; use fewer pooling layers or a "
                "larger input"
            )
    return window, strides, pairs


def _all_axes(pairs: Pads) -> Pads:
    return ((0, 0), *pairs, (0, 0))


def _places(x: Array, window: tuple[int, ...], strides: tuple[int, ...], pairs: Pads) -> list[Array]:
    """What each place of a window meets, ``[batch, *smaller, channels]`` each."""
    if _side_by_side(window, strides, pairs):
        blocks = _blocks(x, window)
        # Numbers for the places in a window, everything for the rest.
        return [
            blocks[(slice(None), *(part for i in place for part in (slice(None), i)))] for place in np.ndindex(*window)
        ]
    padded = lax.pad(x, _lowest(x.dtype), [(0, 0, 0), *((*pair, 0) for pair in pairs), (0, 0, 0)])
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
