"""A ring of transitions: arrays of a fixed capacity, in which the newest take the places of the oldest.

The first places may be protected: what comes into them stays for ever, and the ring goes round behind them.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from stepax.checks import check_count, check_key
from stepax.typing import Array, Key, Tree

__all__ = [
    "OUTSIDE",
    "Ring",
    "check_keep",
    "check_protected",
    "check_sample",
    "check_transitions",
    "check_update",
    "new_ring",
    "read",
    "shapes",
    "write",
]

# A place that no ring has; what is written there is dropped.
OUTSIDE = 2**31 - 1


class Ring(NamedTuple):
    """The newest transitions, behind those that are protected.

    Attributes:
        data: Arrays ``[capacity, …]``.
        position: Where the next one goes, int32.
        size: How many there are, int32.
    """

    data: Tree
    position: Array
    size: Array


def new_ring(capacity: int, transition: Any) -> Ring:
    """An empty ring for transitions of these shapes and dtypes.

    Raises:
        TypeError: A leaf holds neither numbers nor booleans.
        ValueError: There are no arrays.
    """
    like = shapes(transition)
    data = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), like)
    return Ring(data, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def write(ring: Ring, transitions: Tree, keep: Any = None, protected: int = 0) -> tuple[Ring, Array]:
    """The ring with more entries, and their places ``[lanes]``: ``OUTSIDE`` of those that are not kept.

    Args:
        ring: The ring.
        transitions: Arrays ``[lanes, …]``.
        keep: Which of them are kept; ``None``: all.
        protected: How many of the first places are not written to again; always the same number.

    Raises:
        TypeError: Another dtype, or ``keep`` is not of booleans.
        ValueError: Another tree or shape, or more than there is room for behind what is protected.
    """
    capacity = _capacity(ring)
    room = capacity - protected
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), ring.data)
    transitions = check_transitions(transitions, like)
    count = len(jax.tree.leaves(transitions)[0])
    if count > room:
        less = f" less {protected} that are protected" if protected else ""
        raise ValueError(f"transitions: expected at most {room} at once, the capacity{less}, got {count}")
    kept = check_keep(keep, count)

    def around(place: Array) -> Array:
        return jnp.where(place < capacity, place, place - room)

    places = around(ring.position + jnp.cumsum(kept, dtype=jnp.int32) - 1)
    places = jnp.where(kept, places, OUTSIDE)
    data = jax.tree.map(lambda all_, new: all_.at[places].set(new, mode="drop"), ring.data, transitions)
    added = kept.sum(dtype=jnp.int32)
    return Ring(data, around(ring.position + added), jnp.minimum(ring.size + added, capacity)), places


def read(ring: Ring, indices: Array) -> Tree:
    """The entries at ``indices``, arrays ``[batch, …]``."""
    return jax.tree.map(lambda leaf: jnp.take(leaf, indices, axis=0, mode="clip"), ring.data)


def check_protected(protected: Any, capacity: int) -> None:
    """Refuse to protect all places of a ring, or a number of them that is none.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is not from 0 to one less than the capacity.
    """
    check_count("protected", protected, 0)
    if protected >= capacity:
        raise ValueError(f"protected: expected fewer entries than the capacity of {capacity}, got {protected}")


def check_sample(ring: Ring, key: Key, batch_size: Any) -> None:
    """Refuse a batch that is larger than the capacity, and to draw from nothing, where that is known.

    Raises:
        TypeError: ``key`` is no typed key, or ``batch_size`` no whole number.
        ValueError: There are several keys, the batch is not from 1 to the capacity, or the ring is empty.
    """
    check_key(key)
    check_count("batch_size", batch_size)
    if batch_size > (capacity := _capacity(ring)):
        raise ValueError(f"batch_size: expected at most {capacity}, the replay's capacity, got {batch_size}")
    if not isinstance(ring.size, jax.core.Tracer) and not ring.size:
        raise ValueError("buffer: expected one with transitions to draw from, got one in which nothing was inserted")


def check_update(indices: Any, errors: Any) -> tuple[Array, Array]:
    """Refuse what cannot be what is known of a sample's entries; gives both as arrays.

    Raises:
        TypeError: ``indices`` are not whole numbers, or ``errors`` no numbers.
        ValueError: They are not both ``[batch]``.
    """
    indices, errors = jnp.asarray(indices), jnp.asarray(errors)
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise TypeError(f"indices: expected whole numbers, as in a sample, got {indices.dtype}")
    if not jnp.issubdtype(errors.dtype, jnp.floating):
        raise TypeError(f"errors: expected floating numbers, got {errors.dtype}")
    if indices.ndim != 1 or errors.shape != indices.shape:
        raise ValueError(
            f"errors: expected one for each of the indices, [batch], got {errors.shape} and indices of {indices.shape}"
        )
    return indices.astype(jnp.int32), errors


def _capacity(ring: Ring) -> int:
    return jax.tree.leaves(ring.data)[0].shape[0]


def shapes(transition: Any) -> Any:
    """The shapes and dtypes that a transition has as arrays of JAX.

    Raises:
        TypeError: A leaf holds neither numbers nor booleans.
        ValueError: There are no arrays.
    """
    like = jax.eval_shape(partial(jax.tree.map, jnp.asarray), transition)
    if not (leaves := jax.tree_util.tree_leaves_with_path(like)):
        raise ValueError(f"transition: expected a dict of arrays, got {transition!r}")
    for path, leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.number) and leaf.dtype != jnp.bool_:
            raise TypeError(f"{_name('transition', path)}: expected numbers or booleans, got {leaf.dtype}")
    return like


def check_transitions(transitions: Any, like: Any, lanes: int | None = None) -> Any:
    """Transitions as arrays ``[lanes, …]``.

    Args:
        transitions: What is to be inserted.
        like: The shapes and dtypes of one of those that are there.
        lanes: How many there must be; ``None``: as many as the first array has.

    Raises:
        TypeError: Another dtype.
        ValueError: Another tree, shape or number.
    """
    transitions = jax.tree.map(jnp.asarray, transitions)
    given: Any = jax.tree.structure(transitions)
    if given != (wanted := jax.tree.structure(like)):
        raise ValueError(f"transitions: expected the tree of the buffer, {wanted}, got {given}")
    pairs = list(zip(jax.tree_util.tree_leaves_with_path(transitions), jax.tree.leaves(like), strict=True))
    if lanes is None:
        lanes = next((len(leaf) for (_, leaf), _ in pairs if leaf.ndim), 1)
    for (path, leaf), each in pairs:
        name = _name("transitions", path)
        if leaf.shape != (lanes, *each.shape):
            raise ValueError(f"{name}: expected the shape [lanes, …] = {(lanes, *each.shape)}, got {leaf.shape}")
        if leaf.dtype != each.dtype:
            raise TypeError(f"{name}: expected {each.dtype}, as in the buffer, got {leaf.dtype}")
    return transitions


def check_keep(keep: Any, count: int) -> Array:
    """Which transitions are kept, ``[count]`` bool; all where ``keep`` is ``None``.

    Raises:
        TypeError: It is not of booleans.
        ValueError: It is not one for each transition.
    """
    if keep is None:
        return jnp.ones(count, bool)
    keep = jnp.asarray(keep)
    if keep.dtype != jnp.bool_:
        raise TypeError(f"keep: expected booleans, true for what is kept, got {keep.dtype}")
    if keep.shape != (count,):
        raise ValueError(f"keep: expected one for each of the transitions, ({count},), got {keep.shape}")
    return keep


def _name(argument: str, path: Any) -> str:
    return argument + jax.tree_util.keystr(path).replace("'", '"')
