"""Lookup of vectors by number, with a gradient that is fast for small and large tables."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from stepax.ops.primitive import varying_like
from stepax.ops.rows import as_rows
from stepax.typing import Array

__all__ = ["embed"]

# Up to here a CPU sums the gradient faster as one product with the numbers' one-hot rows than row by row.
SMALL = 512


def embed(table: Array, indices: Array) -> Array:
    """The rows of a table.

    Args:
        table: ``[rows, width]``.
        indices: Integers ``[…]``; a negative one counts from the end, and one outside the table gives NaN, as in
            ``jnp.take``.

    Returns:
        ``[…, width]``.

    Raises:
        TypeError: ``indices`` are no integers.
        ValueError: ``table`` has no two axes.
    """
    if jnp.ndim(table) != 2:
        raise ValueError(f"table: expected the shape [rows, width], got {jnp.shape(table)}")
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise TypeError(f"indices: expected integers, got {indices.dtype}")
    # A byte cannot hold the number of rows, 256, that the gradient compares it with.
    narrow = jnp.dtype(indices.dtype).itemsize < 4
    indices = indices.astype(jnp.int32) if narrow else indices
    # On a mesh, what all devices share takes its gradient from all of them.
    return _embed(table.shape[0], varying_like(table, indices), varying_like(indices, table))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _embed(rows: int, table: Array, indices: Array) -> Array:
    return jnp.take(table, indices, axis=0, mode="fill")


def _forward(rows: int, table: Array, indices: Array) -> tuple[Array, Array]:
    return _embed(rows, table, indices), indices


def _backward(rows: int, indices: Array, g: Array) -> tuple[Array, None]:
    def scattered(g: Array, indices: Array) -> Array:
        table = varying_like(jnp.zeros((rows, g.shape[-1]), g.dtype), g)
        return jax.vjp(lambda t: jnp.take(t, indices, axis=0, mode="fill"), table)[1](g)[0]

    def multiplied(g: Array, indices: Array) -> Array:
        flat = jnp.where(indices < 0, indices + rows, indices).reshape(-1)
        return lax.dot_general(jax.nn.one_hot(flat, rows, dtype=g.dtype), as_rows(g), (((0,), (0,)), ((), ())))

    if rows > SMALL:
        return scattered(g, indices), None
    return lax.platform_dependent(g, indices, cpu=multiplied, default=scattered), None


_embed.defvjp(_forward, _backward)
