"""A dense layer as two-dimensional matrix products that stay fast for many models at once.

``vmap`` over a weight matrix for inputs that all models share would make one wide product of it, for which the matrices
of all models are copied side by side at every step. Here the product is a primitive of its own whose lanes are
products side by side instead, each with the shared operand; its derivatives are such products again.

On a CPU XLA hands all of them to Eigen, which takes as long for matrices of one or two columns, such as the weights of
a head of two classes have, as for dozens of them: those are sums of elementwise products here.
"""

import functools
import operator
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from stepax.ops.primitive import bind, default_precision, define
from stepax.ops.rows import as_rows, every_row
from stepax.typing import Array

__all__ = ["dense", "product"]

# Over so few numbers a sum is written out; and sums over so many rows whose results have so few columns are those of
# elementwise products.
SHORT, LONG, NARROW = 3, 32, 8
# Gradients of weights over this many rows and more, of inputs of at least so many columns and at most so many numbers,
# are quicker with a copy of the inputs whose rows are columns.
ROWS, COLUMNS, NUMBERS = 128, 64, 2**19
# So are gradients of inputs of at least so many columns, with a copy of the weights.
WIDE = 256


def dense(x: Array, kernel: Array, bias: Array | None = None) -> Array:
    """``x W + b``, over the last axis of ``x``.

    On a CPU a product with leading axes, such as time, runs at about half the rate of the same product over rows, and
    XLA's own sum over rows, the bias's gradient, costs as much as a product: see :mod:`stepax.ops.rows`.

    Args:
        x: ``[…, inputs]``.
        kernel: ``W``, ``[inputs, features]``.
        bias: ``b``, ``[features]``; none if ``None``.

    Returns:
        ``[…, features]``.

    Raises:
        ValueError: Shapes do not fit together.
    """
    if jnp.ndim(x) == 0:
        raise ValueError("x: expected the shape […, inputs], got a scalar")
    if jnp.ndim(kernel) != 2 or x.shape[-1] != kernel.shape[0]:
        raise ValueError(
            f"kernel: expected the shape [inputs, features] for x of shape {x.shape}, got {jnp.shape(kernel)}"
        )
    if bias is not None and jnp.shape(bias) != kernel.shape[1:]:
        raise ValueError(f"bias: expected the shape {kernel.shape[1:]}, got {jnp.shape(bias)}")
    rows = as_rows(x)
    y = product(rows, kernel)
    if bias is not None:
        y = y + every_row(bias, rows.shape[:1])
    return y.reshape(*x.shape[:-1], kernel.shape[1])


def product(a: Array, b: Array) -> Array:
    """The matrix product of ``a``, ``[n, k]``, and ``b``, ``[k, m]``: ``[n, m]``.

    Raises:
        ValueError: They are no such matrices.
    """
    if jnp.ndim(a) != 2 or jnp.ndim(b) != 2 or jnp.shape(a)[1] != jnp.shape(b)[0]:
        raise ValueError(f"a and b: expected the shapes [n, k] and [k, m], got {jnp.shape(a)} and {jnp.shape(b)}")
    dtype = jnp.result_type(a, b)
    return _product(jnp.asarray(a, dtype), jnp.asarray(b, dtype), (1, 0), default_precision())


product_p = Primitive("stepax_product")


def _product(a: Array, b: Array, summed: tuple[int, int], precision: Any) -> Array:
    """Summed over axis ``summed[0]`` of ``a`` with axis ``summed[1]`` of ``b``; the other axis of ``a`` comes first.

    Both may have the same axes of lanes before their own two, and then so has the product.
    """
    return bind(product_p, a, b, summed=summed, precision=precision)


def _stock(a: Array, b: Array, *, summed: tuple[int, int], precision: Any) -> Array:
    lanes = tuple(range(a.ndim - 2))
    numbers = ((summed[0] + len(lanes),), (summed[1] + len(lanes),)), (lanes, lanes)
    return lax.dot_general(a, b, numbers, precision=precision)


def _on_cpu(a: Array, b: Array, *, summed: tuple[int, int], precision: Any) -> Array:
    sizes: tuple[Any, ...] = a.shape + b.shape
    if all(isinstance(size, int) for size in sizes) and a.dtype in (jnp.float32, jnp.float64):
        (rows, columns), narrow = a.shape[-2:], b.shape[-1]
        if summed == (1, 1) and 0 < columns <= SHORT:
            parts = [a[..., :, i, None] * b[..., None, :, i] for i in range(columns)]
            return functools.reduce(operator.add, parts)
        if summed == (1, 1) and b.shape[-2] >= WIDE and narrow * b.shape[-2] <= NUMBERS:
            turned = lax.optimization_barrier(jnp.swapaxes(b, -1, -2))
            return _stock(a, turned, summed=(1, 0), precision=precision)
        if summed == (0, 0) and 1 < narrow <= NARROW and columns > narrow and rows >= LONG:
            return jnp.stack([(a * b[..., i, None]).sum(-2) for i in range(narrow)], -1)
        many = rows >= ROWS and columns >= COLUMNS and narrow > NARROW
        if summed == (0, 0) and many and rows * columns <= NUMBERS:
            turned = lax.optimization_barrier(jnp.swapaxes(a, -1, -2))
            return _stock(turned, b, summed=(1, 0), precision=precision)
    return _stock(a, b, summed=summed, precision=precision)


# The gradient by an operand, in the operand's own order of axes: no transposition is left to be made.


def _by_a(g: Array, a: Any, b: Array, *, summed: tuple[int, int], precision: Any) -> Array:
    of_a, of_b = summed
    return _product(g, b, (1, 1 - of_b), precision) if of_a else _product(b, g, (1 - of_b, 1), precision)


def _by_b(g: Array, a: Array, b: Any, *, summed: tuple[int, int], precision: Any) -> Array:
    of_a, of_b = summed
    return _product(g, a, (0, 1 - of_a), precision) if of_b else _product(a, g, (1 - of_a, 0), precision)


def _lanes(
    operands: Sequence[Array], dims: Sequence[Any], *, summed: tuple[int, int], precision: Any
) -> tuple[Array, int]:
    """Lanes of the rows alone are more rows; else every lane is a product of its own."""
    (a, b), (lane_of_a, lane_of_b) = operands, dims
    if lane_of_b is None and summed[0] == 1:
        a = jnp.moveaxis(a, lane_of_a, -3)
        *around, lanes, rows, depth = a.shape
        y = _product(a.reshape(*around, lanes * rows, depth), b, summed, precision)
        return y.reshape(*around, lanes, rows, y.shape[-1]), len(around)
    lanes = next(x.shape[lane] for x, lane in zip(operands, dims, strict=True) if lane is not None)
    a, b = (
        jnp.broadcast_to(x, (lanes, *x.shape)) if lane is None else jnp.moveaxis(x, lane, 0)
        for x, lane in zip(operands, dims, strict=True)
    )
    return _product(a, b, summed, precision), 0


define(product_p, _stock, _on_cpu)
ad.defbilinear(product_p, _by_a, _by_b)
batching.primitive_batchers[product_p] = _lanes
