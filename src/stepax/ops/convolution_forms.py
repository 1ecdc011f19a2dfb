"""How a convolution and its gradient by the kernel are computed: by ``lax``, or as a CPU does it fastest."""

import math
from collections.abc import Callable, Iterator
from functools import partial, reduce
from operator import add
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from stepax.ops.primitive import varying_like
from stepax.typing import Array

__all__ = [
    "Form",
    "channels_last",
    "conv_on_cpu",
    "kernel_gradient_on_cpu",
    "output_space",
    "stock_conv",
    "stock_kernel_gradient",
]

LETTERS = {1: "W", 2: "HW"}
# With few input channels, one product with the patches beats a convolution over whole images.
FEW_CHANNELS = 4
# So many products per output or fewer are summed one by one, where Eigen's convolution would mostly move data.
FEW_PRODUCTS = 27
# As many groups or fewer are computed one after the other without a loop.
FEW_GROUPS = 8
# More phases than this, each a convolution, would be slow to compile.
MOST_PHASES = 16
# So would be more places of a window than this, each an array of its own: they are taken in a loop, some at a time.
MOST_PLACES, PLACES_AT_ONCE = 64, 16
# Batches whose output has so many numbers are taken in up to so many parts, in a loop: intermediate arrays stay in the
# cache, and what the loop takes and gives is computed once, where XLA would compute it again for every use.
LARGE, PARTS = 2**18, 8


class Form(NamedTuple):
    """All that is static in a convolution.

    The input is ``[batch, *space, channels]``, the kernel ``[*window, channels / groups, features]``. ``padding`` is a
    (low, high) pair per axis of space and may be negative; ``spread`` puts zeros between the input's elements,
    ``dilation`` between the kernel's. Large batches are taken in up to so many ``parts``.
    """

    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    spread: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    precision: Any
    parts: int = PARTS


def channels_last(axes: int) -> lax.ConvDimensionNumbers:
    """The dimension numbers that Flax uses, for one or two axes of space."""
    space, shape = LETTERS[axes], (1,) * (axes + 2)
    return lax.conv_dimension_numbers(shape, shape, (f"N{space}C", f"{space}IO", f"N{space}C"))


def stock_conv(x: Array, kernel: Array, *, form: Form) -> Array:
    """The convolution as ``lax`` has it."""
    return lax.conv_general_dilated(
        x,
        kernel,
        form.strides,
        form.padding,
        form.spread,
        form.dilation,
        channels_last(x.ndim - 2),
        form.groups,
        precision=form.precision,
    )


def stock_kernel_gradient(x: Array, g: Array, *, form: Form, window: tuple[int, ...]) -> Array:
    """The gradient of ``⟨g, conv(x, k)⟩`` by ``k`` as ``lax`` has it."""
    kernel = varying_like(jnp.zeros((*window, x.shape[-1] // form.groups, g.shape[-1]), x.dtype), x, g)
    return jax.vjp(lambda k: stock_conv(x, k, form=form), kernel)[1](g)[0]


def conv_on_cpu(x: Array, kernel: Array, *, form: Form) -> Array:
    """The convolution as it is fastest on a CPU."""
    for axis, (spread, stride) in enumerate(zip(form.spread, form.strides, strict=True)):
        if spread > 1 and stride == 1 and math.prod(form.spread) <= MOST_PHASES:
            return _by_phases(x, kernel, form, axis)
    if form.groups > 1:
        if kernel.shape[-2] == 1:
            return _depthwise(x, kernel, form)
        one = form._replace(groups=1)
        return _by_groups(lambda x, kernel: conv_on_cpu(x, kernel, form=one), x, kernel, form.groups)
    window = [d * (k - 1) + 1 for d, k in zip(form.dilation, kernel.shape, strict=False)]
    if any(w > s * (n - 1) + 1 for w, s, n in zip(window, form.spread, x.shape[1:-1], strict=True)):
        # XLA exchanges input and kernel where the kernel is the larger one, and then misses its fast layout.
        return _by_products(x, kernel, form)
    if math.prod(kernel.shape[:-1]) <= FEW_PRODUCTS:
        return _in_parts(partial(_by_sum, form=form), x, kernel, form.parts)
    return stock_conv(x, kernel, form=form)


def _by_products(x: Array, kernel: Array, form: Form) -> Array:
    """One product of the patches with the whole kernel, or one for each of many places."""
    *window, channels, features = kernel.shape
    out = output_space(x, tuple(window), form)
    if math.prod(window) > MOST_PLACES:
        weights = kernel.reshape(-1, channels, features)

        def term(place: Array, i: Any) -> Array:
            return jnp.matmul(place, _row(weights, i), precision=form.precision)

        return _sum_over_places(term, x, tuple(window), form, out)
    patches = jnp.concatenate(list(_places(x, tuple(window), form, out)), axis=-1)
    return jnp.matmul(patches, kernel.reshape(-1, features), precision=form.precision)


def _by_phases(x: Array, kernel: Array, form: Form, axis: int) -> Array:
    """The convolution of a spread input without its zeros, along one axis of space.

    The outputs of one phase, those at the same distance from multiples of the spread, all meet the input with the same
    part of the kernel: a convolution of its own, of an input that is not spread.
    """
    spread, dilation, (low, _) = form.spread[axis], form.dilation[axis], form.padding[axis]
    out = output_space(x, kernel.shape[:-2], form)
    count = -(-out[axis] // spread)
    common = math.gcd(spread, dilation)
    phases: list[Array] = []
    for phase in range(spread):
        meets = [k for k in range(kernel.shape[axis]) if (phase + dilation * k - low) % spread == 0]
        if not meets:
            phases.append(jnp.zeros((x.shape[0], *_at(out, axis, count), kernel.shape[-1]), x.dtype))
            continue
        before = (low - phase - dilation * meets[0]) // spread
        reach = dilation // common * (len(meets) - 1)
        one = form._replace(
            padding=_at(form.padding, axis, (before, count + reach - before - x.shape[1 + axis])),
            spread=_at(form.spread, axis, 1),
            dilation=_at(form.dilation, axis, dilation // common),
        )
        part = lax.slice_in_dim(kernel, meets[0], meets[-1] + 1, spread // common, axis)
        phases.append(conv_on_cpu(x, part, form=one))
    y = jnp.stack(phases, axis + 2)
    y = y.reshape(*y.shape[: axis + 1], count * spread, *y.shape[axis + 3 :])
    return lax.slice_in_dim(y, 0, out[axis], axis=axis + 1)


def _at(sizes: tuple[Any, ...], axis: int, size: Any) -> tuple[Any, ...]:
    return (*sizes[:axis], size, *sizes[axis + 1 :])


def _by_sum(x: Array, kernel: Array, *, form: Form) -> Array:
    """All products of one output in one elementwise loop over the features."""
    *window, channels, features = kernel.shape
    exact = _exact(x.dtype)
    rows = kernel.reshape(-1, *(1,) * (x.ndim - 1), features).astype(exact)
    places = _places(x.astype(exact), tuple(window), form, output_space(x, tuple(window), form))
    values = [place[..., c, None] for place in places for c in range(channels)]
    return sum(value * row for value, row in zip(values, rows, strict=True)).astype(x.dtype)


def _exact(dtype: Any) -> Any:
    """What sums are made in: half precision is too coarse."""
    return jnp.promote_types(dtype, jnp.float32) if jnp.issubdtype(dtype, jnp.floating) else dtype


def _in_parts(conv: Callable[[Array, Array], Array], x: Array, kernel: Array, most: int) -> Array:
    y = jax.eval_shape(conv, x, kernel)
    parts = _parts(y, most)
    if parts == 1:
        return conv(x, kernel)
    size = x.shape[0] // parts

    def fill(i: Array, y: Array) -> Array:
        part = conv(lax.dynamic_slice_in_dim(x, i * size, size), kernel)
        return lax.dynamic_update_slice_in_dim(y, part, i * size, 0)

    return lax.fori_loop(0, parts, fill, varying_like(jnp.zeros(y.shape, y.dtype), x, kernel))


def _parts(y: Array | jax.ShapeDtypeStruct, most: int = PARTS) -> int:
    if not isinstance(y.shape[0], int):  # a symbol, in a program that is exported for any batch
        return 1
    return next(n for n in range(most if y.size >= LARGE else 1, 0, -1) if y.shape[0] % n == 0)


def kernel_gradient_on_cpu(x: Array, g: Array, *, form: Form, window: tuple[int, ...]) -> Array:
    """The gradient of ``⟨g, conv(x, k)⟩`` by ``k`` as it is fastest on a CPU, also inside a loop."""
    channels, features = x.shape[-1], g.shape[-1]
    if form.groups > 1:
        if channels == form.groups:
            return _depthwise_kernel_gradient(x, g, form, window)
        one = form._replace(groups=1)
        return _by_groups(lambda x, g: kernel_gradient_on_cpu(x, g, form=one, window=window), x, g, form.groups)
    reaches = [s * (n - 1) + 1 for s, n in zip(form.strides, g.shape[1:-1], strict=True)]
    spaces = [s * (n - 1) + 1 for s, n in zip(form.spread, x.shape[1:-1], strict=True)]
    larger = any(r > n for r, n in zip(reaches, spaces, strict=True))
    by_patches = larger or (channels < FEW_CHANNELS and math.prod(window) <= MOST_PLACES)
    gradient = partial(_by_patches if by_patches else _by_exchange, form=form, window=window)
    parts = _parts(g, form.parts)
    if parts == 1:
        return gradient(x, g)
    size = x.shape[0] // parts

    def add(i: Array, total: Array) -> Array:
        return total + gradient(*(lax.dynamic_slice_in_dim(array, i * size, size) for array in (x, g)))

    return lax.fori_loop(0, parts, add, varying_like(jnp.zeros((*window, channels, features), x.dtype), x, g))


def _by_patches(x: Array, g: Array, *, form: Form, window: tuple[int, ...]) -> Array:
    """One product of the output's gradient with what each element of the kernel meets, or one for each of many."""
    rows = g.reshape(-1, g.shape[-1])

    def product(patches: Array) -> Array:
        patches = patches.reshape(-1, patches.shape[-1])
        return lax.dot_general(patches, rows, (((0,), (0,)), ((), ())), precision=form.precision)

    if math.prod(window) > MOST_PLACES:
        products = _for_each_place(product, x, window, form, g.shape[1:-1])
    else:
        products = product(jnp.concatenate(list(_places(x, window, form, g.shape[1:-1])), axis=-1))
    return products.reshape(*window, x.shape[-1], g.shape[-1])


def _by_exchange(x: Array, g: Array, *, form: Form, window: tuple[int, ...]) -> Array:
    """The input convolved with the output's gradient, batch and channels exchanged."""
    exact = _exact_padding(x, window, form, g.shape[1:-1])
    exchanged = form._replace(strides=form.dilation, dilation=form.strides, padding=exact)
    result = stock_conv(jnp.swapaxes(x, 0, -1), jnp.moveaxis(g, 0, -2), form=exchanged)
    return jnp.moveaxis(result, 0, -2)


def _depthwise(x: Array, kernel: Array, form: Form) -> Array:
    """Every channel with its own windows: a sum over the window's places."""
    *window, _, features = kernel.shape
    channels = x.shape[-1]
    weights = kernel.reshape(-1, channels, features // channels)
    out = output_space(x, tuple(window), form)
    exact = _exact(x.dtype)
    wide, weights = x.astype(exact), weights.astype(exact)

    def term(place: Array, i: Any) -> Array:
        return place[..., None] * jnp.expand_dims(_row(weights, i), range(x.ndim - 1))

    total = _sum_over_places(term, wide, tuple(window), form, out)
    return total.reshape(x.shape[0], *out, features).astype(x.dtype)


def _depthwise_kernel_gradient(x: Array, g: Array, form: Form, window: tuple[int, ...]) -> Array:
    channels, features = x.shape[-1], g.shape[-1]
    exact = _exact(x.dtype)
    each = g.reshape(*g.shape[:-1], channels, features // channels).astype(exact)
    summed = tuple(range(x.ndim - 1))

    def row(place: Array) -> Array:
        return (place[..., None] * each).sum(summed)

    return (
        _for_each_place(row, x.astype(exact), window, form, g.shape[1:-1]).reshape(*window, 1, features).astype(x.dtype)
    )


def _by_groups(one: Callable[[Array, Array], Array], x: Array, other: Array, groups: int) -> Array:
    """``one`` for each group of the last axis of both operands, results side by side in theirs."""
    parts = jnp.split(x, groups, -1), jnp.split(other, groups, -1)
    if groups <= FEW_GROUPS:
        return jnp.concatenate([one(a, b) for a, b in zip(*parts, strict=True)], axis=-1)
    results = lax.map(lambda operands: one(*operands), (jnp.stack(parts[0]), jnp.stack(parts[1])))
    return jnp.moveaxis(results, 0, -2).reshape(*results.shape[1:-1], -1)


def output_space(x: Array, window: tuple[int, ...], form: Form) -> tuple[int, ...]:
    """The result's axes of space; below 1 where a window does not fit."""
    return tuple(
        (s * (n - 1) + 1 + low + high - d * (k - 1) - 1) // stride + 1
        for n, k, s, d, stride, (low, high) in zip(
            x.shape[1:-1], window, form.spread, form.dilation, form.strides, form.padding, strict=True
        )
    )


def _exact_padding(x: Array, window: tuple[int, ...], form: Form, out: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """The padding with which the windows that were used fit exactly.

    Its end is negative where strides left some input unused.
    """
    sizes = zip(x.shape[1:-1], out, window, form.strides, form.spread, form.dilation, form.padding, strict=True)
    return tuple(
        (low, d * (k - 1) + stride * (m - 1) + 1 - (spread * (n - 1) + 1) - low)
        for n, m, k, stride, spread, d, (low, _) in sizes
    )


def _padded(x: Array, window: tuple[int, ...], form: Form, out: tuple[int, ...]) -> Array:
    pads = _exact_padding(x, window, form, out)
    config = [(low, high, spread - 1) for (low, high), spread in zip(pads, form.spread, strict=True)]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *config, (0, 0, 0)])


def _places(x: Array, window: tuple[int, ...], form: Form, out: tuple[int, ...]) -> Iterator[Array]:
    """What each element of the kernel meets, ``[batch, *out, channels]``, in the order of the kernel's elements."""
    padded = _padded(x, window, form, out)
    for place in np.ndindex(*window):
        start = [d * i for d, i in zip(form.dilation, place, strict=True)]
        stop = [s + stride * (m - 1) + 1 for s, stride, m in zip(start, form.strides, out, strict=True)]
        yield lax.slice(padded, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), (1, *form.strides, 1))


def _place(padded: Array, i: Any, window: tuple[int, ...], form: Form, out: tuple[int, ...]) -> Array:
    """What the kernel's ``i``-th element meets, in a loop."""
    # All are positive, which jnp's own arithmetic of positions would check each time.
    after = [math.prod(window[axis + 1 :]) for axis in range(len(window))]
    place = [lax.rem(lax.div(i, np.int32(n)), np.int32(k)) for n, k in zip(after, window, strict=True)]
    start = [np.int32(d) * k for d, k in zip(form.dilation, place, strict=True)]
    sizes = padded.shape[0], *(s * (m - 1) + 1 for s, m in zip(form.strides, out, strict=True)), padded.shape[-1]
    zero = np.int32(0)
    part = lax.dynamic_slice(padded, (zero, *start, zero), sizes, allow_negative_indices=False)
    return lax.slice(part, (0,) * part.ndim, part.shape, (1, *form.strides, 1))


def _row(weights: Array, i: Any) -> Array:
    """One element of the kernel, by a number that may be traced."""
    return weights[i] if isinstance(i, int) else lax.dynamic_index_in_dim(weights, i, 0, False)


def _sum_over_places(
    term: Callable[[Array, Any], Array], x: Array, window: tuple[int, ...], form: Form, out: tuple[int, ...]
) -> Array:
    """The sum of ``term``, of what each element of the kernel meets and of the element's number."""
    count = math.prod(window)
    if count <= MOST_PLACES:
        return reduce(add, map(term, _places(x, window, form, out), range(count)))
    padded = _padded(x, window, form, out)

    def some(start: Any, count: int) -> Array:
        numbers = [start + np.int32(i) for i in range(count)]
        return reduce(add, [term(_place(padded, i, window, form, out), i) for i in numbers])

    # What is left over by whole rounds, and one place at least, begins the sum.
    rounds = (count - 1) // PLACES_AT_ONCE
    first = count - rounds * PLACES_AT_ONCE

    def add_some(i: Array, total: Array) -> Array:
        return total + some(np.int32(first) + i * np.int32(PLACES_AT_ONCE), PLACES_AT_ONCE)

    return lax.fori_loop(np.int32(0), np.int32(rounds), add_some, some(jnp.int32(0), first))


def _for_each_place(
    each: Callable[[Array], Array], x: Array, window: tuple[int, ...], form: Form, out: tuple[int, ...]
) -> Array:
    """``each`` of what each element of the kernel meets: ``[places, …]``."""
    if math.prod(window) <= MOST_PLACES:
        return jnp.stack([each(place) for place in _places(x, window, form, out)])
    padded = _padded(x, window, form, out)
    return lax.map(lambda i: each(_place(padded, i, window, form, out)), jnp.arange(math.prod(window), dtype=jnp.int32))
