"""A dense layer as two-dimensional matrix products that stay fast for many models at once.

``vmap`` over a weight matrix for inputs that all models share would make one wide product of it, for which the matrices
of all models are copied side by side at every step. Here the product is a primitive of its own whose lanes are
products side by side instead, each with the shared operand; its derivatives are such products again.
"""

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
    """Summed over axis ``summed[0]`` of ``a`` with axis ``summed[1]`` of ``b``; the other axis of ``a`` comes first."""
    return bind(product_p, a, b, summed=summed, precision=precision)


def _stock(a: Array, b: Array, *, summed: tuple[int, int], precision: Any) -> Array:
    return lax.dot_general(a, b, (((summed[0],), (summed[1],)), ((), ())), precision=precision)


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
        a = jnp.moveaxis(a, lane_of_a, 0)
        y = _product(as_rows(a), b, summed, precision)
        return y.reshape(*a.shape[:2], y.shape[-1]), 0
    lanes = next(x.shape[lane] for x, lane in zip(operands, dims, strict=True) if lane is not None)
    a, b = (
        jnp.broadcast_to(x, (lanes, *x.shape)) if lane is None else jnp.moveaxis(x, lane, 0)
        for x, lane in zip(operands, dims, strict=True)
    )
    numbers = ((summed[0] + 1,), (summed[1] + 1,)), ((0,), (0,))
    return lax.dot_general(a, b, numbers, precision=precision), 0


define(product_p, _stock, _stock)
ad.defbilinear(product_p, _by_a, _by_b)
batching.primitive_batchers[product_p] = _lanes
