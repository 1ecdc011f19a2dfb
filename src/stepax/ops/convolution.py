"""Convolution in one and two dimensions that stays fast inside a compiled loop, with all its derivatives.

XLA's CPU backend lays out convolutions for its fast kernels in a program's entry computation only: inside ``scan``,
``while`` and ``cond`` the gradient by the kernel, whose operands JAX orders unusually, compiles to naive loops
(jax-ml/jax#12868). Grouped convolutions have no fast kernel there at all.

So the convolution is a primitive of its own, and so is its gradient by the kernel. Both come from one form that is
linear in each of three arrays,

    ⟨g, conv(x, k)⟩ = ⟨k, kernel_gradient(x, g)⟩ = ⟨x, conv(g, k mirrored)⟩

so that the derivatives of each are these two again: forward mode, reverse mode and derivatives of any order stay
within them, and ``vmap`` turns both into their grouped forms. On a CPU each form is computed in the way that was
measured fastest (docs/performance.md); on GPU and TPU by ``lax``.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from stepax.ops.convolution_forms import (
    LETTERS,
    Form,
    channels_last,
    conv_on_cpu,
    kernel_gradient_on_cpu,
    output_space,
    stock_conv,
    stock_kernel_gradient,
)
from stepax.ops.primitive import bind, default_precision, define, varying_like
from stepax.ops.sizes import AROUND, each, pads, whole
from stepax.typing import Array

__all__ = ["conv", "conv_general_dilated"]


def conv(
    x: Array,
    kernel: Array,
    *,
    strides: int | Sequence[int] = 1,
    padding: str | int | Sequence[int | tuple[int, int]] = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    precision: Any = None,
) -> Array:
    """Convolution over one or two axes of space; as everywhere in deep learning, the kernel is not mirrored.

    Args:
        x: The input, ``[batch, *space, channels]``.
        kernel: ``[*window, channels / groups, features]``.
        strides: The distance between the kernel's places, one number or one per axis.
        padding: ``"SAME"``, ``"VALID"``, ``"CAUSAL"`` (one axis: no output sees a later input), ``"CIRCULAR"`` (as if
            the input went round) or ``"REFLECT"`` (as if mirrored at its first and last value), a number for all
            ends, or one number or (low, high) pair per axis.
        dilation: The distance between the kernel's elements, one number or one per axis.
        groups: In how many groups channels and features are divided; as many as channels is a depthwise convolution.
        precision: Of the products, as in ``jax.lax``.

    Returns:
        ``[batch, *space after, features]``.

    Raises:
        TypeError: Strides, padding, dilation or groups are no whole numbers.
        ValueError: They are too small or too many, or do not fit the shapes and each other.
    """
    axes = jnp.ndim(x) - 2
    if axes not in LETTERS or jnp.ndim(kernel) != axes + 2:
        raise ValueError(
            "x and kernel: expected [batch, *space, channels] and [*window, channels / groups, features] with one or "
            f"two axes of space, got the shapes {jnp.shape(x)} and {jnp.shape(kernel)}"
        )
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    groups = whole("groups", groups)
    _check_channels(x, kernel, groups)
    strides, dilation = each("strides", strides, axes), each("dilation", dilation, axes)
    if 0 in kernel.shape[:axes]:
        raise ValueError(f"kernel: expected a window of at least 1 along each axis, got the shape {kernel.shape}")
    window = [d * (k - 1) + 1 for d, k in zip(dilation, kernel.shape[:axes], strict=True)]
    pairs = pads(padding, x.shape[1:-1], window, strides, others=("CAUSAL", *AROUND))
    if isinstance(padding, str) and padding in AROUND and not _is_empty(*x.shape):
        x = jnp.pad(x, ((0, 0), *pairs, (0, 0)), AROUND[padding])
        pairs = ((0, 0),) * axes
    # What is empty stays so.
    if any(n != 0 and n + low + high < w for n, (low, high), w in zip(x.shape[1:-1], pairs, window, strict=True)):
        raise ValueError(f"kernel: a window of {window} does not fit an input of {x.shape[1:-1]} with padding {pairs}")
    dtype = jnp.result_type(x, kernel)
    precision = default_precision() if precision is None else precision
    form = Form(strides, pairs, (1,) * axes, dilation, groups, precision)
    return _conv(x.astype(dtype), kernel.astype(dtype), form)


def _check_channels(x: Array, kernel: Array, groups: int) -> None:
    channels, features = x.shape[-1], kernel.shape[-1]
    if channels % groups or features % groups or kernel.shape[-2] * groups != channels:
        raise ValueError(
            f"groups: {groups} groups of {kernel.shape[-2]} channels each (the kernel's shape is {kernel.shape}) do "
            f"not divide {channels} channels and {features} features"
        )


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
    """:func:`conv` with ``lax``'s arguments, for ``flax.linen.Conv(conv_general_dilated=…)``.

    One or two axes of space, channels last (``NHWC``, ``HWIO``, as Flax has them) are computed as in :func:`conv`;
    every other form (channels first, three axes, groups of the batch, other dtypes for the result) is ``lax``'s own,
    and so is the message about what fits no form.

    Args:
        lhs: The input, ``[batch, *space, channels]``.
        rhs: The kernel, ``[*window, channels / groups, features]``.
        window_strides: One per axis of space.
        padding: ``"SAME"``, ``"VALID"`` or a (low, high) pair per axis.
        lhs_dilation: Dilation of the input.
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
    spread = (1,) * axes if lhs_dilation is None else tuple(lhs_dilation)
    dilation = (1,) * axes if rhs_dilation is None else tuple(rhs_dilation)
    ours = (
        axes in LETTERS
        and batch_group_count == 1
        and preferred_element_type in (None, lhs.dtype)
        and lhs.dtype == rhs.dtype
        and lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers) == channels_last(axes)
        and all(len(sizes) == axes and min(sizes) > 0 for sizes in (window_strides, spread, dilation, rhs.shape[:axes]))
        # lax refuses names for a spread input, and says so.
        and (max(spread) == 1 if isinstance(padding, str) else _are_pairs(padding, axes))
    )
    if not ours:
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
    if isinstance(padding, str):
        window = [d * (k - 1) + 1 for d, k in zip(dilation, rhs.shape[:axes], strict=True)]
        padding = lax.padtype_to_pads(lhs.shape[1:-1], window, window_strides, padding)
    pairs = tuple((int(low), int(high)) for low, high in padding)
    strides, spread, dilation = (tuple(map(int, sizes)) for sizes in (window_strides, spread, dilation))
    precision = default_precision() if precision is None else precision
    return _conv(lhs, rhs, Form(strides, pairs, spread, dilation, feature_group_count, precision))


def _are_pairs(padding: Any, axes: int) -> bool:
    return isinstance(padding, Sequence | np.ndarray) and [np.shape(pair) for pair in padding] == [(2,)] * axes


# The two primitives.

conv_p = Primitive("stepax_conv")
kernel_gradient_p = Primitive("stepax_conv_kernel_gradient")


def _conv(x: Array, kernel: Array, form: Form) -> Array:
    window = kernel.shape[:-2]
    if _is_empty(*x.shape, *kernel.shape, *output_space(x, window, form)):
        shapes = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in (x, kernel)]
        y = jax.eval_shape(partial(stock_conv, form=form), *shapes)
        return varying_like(jnp.zeros(y.shape, y.dtype), x, kernel)
    return bind(conv_p, x, kernel, form=form)


def _is_empty(*sizes: Any) -> bool:
    """Whether nothing is there to be multiplied, which no fast form has to know of."""
    # In a program that is exported for any batch a size is a symbol, and not 0.
    return any(isinstance(size, int) and size <= 0 for size in sizes)


def _kernel_gradient(x: Array, g: Array, form: Form, window: tuple[int, ...]) -> Array:
    """The gradient of ``⟨g, conv(x, k)⟩`` by ``k``, ``[*window, channels / groups, features]``."""
    if _is_empty(*x.shape, *g.shape):
        kernel = jnp.zeros((*window, x.shape[-1] // form.groups, g.shape[-1]), x.dtype)
        return varying_like(kernel, x, g)
    return bind(kernel_gradient_p, x, g, form=form, window=window)


def _input_gradient(g: Array, kernel: Array, form: Form, space: tuple[int, ...]) -> Array:
    """The gradient of ``⟨g, conv(x, k)⟩`` by ``x``: ``g``, spread by the strides, with the mirrored kernel."""
    axes = len(space)
    *window, channels, features = kernel.shape
    groups = form.groups
    mirrored = jnp.flip(kernel, range(axes)).reshape(*window, channels, groups, features // groups)
    mirrored = jnp.swapaxes(mirrored, -1, -3).reshape(*window, features // groups, groups * channels)
    padding = []
    for n, out, k, stride, spread, d, (low, _) in zip(
        space, g.shape[1:-1], window, form.strides, form.spread, form.dilation, form.padding, strict=True
    ):
        reach, before = d * (k - 1), d * (k - 1) - low
        padding.append((before, spread * (n - 1) + 1 + reach - before - (stride * (out - 1) + 1)))
    return _conv(g, mirrored, form._replace(strides=form.spread, spread=form.strides, padding=tuple(padding)))


# What JAX needs to know of the primitives.


def _by_x(g: Array, x: Any, kernel: Array, *, form: Form) -> Array:
    return _input_gradient(g, kernel, form, x.aval.shape[1:-1])


def _by_kernel(g: Array, x: Array, kernel: Any, *, form: Form) -> Array:
    return _kernel_gradient(x, g, form, kernel.aval.shape[:-2])


def _gradient_by_x(k: Array, x: Any, g: Array, *, form: Form, window: tuple[int, ...]) -> Array:
    return _input_gradient(g, k, form, x.aval.shape[1:-1])


def _gradient_by_g(k: Array, x: Array, g: Any, *, form: Form, window: tuple[int, ...]) -> Array:
    return _conv(x, k, form)


def _at_once(on_cpu: Callable[..., Array]) -> Callable[..., Array]:
    """The same on the whole batch, of which every device has its share."""
    return lambda *operands, form, **static: on_cpu(*operands, form=form._replace(parts=1), **static)


define(conv_p, stock_conv, conv_on_cpu, _at_once(conv_on_cpu))
define(kernel_gradient_p, stock_kernel_gradient, kernel_gradient_on_cpu, _at_once(kernel_gradient_on_cpu))
ad.defbilinear(conv_p, _by_x, _by_kernel)
ad.defbilinear(kernel_gradient_p, _gradient_by_x, _gradient_by_g)


# Lanes of ``vmap`` are more examples where only the input has them, more features where only the kernel has them, and
# more groups where both have.


def _join(array: Array, lane: int, groups: int = 1) -> Array:
    """The lanes within each group of the last axis."""
    moved = jnp.moveaxis(array, lane, -2)
    *rest, lanes, width = moved.shape
    split = moved.reshape(*rest, lanes, groups, width // groups)
    return jnp.swapaxes(split, -3, -2).reshape(*rest, lanes * width)


def _split(array: Array, lanes: int, groups: int = 1) -> Array:
    """The reverse of :func:`_join`; the lanes come first."""
    *rest, width = array.shape
    split = array.reshape(*rest, groups, lanes, width // (groups * lanes))
    return jnp.moveaxis(split, -2, 0).reshape(lanes, *rest, width // lanes)


def _conv_lanes(operands: Sequence[Array], dims: Sequence[Any], *, form: Form) -> tuple[Array, int]:
    (x, kernel), (of_x, of_kernel) = operands, dims
    if of_kernel is None:
        x = jnp.moveaxis(x, of_x, 0)
        y = _conv(x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), kernel, form)
        return y.reshape(*x.shape[:2], *y.shape[1:]), 0
    lanes = kernel.shape[of_kernel]
    if of_x is None:
        return _split(_conv(x, _join(kernel, of_kernel, form.groups), form), lanes, form.groups), 0
    more = form._replace(groups=lanes * form.groups)
    return _split(_conv(_join(x, of_x), _join(kernel, of_kernel), more), lanes), 0


def _kernel_gradient_lanes(
    operands: Sequence[Array], dims: Sequence[Any], *, form: Form, window: tuple[int, ...]
) -> tuple[Array, int]:
    (x, g), (of_x, of_g) = operands, dims
    if of_g is None:
        lanes = x.shape[of_x]
        wide = _kernel_gradient(_join(x, of_x, form.groups), g, form, window)
        return jnp.swapaxes(_split(jnp.swapaxes(wide, -1, -2), lanes), -1, -2), 0
    lanes = g.shape[of_g]
    if of_x is None:
        return _split(_kernel_gradient(x, _join(g, of_g, form.groups), form, window), lanes, form.groups), 0
    more = form._replace(groups=lanes * form.groups)
    return _split(_kernel_gradient(_join(x, of_x), _join(g, of_g), more, window), lanes), 0


batching.primitive_batchers[conv_p] = _conv_lanes
batching.primitive_batchers[kernel_gradient_p] = _kernel_gradient_lanes
