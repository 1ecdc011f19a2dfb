"""Where batches come from: pure functions of the position, so that ``state.step`` alone says which batch comes next."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stepax.checks import check_count, check_data, check_key
from stepax.typing import Array, Key, Tree

__all__ = ["Source", "Stream", "Take", "class_weights", "example", "generated", "in_order", "shuffled"]


class Source(NamedTuple):
    """Batches by position.

    Attributes:
        length: Batches an epoch.
        order: ``epoch -> arrays``: what the epoch's batches are made from. It may hold the data themselves, which so
            reach a compiled program as arguments.
        take: ``(arrays, i) -> Batch``: the epoch's ``i``-th batch; pure, traced inside the compiled loop.
    """

    length: int
    order: Callable[[int], Tree]
    take: Callable[[Tree, Array], Any]


class Stream(NamedTuple):
    """Batches by position that are read while a model trains, for data larger than memory.

    :func:`stepax.data.stream` makes one of files, sequences and generators. As with a :class:`Source`, the position
    says all: whoever goes on at another step opens the stream there.

    Attributes:
        length: Batches an epoch.
        like: Shapes and dtypes of every batch: a dict of ``jax.ShapeDtypeStruct``, or of trees of them.
        batches: ``(epoch, first) -> iterator`` over the epoch's batches from the ``first``-th to its end, as NumPy
            arrays; the same arguments give the same batches. A ``close`` of the iterator, where it has one, is called
            when no more are wanted.
    """

    length: int
    like: Any
    batches: Callable[[int, int], Iterator[Any]]


def example(source: Source | Stream) -> Any:
    """A batch that shows shapes, as ``init`` of a learner takes it: a source's first one, or a stream's in zeros."""
    if isinstance(source, Source):
        return source.take(source.order(0), jnp.int32(0))
    return jax.tree.map(lambda like: jnp.zeros(like.shape, jax.dtypes.canonicalize_dtype(like.dtype)), source.like)


def shuffled(data: Any, batch_size: int | None, key: Key) -> Source:
    """The examples of ``data`` in a new random order every epoch.

    The last batch is filled up with the epoch's first examples at weight 0: every example counts once, every batch has
    one shape, and batch normalisation sees real rows.

    Args:
        data: A dict of arrays with one leading axis; a ``weight`` of its own is kept.
        batch_size: Examples a batch; ``None``, or more than there are, takes all of them.
        key: The root of the orders: epoch ``e`` has the one that NumPy's PCG64 draws from the key's words and ``e``.

    Returns:
        The source.

    Raises:
        TypeError: ``data`` is no dict of arrays of numbers, ``batch_size`` no whole number, or ``key`` no typed key.
        ValueError: ``data`` are empty, ragged or not finite, or have negative weights; ``batch_size`` is below 1; there
            are several keys.
    """
    check_key(key)
    count, words = check_data(data), np.asarray(jax.random.key_data(key)).tolist()

    def permutation(epoch: int) -> Array:
        # On the host: sorting random numbers on the device, as JAX does, costs a small model a tenth of its epoch.
        random = np.random.Generator(np.random.PCG64([*words, epoch]))
        return jnp.asarray(random.permutation(np.arange(count, dtype=np.int32)))

    return _rows(data, batch_size, permutation)


def in_order(data: Any, batch_size: int | None, *, name: str = "data") -> Source:
    """The examples of ``data`` in their own order, each once an epoch; the last batch is filled up at weight 0.

    Args:
        data: As in :func:`shuffled`.
        batch_size: As in ``shuffled``.
        name: What the caller calls ``data``, for messages.

    Returns:
        The source.

    Raises:
        TypeError: As in ``shuffled``.
        ValueError: As in ``shuffled``.
    """
    rows = jnp.arange(check_data(data, name))
    return _rows(data, batch_size, lambda epoch: rows)


def generated(length: int) -> Source:
    """No data: for learners that make their own. ``length`` steps count as an epoch, and every batch is ``None``."""
    if length < 1:
        raise ValueError(f"length: expected at least one step an epoch, got {length}")
    return Source(length, lambda epoch: (), lambda order, i: None)


def class_weights(data: Any) -> dict[str, Any]:
    """The same data with a ``weight`` that makes every class count equally.

    An example of a class with ``n_c`` of the ``n`` examples in ``C`` classes weighs ``n / (C n_c)``.

    Args:
        data: A dict with integer labels ``y``, ``[n]``; a ``weight`` of its own is multiplied.

    Returns:
        A new dict with ``weight``, ``[n]`` float32.

    Raises:
        TypeError: ``data`` is no dict, or ``y`` does not hold integers.
        ValueError: There is no ``y``.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f'data: expected a dict of arrays such as {{"x": …, "y": …}}, got {type(data).__name__}')
    if "y" not in data:
        raise ValueError(f"data: expected labels under the name 'y', and there are only {sorted(data)}")
    labels = np.asarray(data["y"])
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"y: expected integer labels of shape [n], got {labels.dtype} of shape {labels.shape}")
    classes, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    weight = (len(labels) / (len(classes) * counts))[index].astype(np.float32)
    own = np.asarray(data["weight"]) if "weight" in data else np.ones(len(labels), np.float32)
    return {**data, "weight": weight.reshape((-1,) + (1,) * (own.ndim - 1)) * own}


def _rows(data: Any, batch_size: int | None, permutation: Callable[[int], Array]) -> Source:
    """Batches of ``data`` by the rows that ``permutation`` gives for an epoch."""
    count = jax.tree.leaves(data)[0].shape[0]
    check_count("batch_size", 1 if batch_size is None else batch_size)
    size = count if batch_size is None else min(batch_size, count)
    length = -(-count // size)
    missing = length * size - count
    data = jax.tree.map(jnp.asarray, dict(data))
    if missing and "weight" not in data:
        data["weight"] = jnp.ones(count, jnp.float32)

    def order(epoch: int) -> Tree:
        rows = permutation(epoch)
        return {"rows": jnp.concatenate([rows, rows[:missing]]) if missing else rows, "data": data}

    return Source(length, order, Take(size, count))


@dataclasses.dataclass(frozen=True)
class Take:
    """Batch ``i`` of an order: ``{"rows": [n], "data": arrays}``, of which ``count`` rows are real.

    A value rather than a closure, so that equal ones share compiled programs. Streams use it too: how XLA sums up a
    batch may depend on the operations that it came by.
    """

    size: int
    count: int

    def __call__(self, order: Tree, i: Array) -> dict[str, Any]:
        """The batch; pure."""
        rows = jax.lax.dynamic_slice_in_dim(order["rows"], i * self.size, self.size)
        batch = jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0, mode="clip"), order["data"])
        if self.count % self.size:
            weight = batch["weight"]
            real = i * self.size + jnp.arange(self.size) < self.count
            batch["weight"] = jnp.where(real.reshape((self.size,) + (1,) * (weight.ndim - 1)), weight, 0)
        return batch
