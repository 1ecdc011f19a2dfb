"""Scaled dot-product attention."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from stepax.ops.sizes import check_truth
from stepax.typing import Array

__all__ = ["attention", "attention_weights"]

# A causal attention is cut into at most so many blocks of queries, of at least this size.
MOST_BLOCKS = 8
SMALLEST_BLOCK = 32
# ``[batch, heads, queries, width]`` and ``[batch, heads, keys, width]``: over the width, for each batch and head.
SCORES = ((3,), (3,)), ((0, 1), (0, 1))


def attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    causal: bool = False,
    mask: Array | None = None,
    scale: float | None = None,
    drop: Callable[[Array], Array] | None = None,
) -> Array:
    r"""``softmax(q kᵀ · scale) v`` for every head.

    The softmax is computed in float32 at least. A query that may see nothing gets zeros.

    Args:
        query: ``[batch, queries, heads, width]``.
        key: ``[batch, keys, heads, width]``.
        value: ``[batch, keys, heads, width of values]``.
        causal: Whether query ``i`` sees the keys up to ``i + keys − queries`` only: with fewer queries than keys, the
            queries are the last ones.
        mask: True where a query may see a key, of a shape that broadcasts to ``[batch, heads, queries, keys]``.
        scale: ``1/√width`` unless given.
        drop: What becomes of the weights ``[batch, heads, some queries, keys they may see]`` before they meet the
            values, such as dropout.

    Returns:
        ``[batch, queries, heads, width of values]``.

    Raises:
        TypeError: ``mask`` is floating; one that is added to the scores is none.
        ValueError: Shapes do not fit together.

    Reference:
        Vaswani et al., Attention is all you need, 2017, arXiv:1706.03762.
    """
    _check(query, key, value, mask)
    query, key, mask = _prepared(query, key, mask, scale)
    # Heads beside the batch: one batch of plain matrix products, whatever the backend.
    q, k, v = (jnp.moveaxis(array, 2, 1) for array in (query, key, value))
    if not causal or q.shape[2] == 0:
        return jnp.moveaxis(_attend(q, k, v, mask, drop), 1, 2)
    # Queries in blocks, each with the keys it may see: nearly half the products are never formed.
    queries, keys = q.shape[2], k.shape[2]
    size = max(SMALLEST_BLOCK, -(-queries // MOST_BLOCKS))
    blocks = []
    for start in range(0, queries, size):
        stop = min(start + size, queries)
        last = max(stop + keys - queries, 1)
        seen = jnp.tril(jnp.ones((1, 1, stop - start, last), bool), start + keys - queries)
        if mask is not None:
            rows = mask if mask.shape[2] == 1 else mask[:, :, start:stop]
            seen = seen & (rows if mask.shape[3] == 1 else rows[..., :last])
        blocks.append(_attend(q[:, :, start:stop], k[:, :, :last], v[:, :, :last], seen, drop))
    return jnp.moveaxis(jnp.concatenate(blocks, axis=2), 1, 2)


def attention_weights(
    query: Array,
    key: Array,
    *,
    causal: bool = False,
    mask: Array | None = None,
    scale: float | None = None,
) -> Array:
    r"""``softmax(q kᵀ · scale)`` for every head: how much of each value a query gets in :func:`attention`.

    Args:
        query: ``[batch, queries, heads, width]``.
        key: ``[batch, keys, heads, width]``.
        causal: As in :func:`attention`.
        mask: As in :func:`attention`.
        scale: ``1/√width`` unless given.

    Returns:
        ``[batch, heads, queries, keys]``, in float32 at least. A row sums to 1; to 0 if it may see nothing.

    Raises:
        TypeError: ``mask`` is floating.
        ValueError: Shapes do not fit together.
    """
    _check(query, key, key, mask)
    query, key, mask = _prepared(query, key, mask, scale)
    q, k = jnp.moveaxis(query, 2, 1), jnp.moveaxis(key, 2, 1)
    if causal:
        earlier = jnp.tril(jnp.ones((1, 1, q.shape[2], k.shape[2]), bool), k.shape[2] - q.shape[2])
        mask = earlier if mask is None else earlier & mask
    return _weights(q, k, mask)


def _prepared(query: Array, key: Array, mask: Array | None, scale: float | None) -> tuple[Array, Array, Array | None]:
    """Both in one dtype, the query scaled; a mask of booleans."""
    scale = max(query.shape[-1], 1) ** -0.5 if scale is None else scale
    dtype = jnp.result_type(query, key)
    query, key = query.astype(dtype), key.astype(dtype)
    return query * jnp.asarray(scale, dtype), key, None if mask is None else jnp.asarray(mask, bool)


@jax.custom_jvp
def _scores(q: Array, k: Array) -> Array:
    """``q kᵀ`` in float32 at least, of products in the operands' own precision, those of the gradient too."""
    exact = jnp.promote_types(q.dtype, jnp.float32)
    return lax.dot_general(q, k, SCORES, preferred_element_type=exact)


@_scores.defjvp
def _scores_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (q, k), (by_q, by_k) = primals, tangents
    y = _scores(q, k)
    return y, (lax.dot_general(by_q, k, SCORES) + lax.dot_general(q, by_k, SCORES)).astype(y.dtype)


def _weights(q: Array, k: Array, seen: Array | None) -> Array:
    """``[batch, heads, time, width]`` each."""
    scores = _scores(q, k)
    if seen is None:
        return jax.nn.softmax(scores)
    # Not −inf: a row of them has no softmax, and no gradient either.
    hidden = jnp.asarray(jnp.finfo(scores.dtype).min, scores.dtype)
    return jnp.where(seen, jax.nn.softmax(jnp.where(seen, scores, hidden)), 0)


def _attend(q: Array, k: Array, v: Array, seen: Array | None, drop: Callable[[Array], Array] | None) -> Array:
    """``[batch, heads, time, width]`` each."""
    weights = _weights(q, k, seen)
    weights = weights if drop is None else drop(weights)
    return lax.dot_general(weights.astype(v.dtype), v, (((3,), (2,)), ((0, 1), (0, 1))))


def _check(query: Array, key: Array, value: Array, mask: Array | None) -> None:
    shapes = jnp.shape(query), jnp.shape(key), jnp.shape(value)
    fits = all(len(shape) == 4 for shape in shapes) and (
        query.shape[0] == key.shape[0] == value.shape[0]
        and query.shape[2] == key.shape[2] == value.shape[2]
        and key.shape[1] == value.shape[1]
        and query.shape[3] == key.shape[3]
    )
    if not fits:
        raise ValueError(
            "query, key and value: expected [batch, queries, heads, width] and twice [batch, keys, heads, width], got "
            f"the shapes {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    if mask is None:
        return
    full = (query.shape[0], query.shape[2], query.shape[1], key.shape[1])
    shape = jnp.shape(mask)
    if len(shape) != 4 or any(size not in (1, whole) for size, whole in zip(shape, full, strict=True)):
        raise ValueError(
            f"mask: expected four axes that broadcast to [batch, heads, queries, keys] = {full}, got {shape}"
        )
    check_truth("mask", mask)
