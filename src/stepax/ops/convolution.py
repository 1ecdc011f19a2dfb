"""Convolution with a gradient that stays fast inside a compiled loop.

XLA's CPU backend lays out convolutions for its fast kernels in a program's entry computation only: inside ``scan``,
``while`` and ``cond`` the gradient by the kernel, whose operands JAX orders unusually, compiles to naive loops
(jax-ml/jax#12868). Here both gradients are written as convolutions in the one order that is fast everywhere. On GPU and
TPU the stock gradient is used.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from stepax.typing import Array

__all__ = ["conv_general_dilated"]

LETTERS = {1: "W", 2: "HW"}
# With few input channels, one product with the patches beats a convolution over whole images.
FEW_CHANNELS = 4


class _Settings(NamedTuple):
    """What is static in a convolution; ``padding`` is explicit, a (low, high) pair per axis of space."""

    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    precision: Any


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """``jax.lax.conv_general_dilated`` with a fast gradient; for ``flax.linen.Conv(conv_general_dilated=…)``.

    One or two axes of space, channels last (``NHWC``, ``HWIO``, as Flax has them) take the fast gradient; every other
    form (groups, dilated inputs, three axes) is ``lax``'s own. The fast form has no forward-mode derivative
    (``jax.jvp``): use ``lax``'s for that.

    Args:
        lhs: The input, ``[batch, *space, channels]``.
        rhs: The kernel, ``[*window, channels, features]``.
        window_strides: One per axis of space.
        padding: ``"SAME"``, ``"VALID"`` or a (low, high) pair per axis.
        lhs_dilation: As in ``lax``.
        rhs_dilation: Dilation of the kernel.
        dimension_numbers: As in ``lax``.
        feature_group_count: As in ``lax``.
        batch_group_count: As in ``lax``.
        precision: As in ``lax``.
        preferred_element_type: As in ``lax``.

    Returns:
        ``[batch, *space, features]``.
    """
    axes = lhs.ndim - 2
    plain = (
        axes in LETTERS
        and all(d == 1 for d in lhs_dilation or ())
        and feature_group_count == batch_group_count == 1
        and preferred_element_type in (None, lhs.dtype)
        and lhs.dtype == rhs.dtype
        and lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers) == _numbers(lhs, rhs)
    )
    if not plain:
        return lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            batch_group_count,
            precision,
            preferred_element_type,
        )
    dilation = tuple(rhs_dilation or (1,) * axes)
    if isinstance(padding, str):
        window = [d * (k - 1) + 1 for d, k in zip(dilation, rhs.shape[:axes], strict=True)]
        padding = lax.padtype_to_pads(lhs.shape[1:-1], window, window_strides, padding)
    settings = _Settings(
        tuple(window_strides), tuple((int(low), int(high)) for low, high in padding), dilation, precision
    )
    return _conv(settings, lhs, rhs)


def _numbers(lhs: Array, rhs: Array) -> lax.ConvDimensionNumbers:
    space = LETTERS[lhs.ndim - 2]
    return lax.conv_dimension_numbers(lhs.shape, rhs.shape, (f"N{space}C", f"{space}IO", f"N{space}C"))


def _plain(settings: _Settings, x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        settings.strides,
        settings.padding,
        rhs_dilation=settings.dilation,
        dimension_numbers=_numbers(x, kernel),
        precision=settings.precision,
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv(settings: _Settings, x: Array, kernel: Array) -> Array:
    return _plain(settings, x, kernel)


def _forward(settings: _Settings, x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _plain(settings, x, kernel), (x, kernel)


def _backward(settings: _Settings, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved

    def stock(x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
        return jax.vjp(partial(_plain, settings), x, kernel)[1](g)

    def canonical(x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
        return _input_gradient(settings, x, kernel, g), _kernel_gradient(settings, x, kernel, g)

    return lax.platform_dependent(x, kernel, g, cpu=canonical, default=stock)


_conv.defvjp(_forward, _backward)


def _input_gradient(settings: _Settings, x: Array, kernel: Array, g: Array) -> Array:
    """The output's gradient, spread out by the strides, convolved with the mirrored kernel."""
    axes = x.ndim - 2
    mirrored = jnp.swapaxes(jnp.flip(kernel, range(axes)), -1, -2)
    padding = []
    for n, out, k, stride, dilation, (low, _) in zip(
        x.shape[1:-1], g.shape[1:-1], kernel.shape, settings.strides, settings.dilation, settings.padding, strict=False
    ):
        before = dilation * (k - 1) - low
        padding.append((before, n + dilation * (k - 1) - before - (stride * (out - 1) + 1)))
    return lax.conv_general_dilated(
        g,
        mirrored,
        (1,) * axes,
        padding,
        lhs_dilation=settings.strides,
        rhs_dilation=settings.dilation,
        dimension_numbers=_numbers(g, mirrored),
        precision=settings.precision,
    )


def _kernel_gradient(settings: _Settings, x: Array, kernel: Array, g: Array) -> Array:
    """The input convolved with the output's gradient, batch and channels exchanged."""
    if x.shape[-1] < FEW_CHANNELS:
        return _kernel_gradient_by_patches(settings, x, kernel, g)
    images = jnp.swapaxes(x, 0, -1)
    windows = jnp.moveaxis(g, 0, -2)
    result = lax.conv_general_dilated(
        images,
        windows,
        settings.dilation,
        _exact_padding(settings, x, kernel, g),
        rhs_dilation=settings.strides,
        dimension_numbers=_numbers(images, windows),
        precision=settings.precision,
    )
    return jnp.moveaxis(result, 0, -2)


def _exact_padding(settings: _Settings, x: Array, kernel: Array, g: Array) -> list[tuple[int, int]]:
    """The padding with which the windows that were used fit exactly.

    Its end is negative where strides left some input unused.
    """
    sizes = zip(
        x.shape[1:-1], g.shape[1:-1], kernel.shape, settings.strides, settings.dilation, settings.padding, strict=False
    )
    return [(low, d * (k - 1) + stride * (out - 1) + 1 - n - low) for n, out, k, stride, d, (low, _) in sizes]


def _kernel_gradient_by_patches(settings: _Settings, x: Array, kernel: Array, g: Array) -> Array:
    """All windows of the input as rows of a matrix, times the output's gradient."""
    config = [(low, high, 0) for low, high in _exact_padding(settings, x, kernel, g)]
    padded = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *config, (0, 0, 0)])

    def window(place: tuple[int, ...]) -> Array:
        start = [d * i for d, i in zip(settings.dilation, place, strict=True)]
        stop = [
            s + stride * (out - 1) + 1 for s, stride, out in zip(start, settings.strides, g.shape[1:-1], strict=True)
        ]
        return lax.slice(padded, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), (1, *settings.strides, 1))

    places = list(np.ndindex(*kernel.shape[:-2]))
    patches = jnp.concatenate([window(place) for place in places], axis=-1).reshape(-1, len(places) * x.shape[-1])
    product = lax.dot_general(
        patches, g.reshape(-1, g.shape[-1]), (((0,), (0,)), ((), ())), precision=settings.precision
    )
    return product.reshape(kernel.shape)
