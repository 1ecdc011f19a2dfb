"""Random draws that compile quickly, and others that run quickly in loops: bit for bit those of JAX.

XLA's CPU backend takes seconds to compile threefry over small many-dimensional shapes (2.3 s for one 3×3×8×9 kernel),
and little for the same bits drawn in a row and reshaped. :func:`flat` gives a key whose draws are made that way.

There JAX computes the hash in a loop of its own, over all numbers together, to have less to compile. Within a loop of
many small steps this costs more than the step. :func:`unrolled` gives a key whose draws are nothing but elementwise
arithmetic, which XLA fuses with what is done with them: 2 to 4 times as many steps of CartPole in a second.
"""

import math
from functools import cache
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from stepax.typing import Array, Key, Tree

__all__ = ["flat", "fold_in", "pairs", "plain", "unrolled"]

THREEFRY = "threefry2x32"
# Of the second word, in four rounds each in turn; and what the key's third word is made of.
ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)
PARITY = 0x1BD11BDA


def fold_in(key: Key, number: Any) -> Key:
    """``jax.random.fold_in`` for a key or an array of them: one number for all, as all lanes make the same step."""
    if not key.shape:
        return jax.random.fold_in(key, number)
    return jax.vmap(lambda one: jax.random.fold_in(one, number))(key.reshape(-1)).reshape(key.shape)


def pairs(key: Key, count: int) -> Key:
    """Two keys for each turn of a loop, ``[count, 2]``, drawn before it."""
    return jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i)))(jnp.arange(count))


def flat(key: Key) -> Key:
    """A key with the same draws as ``key``, bit for bit, that compile faster.

    For use inside a function, never to be stored.

    Args:
        key: A typed key or an array of them. One of another generator than threefry is returned as it is.

    Returns:
        The key, of the same shape.
    """
    return _as(_flat_threefry(), key)


def unrolled(key: Key) -> Key:
    """A key with the same draws as ``key``, bit for bit, that take less time in a loop of small steps.

    They compile more slowly. What is drawn from one key for all should be drawn before the loop: within, XLA would
    compute it once for each number that depends on it. For use inside a function, never to be stored.

    Args:
        key: A typed key or an array of them. One of another generator than threefry is returned as it is.

    Returns:
        The key, of the same shape.
    """
    return _as(_unrolled_threefry(), key)


def plain(tree: Tree) -> Tree:
    """The tree with flat and unrolled keys as JAX's own: what may be stored of what was made with them."""
    generators = _flat_threefry(), _unrolled_threefry()

    def one(leaf: Any) -> Any:
        ours = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) and jax.random.key_impl(leaf) in generators
        return _stock(jax.random.key_data(leaf)) if ours else leaf

    return jax.tree.map(one, tree)


def _as(implementation: Any, key: Key) -> Key:
    config = cast(Any, jax.config)
    # Without this option a draw's bits depend on its shape.
    if implementation is None or str(jax.random.key_impl(key)) != THREEFRY or not config.jax_threefry_partitionable:
        return key
    return jax.random.wrap_key_data(jax.random.key_data(key), impl=implementation)


def _stock(data: Array) -> Key:
    return jax.random.wrap_key_data(data, impl=THREEFRY)


def _generator(name: str, tag: str, **functions: Any) -> Any:
    """The generator, or ``None`` where this version of JAX has no such interface."""
    try:
        from jax.extend.random import define_prng_impl

        return define_prng_impl(
            key_shape=(2,),
            seed=lambda seed: jax.random.key_data(jax.random.key(seed, impl=THREEFRY)),
            name=name,
            tag=tag,
            **functions,
        )
    except (ImportError, TypeError):
        return None


@cache
def _flat_threefry() -> Any:
    return _generator(
        "flat_threefry2x32",
        "ffry",
        split=lambda data, shape: jax.random.key_data(jax.random.split(_stock(data), shape)),
        random_bits=lambda data, width, shape: jax.random.bits(
            _stock(data), (math.prod(shape),), f"uint{width}"
        ).reshape(shape),
        fold_in=lambda data, number: jax.random.key_data(jax.random.fold_in(_stock(data), number)),
    )


@cache
def _unrolled_threefry() -> Any:
    def split(data: Array, shape: tuple[int, ...]) -> Array:
        return _pair(*_hashed(data, *_counted(shape)))

    def fold_in(data: Array, number: Any) -> Array:
        return _pair(*_hashed(data, jnp.uint32(0), jnp.asarray(number).astype(jnp.uint32)))

    def random_bits(data: Array, width: int, shape: tuple[int, ...]) -> Array:
        if width == 64 or math.prod(shape) > 2**32:
            return jax.random.bits(_stock(data), shape, f"uint{width}")
        first, second = _hashed(data, *_counted(shape))
        return (first ^ second).astype(f"uint{width}")

    return _generator("unrolled_threefry2x32", "ufry", split=split, random_bits=random_bits, fold_in=fold_in)


def _hashed(data: Array, first: Array, second: Array) -> tuple[Array, Array]:
    """Threefry-2x32 of twenty rounds over pairs of words (Salmon et al., Parallel random numbers, SC 2011)."""
    words = data[0], data[1], data[0] ^ data[1] ^ np.uint32(PARITY)
    first, second = first + words[0], second + words[1]
    for turn in range(5):
        for distance in ROTATIONS[turn % 2]:
            first = first + second
            second = first ^ ((second << np.uint32(distance)) | (second >> np.uint32(32 - distance)))
        first = first + words[(turn + 1) % 3]
        second = second + words[(turn + 2) % 3] + np.uint32(turn + 1)
    return first, second


def _counted(shape: tuple[int, ...]) -> tuple[Array, Array]:
    """The upper and the lower words of the numbers from 0 on."""
    return jnp.zeros(shape, jnp.uint32), lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)


def _pair(first: Array, second: Array) -> Array:
    """Both in a last axis of two: by a choice, as XLA does not vectorise a loop in which parts are put together."""
    shape = (*first.shape, 2)
    chosen = lax.broadcasted_iota(jnp.uint32, shape, first.ndim) == 0
    return jnp.where(chosen, jnp.broadcast_to(first[..., None], shape), jnp.broadcast_to(second[..., None], shape))
