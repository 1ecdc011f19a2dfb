"""Random draws that compile quickly.

XLA's CPU backend takes seconds to compile threefry over small many-dimensional shapes (2.3 s for one 3×3×8×9 kernel),
and little for the same bits drawn in a row and reshaped. :func:`flat` gives a key whose draws are made that way, with
equal results.
"""

import math
from functools import cache
from typing import Any, cast

import jax

from stepax.typing import Array, Key

__all__ = ["flat", "fold_in"]

THREEFRY = "threefry2x32"


def fold_in(key: Key, number: Any) -> Key:
    """``jax.random.fold_in`` for a key or an array of them: one number for all, as all lanes make the same step."""
    if not key.shape:
        return jax.random.fold_in(key, number)
    return jax.vmap(lambda one: jax.random.fold_in(one, number))(key.reshape(-1)).reshape(key.shape)


def flat(key: Key) -> Key:
    """A key with the same draws as ``key``, bit for bit, that compile faster.

    For use inside a function, never to be stored.

    Args:
        key: A typed key or an array of them. One of another generator than threefry is returned as it is.

    Returns:
        The key, of the same shape.
    """
    implementation, config = _flat_threefry(), cast(Any, jax.config)
    # Without this option a draw's bits depend on its shape, and reshaping would change them.
    if implementation is None or str(jax.random.key_impl(key)) != THREEFRY or not config.jax_threefry_partitionable:
        return key
    return jax.random.wrap_key_data(jax.random.key_data(key), impl=implementation)


@cache
def _flat_threefry() -> Any:
    """The generator, or ``None`` where this version of JAX has no such interface."""

    def stock(data: Array) -> Key:
        return jax.random.wrap_key_data(data, impl=THREEFRY)

    try:
        from jax.extend.random import define_prng_impl

        return define_prng_impl(
            key_shape=(2,),
            seed=lambda seed: jax.random.key_data(jax.random.key(seed, impl=THREEFRY)),
            split=lambda data, shape: jax.random.key_data(jax.random.split(stock(data), shape)),
            random_bits=lambda data, width, shape: jax.random.bits(
                stock(data), (math.prod(shape),), f"uint{width}"
            ).reshape(shape),
            fold_in=lambda data, number: jax.random.key_data(jax.random.fold_in(stock(data), number)),
            name="flat_threefry2x32",
            tag="ffry",
        )
    except (ImportError, TypeError):
        return None
