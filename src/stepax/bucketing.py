"""Batches of texts of like length, so that a short one need not be computed as long as the longest."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stepax.checks import check_count, check_data, check_key
from stepax.source import Source, Take
from stepax.typing import Array, Key, Tree

__all__ = ["bucketed", "check_lengths", "reach", "tokens_of"]


def bucketed(data: Any, batch_size: int, key: Key, lengths: Sequence[int] = (16, 32, 56)) -> Source:
    """The examples of ``data`` in a new random order every epoch, in batches of like length.

    An epoch's rows are shuffled and put into buckets: those that fit the first of the lengths, then those that fit the
    second, and so on. They are cut into batches in this order, of which a few hold rows of two buckets, and the batches
    are shuffled. Every example counts once; the batch that is not full is filled up with rows beside it at weight 0.
    The batches are as wide as the data: :func:`stepax.trim` with the same lengths computes each only as far as it
    reaches.

    Args:
        data: A dict of arrays with one leading axis, ``x`` among them: tokens ``[n, time]``, or a tree of such, with
            padding of 0 at the end. A ``weight`` of its own is kept.
        batch_size: Examples a batch; more than there are takes all of them.
        key: The root of the orders, as of :func:`stepax.shuffled`.
        lengths: Up to which length rows belong together, increasing.

    Returns:
        The source.

    Raises:
        TypeError: ``data`` are no dict of arrays of numbers, ``x`` are no whole numbers, ``batch_size`` or a length is
            no whole number, or ``key`` is no typed key.
        ValueError: ``data`` are empty, ragged or not finite, or have negative weights; there is no ``x``, or it has
            other axes or is longer than the last length; ``batch_size`` is below 1; the lengths do not increase; there
            are several keys.
    """
    check_key(key)
    count, words = check_data(data), np.asarray(jax.random.key_data(key)).tolist()
    check_count("batch_size", batch_size)
    lengths = check_lengths(lengths, max(leaf.shape[-1] for leaf in tokens_of(data)))
    bucket = np.searchsorted(lengths, np.asarray(reach(data)))
    size = min(batch_size, count)
    length = -(-count // size)
    missing = length * size - count
    data = jax.tree.map(jnp.asarray, dict(data))
    if missing and "weight" not in data:
        data["weight"] = jnp.ones(count, jnp.float32)

    def order(epoch: int) -> Tree:
        random = np.random.Generator(np.random.PCG64([*words, epoch]))
        rows = random.permutation(np.arange(count, dtype=np.int32))
        rows = rows[np.argsort(bucket[rows], kind="stable")]
        # The last batch is of the longest rows, and so are those before it, with which it is filled up.
        rows = np.concatenate([rows, rows[(length - 1) * size - missing : (length - 1) * size]])
        real = np.arange(length * size) < count
        batches = random.permutation(length)
        in_batches = {"rows": rows, "real": real} if missing else {"rows": rows}
        return {
            **{name: jnp.asarray(each.reshape(length, size)[batches].ravel()) for name, each in in_batches.items()},
            "data": data,
        }

    return Source(length, order, _TakeReal(size) if missing else Take(size, length * size))


@dataclasses.dataclass(frozen=True)
class _TakeReal:
    """Batch ``i`` of ``{"rows": [n], "real": [n], "data": arrays}``; rows that are not real have weight 0.

    A value rather than a closure, so that equal ones share compiled programs.
    """

    size: int

    def __call__(self, order: Tree, i: Array) -> dict[str, Any]:
        """The batch; pure."""
        batch = Take(self.size, self.size)({"rows": order["rows"], "data": order["data"]}, i)
        real = jax.lax.dynamic_slice_in_dim(order["real"], i * self.size, self.size)
        weight = batch["weight"]
        batch["weight"] = jnp.where(real.reshape((self.size,) + (1,) * (weight.ndim - 1)), weight, 0)
        return batch


def check_lengths(lengths: Any, longest: int | None = None) -> tuple[int, ...]:
    """Refuse lengths that do not increase, or the last of which is shorter than what they are for.

    Args:
        lengths: What was given.
        longest: The time axis of the data, where it is known.

    Returns:
        The lengths as a tuple of ints.

    Raises:
        TypeError: They are no sequence of whole numbers.
        ValueError: There are none, one is below 1, or they do not increase; the last is below ``longest``.
    """
    if not isinstance(lengths, Sequence | np.ndarray) or isinstance(lengths, str):
        raise TypeError(f"lengths: expected whole numbers such as (16, 32, 56), got {lengths!r}")
    for length in lengths:
        check_count("lengths", length)
    found = tuple(int(length) for length in lengths)
    if not found or any(a >= b for a, b in itertools.pairwise(found)):
        raise ValueError(f"lengths: expected at least one, each larger than the one before, got {found}")
    if longest is not None and longest > found[-1]:
        raise ValueError(
            f"lengths: x has {longest} places along its axis of time, and the last of the lengths is {found[-1]}; "
            "make it as long as x, or cut x"
        )
    return found


def reach(batch: Any, lanes: int = 0) -> Array:
    """How far every row reaches: up to its last token that is not padding, or its last place that counts.

    Args:
        batch: As in :func:`tokens_of`; optionally ``weight``, whose places count where it has an axis of time.
        lanes: As in ``tokens_of``.

    Returns:
        ``[batch]``, after axes of lanes where there are such: 0 where all is padding.

    Raises:
        TypeError: As in ``tokens_of``.
        ValueError: As in ``tokens_of``; or ``y`` has the axis of time and ``weight`` has not.
    """
    tokens = tokens_of(batch, lanes)
    shapes = [leaf.shape for leaf in tokens]
    weights = [leaf for leaf in jax.tree.leaves(batch.get("weight")) if jnp.shape(leaf) in shapes]
    targets = [leaf for leaf in jax.tree.leaves(batch.get("y")) if jnp.shape(leaf)[: tokens[0].ndim] in shapes]
    if targets and not weights:
        raise ValueError(
            f"weight: expected the shape [batch, time] beside a y of shape {jnp.shape(targets[0])}, with 0 at padded "
            "places; without it they count, and to cut them would change what is learnt"
        )
    return jnp.stack([_last(leaf) for leaf in (*tokens, *weights)]).max(0)


def _last(places: Array) -> Array:
    """Of every row one after its last place that is not 0, and 0 where there is none."""
    numbers = jnp.broadcast_to(jnp.arange(1, places.shape[-1] + 1, dtype=jnp.int32), places.shape)
    return jnp.where(jnp.asarray(places) != 0, numbers, 0).max(-1, initial=0)


def tokens_of(batch: Any, lanes: int = 0) -> list[Array]:
    """The arrays of tokens in ``x``.

    Args:
        batch: A dict with ``x``: tokens ``[batch, time]``, or a tree in which some arrays are such.
        lanes: How many axes of lanes may come before.

    Returns:
        At least one, whose last axis is that of time.

    Raises:
        TypeError: There are none: ``x`` is floating, or has other axes.
        ValueError: There is no ``x``.
    """
    if not isinstance(batch, Mapping) or "x" not in batch:
        held = sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__
        raise ValueError(f"batch: expected tokens under the name 'x', of shape [batch, time], got {held}")
    leaves = [
        leaf
        for leaf in jax.tree.leaves(batch["x"])
        if jnp.issubdtype(leaf.dtype, jnp.integer) and 2 <= jnp.ndim(leaf) <= 2 + lanes
    ]
    if not leaves:
        got = ", ".join(f"{leaf.dtype}{list(jnp.shape(leaf))}" for leaf in jax.tree.leaves(batch["x"]))
        raise TypeError(f"x: expected tokens, whole numbers of shape [batch, time] or a tree of such, got {got}")
    return leaves
