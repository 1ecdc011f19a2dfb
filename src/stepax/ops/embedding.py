"""Lookup of vectors by number, with a gradient that is fast for small and large tables."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

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
    """
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise TypeError(f"indices: expected integers, got {indices.dtype}")
    return _embed(table.shape[0], table, indices)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _embed(rows: int, table: Array, indices: Array) -> Array:
    return jnp.take(table, indices, axis=0, mode="fill")


def _forward(rows: int, table: Array, indices: Array) -> tuple[Array, Array]:
    return _embed(rows, table, indices), indices


def _backward(rows: int, indices: Array, g: Array) -> tuple[Array, None]:
    def scattered(g: Array, indices: Array) -> Array:
        table = jax.ShapeDtypeStruct((rows, g.shape[-1]), g.dtype)
        return jax.linear_transpose(lambda t: jnp.take(t, indices, axis=0, mode="fill"), table)(g)[0]

    def multiplied(g: Array, indices: Array) -> Array:
        flat = jnp.where(indices < 0, indices + rows, indices).reshape(-1)
        return lax.dot_general(
            jax.nn.one_hot(flat, rows, dtype=g.dtype), g.reshape(-1, g.shape[-1]), (((0,), (0,)), ((), ()))
        )

    if rows > SMALL:
        return scattered(g, indices), None
    return lax.platform_dependent(g, indices, cpu=multiplied, default=scattered), None


_embed.defvjp(_forward, _backward)
