"""Sums over rows, and one row for all of them: linear and bilinear primitives whose gradients are these again.

XLA's CPU backend turns a sum over a long leading axis, such as that in every bias's gradient, into windows that it adds
element by element, often on one core, and writes what is summed to memory first. Here rows are added in whole blocks,
large arrays part by part in a loop, in which a product is formed where it is added.
"""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from stepax.ops.primitive import bind, define, varying_like
from stepax.typing import Array

__all__ = ["as_rows", "every_row", "scale_rows", "sum_of_products", "sum_of_rows"]

# How many blocks are added in one pass: with more, a core loses track of its streams from memory.
BLOCKS = 16
# Arrays of so many numbers are taken in this many parts.
LARGE, PARTS = 2**20, 8
# XLA leaves sums over so few rows alone, and joins them with what they are summed over.
FEW = 31
# From this width on XLA's sum over the rows of many lanes is quick.
WIDE = 16


def as_rows(x: Array) -> Array:
    """``[…, width]`` as ``[rows, width]``, also where there are none: ``reshape(-1, width)`` cannot tell how many."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def sum_of_rows(x: Array) -> Array:
    """The sum over all axes but the last: ``[…, width]`` to ``[width]``.

    Args:
        x: ``[…, width]``.

    Returns:
        ``[width]``.

    Raises:
        ValueError: ``x`` is a scalar.
    """
    return bind(sum_p, _with_width("x", x))


def sum_of_products(x: Array, y: Array) -> Array:
    """The sum of ``x y`` over all axes but the last.

    Args:
        x: ``[…, width]``.
        y: The same shape.

    Returns:
        ``[width]``, in the dtype that holds both.

    Raises:
        ValueError: The shapes differ, or are those of scalars.
    """
    x, y = _promoted(_with_width("x", x), jnp.asarray(y))
    if x.shape != y.shape:
        raise ValueError(f"y: expected the shape of x, {x.shape}, got {y.shape}")
    return bind(dot_p, x, y)


def every_row(row: Array, leading: Sequence[int]) -> Array:
    """The same row everywhere.

    Args:
        row: ``[width]``.
        leading: The axes before it.

    Returns:
        ``[*leading, width]``.

    Raises:
        ValueError: ``row`` has more axes than one, or none.
    """
    return bind(every_p, _one_row(row), leading=tuple(leading))


def scale_rows(x: Array, row: Array) -> Array:
    """Every row of ``x`` times the same one.

    Args:
        x: ``[…, width]``.
        row: ``[width]``.

    Returns:
        The shape of ``x``, in the dtype that holds both.

    Raises:
        ValueError: ``row`` is no row of the width of ``x``.
    """
    x, row = _promoted(_with_width("x", x), _one_row(row))
    if row.shape != x.shape[-1:]:
        raise ValueError(f"row: expected the shape {x.shape[-1:]} for x of shape {x.shape}, got {row.shape}")
    return bind(scale_p, x, row)


def _with_width(name: str, x: Any) -> Array:
    x = jnp.asarray(x)
    if x.ndim == 0:
        raise ValueError(f"{name}: expected the shape […, width], got a scalar")
    return x


def _one_row(row: Any) -> Array:
    row = jnp.asarray(row)
    if row.ndim != 1:
        raise ValueError(f"row: expected the shape [width], got {row.shape}")
    return row


def _promoted(x: Array, y: Array) -> tuple[Array, Array]:
    """Both in one dtype: each gradient then comes back in its operand's own."""
    dtype = jnp.result_type(x, y)
    return x.astype(dtype), y.astype(dtype)


sum_p = Primitive("stepax_sum_of_rows")
dot_p = Primitive("stepax_sum_of_products")
every_p = Primitive("stepax_every_row")
scale_p = Primitive("stepax_scale_rows")


def _stock_sum(*factors: Array) -> Array:
    product = factors[0] if len(factors) == 1 else factors[0] * factors[1]
    return product.sum(tuple(range(product.ndim - 1)), dtype=product.dtype)


def _stock_every(row: Array, *, leading: tuple[int, ...]) -> Array:
    return jnp.broadcast_to(row, (*leading, *row.shape))


def _stock_scale(x: Array, row: Array) -> Array:
    return x * jnp.broadcast_to(row, x.shape)


def _sum_by_blocks(*factors: Array) -> Array:
    first = factors[0]
    if jnp.issubdtype(first.dtype, jnp.floating) and first.dtype.itemsize < 4:
        return _sum_by_blocks(*(factor.astype(jnp.float32) for factor in factors)).astype(first.dtype)
    count = first.shape[0]
    parts = PARTS if first.size >= LARGE else 1
    size = count // (BLOCKS * parts)
    if not size and first.ndim > 2:
        return _sum_by_blocks(*(factor.reshape(count * first.shape[1], *first.shape[2:]) for factor in factors))
    if first.ndim == 1 or count <= FEW or not size:
        return _stock_sum(*factors)

    def part(start: Any) -> Array:
        """Its blocks in pairs, which is the more exact order, too."""
        blocks = []
        for i in range(BLOCKS):
            block = [lax.dynamic_slice_in_dim(factor, start + i * size, size) for factor in factors]
            blocks.append(block[0] if len(block) == 1 else block[0] * block[1])
        while len(blocks) > 1:
            blocks = [a + b for a, b in zip(blocks[::2], blocks[1::2], strict=True)]
        return blocks[0]

    if parts == 1:
        total = part(0)
    else:
        zeros = varying_like(jnp.zeros((size, *first.shape[1:]), first.dtype), *factors)
        total = lax.fori_loop(0, parts, lambda i, total: total + part(i * BLOCKS * size), zeros)
    total, rest = _sum_by_blocks(total), parts * BLOCKS * size
    return total if rest == count else total + _sum_by_blocks(*(factor[rest:] for factor in factors))


def _leading(x: Any) -> tuple[int, ...]:
    return x.aval.shape[:-1]


define(sum_p, _stock_sum, _sum_by_blocks)
define(dot_p, _stock_sum, _sum_by_blocks)
define(every_p, _stock_every, _stock_every)
define(scale_p, _stock_scale, _stock_scale)
ad.deflinear2(sum_p, lambda g, x: [every_row(g, _leading(x))])
ad.deflinear2(every_p, lambda g, row, *, leading: [sum_of_rows(g)])
ad.defbilinear(dot_p, lambda g, x, y: scale_rows(y, g), lambda g, x, y: scale_rows(x, g))
ad.defbilinear(scale_p, lambda g, x, row: scale_rows(g, row), lambda g, x, row: sum_of_products(g, x))


# Lanes of ``vmap`` are more columns; where there are rows alone, and wide ones, a sum within each lane is quicker, as
# the lanes come first in the products that such rows are made by.


def _in_columns(apply: Callable[..., Array]) -> Callable[..., tuple[Array, int]]:
    """The rule for operands ``[…, width]``; one without lanes is repeated for all."""

    def rule(operands: Sequence[Array], dims: Sequence[Any], **static: Any) -> tuple[Array, int]:
        lanes = next(x.shape[lane] for x, lane in zip(operands, dims, strict=True) if lane is not None)
        wide, width = [], 0
        for x, lane in zip(operands, dims, strict=True):
            moved = jnp.expand_dims(x, -2) if lane is None else jnp.moveaxis(x, lane, -2)
            moved = jnp.broadcast_to(moved, (*moved.shape[:-2], lanes, moved.shape[-1]))
            width = moved.shape[-1]
            wide.append(moved.reshape(*moved.shape[:-2], lanes * width))
        y = apply(*wide, **static)
        return y.reshape(*y.shape[:-1], lanes, width), y.ndim - 1

    return rule


def _in_lanes(apply: Callable[..., Array]) -> Callable[..., tuple[Array, int]]:
    """The rule for sums over rows."""
    columns = _in_columns(apply)

    def rule(factors: Sequence[Array], dims: Sequence[Any]) -> tuple[Array, int]:
        first = factors[0]
        shape = list(first.shape)
        if dims[0] is not None:
            del shape[dims[0]]
        if len(shape) != 2 or shape[1] < WIDE or first.dtype not in (jnp.float32, jnp.float64):
            return columns(factors, dims)
        lanes = (x[None] if lane is None else jnp.moveaxis(x, lane, 0) for x, lane in zip(factors, dims, strict=True))
        return functools.reduce(operator.mul, lanes).sum(1), 0

    return rule


batching.primitive_batchers[sum_p] = _in_lanes(sum_of_rows)
batching.primitive_batchers[dot_p] = _in_lanes(sum_of_products)
batching.primitive_batchers[every_p] = _in_columns(every_row)
batching.primitive_batchers[scale_p] = _in_columns(scale_rows)
