"""Larger images and sequences, in place of transposed convolutions.

A transposed convolution is slow on a CPU, and leaves a checkerboard where its window is no multiple of its stride. Two
forms do better: upsample, then convolve; or convolve to more channels, and lay them out in space.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from stepax.ops.sizes import whole
from stepax.typing import Array

__all__ = ["depth_to_space", "space_to_depth", "upsample"]


def upsample(x: Array, factor: int, *, method: Literal["nearest", "linear"] = "nearest") -> Array:
    """Every axis of space, ``factor`` times as long.

    Args:
        x: ``[batch, *space, channels]``.
        factor: How many times, at least 1.
        method: ``"nearest"`` repeats every element; ``"linear"`` interpolates between the centres of elements.

    Returns:
        ``[batch, *larger, channels]``.

    Raises:
        TypeError: ``factor`` is no whole number.
        ValueError: There is no axis of space, ``factor`` is below 1, or ``method`` is another.

    Reference:
        Odena, Dumoulin and Olah, Deconvolution and checkerboard artifacts, Distill, 2016.
    """
    space, factor = _space(x), whole("factor", factor)
    larger = tuple(factor * n for n in space)
    if method == "linear":
        return jax.image.resize(x, (x.shape[0], *larger, x.shape[-1]), "linear")
    if method != "nearest":
        raise ValueError(f"method: expected 'nearest' or 'linear', got {method!r}")
    split = [size for n in space for size in (n, 1)]
    repeated = [size for n in space for size in (n, factor)]
    blocks = x.reshape(x.shape[0], *split, x.shape[-1])
    return jnp.broadcast_to(blocks, (x.shape[0], *repeated, x.shape[-1])).reshape(x.shape[0], *larger, x.shape[-1])


def depth_to_space(x: Array, factor: int) -> Array:
    """Channels laid out in space: each element becomes a block with ``factor`` elements along every axis.

    The block's places come first among the channels, row by row, as in TensorFlow (in PyTorch's ``pixel_shuffle`` they
    come last).

    Args:
        x: ``[batch, *space, factor**axes * channels]``.
        factor: The block's size, at least 1.

    Returns:
        ``[batch, *larger, channels]``.

    Raises:
        TypeError: ``factor`` is no whole number.
        ValueError: There is no axis of space, or the block does not divide the channels.

    Reference:
        Shi et al., Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural
        network, 2016, arXiv:1609.05158.
    """
    space, factor = _space(x), whole("factor", factor)
    axes = len(space)
    if x.shape[-1] % factor**axes:
        raise ValueError(f"factor: blocks of {factor**axes} elements do not divide {x.shape[-1]} channels")
    channels = x.shape[-1] // factor**axes
    blocks = x.reshape(x.shape[0], *space, *(factor,) * axes, channels)
    order = [axis for i in range(axes) for axis in (1 + i, 1 + axes + i)]
    moved = blocks.transpose(0, *order, 2 * axes + 1)
    return moved.reshape(x.shape[0], *(factor * n for n in space), channels)


def space_to_depth(x: Array, factor: int) -> Array:
    """The reverse of :func:`depth_to_space`: blocks of space become channels.

    Args:
        x: ``[batch, *space, channels]``.
        factor: The block's size along every axis, at least 1.

    Returns:
        ``[batch, *smaller, factor**axes * channels]``.

    Raises:
        TypeError: ``factor`` is no whole number.
        ValueError: There is no axis of space, or ``factor`` does not divide one.
    """
    space, factor = _space(x), whole("factor", factor)
    axes = len(space)
    if any(n % factor for n in space):
        raise ValueError(f"factor: {factor} does not divide the input's space {space}")
    split = [size for n in space for size in (n // factor, factor)]
    blocks = x.reshape(x.shape[0], *split, x.shape[-1])
    order = [*range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2)]
    channels = factor**axes * x.shape[-1]
    return blocks.transpose(0, *order, 2 * axes + 1).reshape(x.shape[0], *(n // factor for n in space), channels)


def _space(x: Array) -> tuple[int, ...]:
    if jnp.ndim(x) < 3:
        raise ValueError(f"x: expected the shape [batch, *space, channels], got {jnp.shape(x)}")
    return x.shape[1:-1]
