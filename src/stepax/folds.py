"""Data of their own for the lanes of a population: sources side by side, and the folds of a cross-validation."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stepax.checks import check_count, check_data, check_key
from stepax.source import Source
from stepax.typing import Array, Key, Tree

__all__ = ["Folds", "folds", "side_by_side"]


class Folds(NamedTuple):
    """A cross-validation as data for ``population(learner, count, lanes_of_data=True)``.

    Attributes:
        training: Lane ``k`` has the examples that are not in fold ``k``, in a new random order every epoch.
        validation: Lane ``k`` has the examples of fold ``k``.
        rows: The fold of every example, ``[n]`` int32.
    """

    training: Source
    validation: Source
    rows: np.ndarray


def folds(
    data: Any,
    count: int,
    *,
    batch_size: int,
    key: Key,
    rows: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> Folds:
    """Cuts data into folds, each of which one lane is measured on and all the others learn from.

    The data are kept once, whatever the number of folds.

    Args:
        data: A dict of arrays with one leading axis.
        count: How many folds there are.
        batch_size: Examples a step of each lane.
        key: The root of the folds and of the orders.
        rows: The fold of every example, ``[n]`` whole numbers below ``count``, where they are given; ``None`` draws
            them at random, equal in size.
        labels: The class of every example, ``[n]``, such as ``data["y"]``: every fold then has its share of each class.

    Returns:
        Two sources whose batches are ``[count, batch, …]``.

    Raises:
        TypeError: ``data`` is no dict of arrays of numbers, ``key`` no typed key, or ``rows`` no whole numbers.
        ValueError: There are fewer than two folds, or fewer examples than folds; ``rows`` have another length, name a
            fold that is none, or leave one empty; ``labels`` have another shape, or are given beside ``rows``.
    """
    check_key(key)
    examples = check_data(data)
    check_count("batch_size", batch_size)
    check_count("count", count, 2)
    if count > examples:
        raise ValueError(f"count: expected at most one fold for each of the {examples} examples, got {count}")
    words = np.asarray(jax.random.key_data(key)).tolist()
    if labels is not None:
        if rows is not None or np.shape(labels) != (examples,):
            given = f"the shape {np.shape(labels)}" if rows is None else "them beside rows"
            raise ValueError(
                f"labels: expected one class for each of the {examples} examples, and no rows, got {given}"
            )
        rows = _stratified(np.asarray(labels), count, words)
    if rows is None:
        rows = np.random.Generator(np.random.PCG64(words)).permutation(np.arange(examples) % count)
    rows = _checked(rows, count, examples)
    data = jax.tree.map(jnp.asarray, dict(data))

    def orders(epoch: int) -> list[np.ndarray]:
        generators = [np.random.Generator(np.random.PCG64([*words, epoch, fold])) for fold in range(count)]
        return [generator.permutation(np.flatnonzero(rows != fold)) for fold, generator in enumerate(generators)]

    validation = [np.flatnonzero(rows == fold) for fold in range(count)]
    return Folds(_rows(data, batch_size, orders), _rows(data, batch_size, lambda epoch: validation), rows)


def _stratified(labels: np.ndarray, count: int, words: list[int]) -> np.ndarray:
    """Folds at random, of one size, each with as many examples of a class as any other, but for one."""
    shuffled = np.random.Generator(np.random.PCG64(words)).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    rows = np.empty(len(labels), np.int32)
    rows[by_class] = np.arange(len(labels)) % count  # dealt out like cards
    return rows


def _checked(rows: Any, count: int, examples: int) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.dtype.kind not in "iu":
        raise TypeError(f"rows: expected whole numbers, the fold of every example, got {rows.dtype}")
    if rows.shape != (examples,):
        raise ValueError(f"rows: expected one fold for each of the {examples} examples, got shape {rows.shape}")
    found = set(np.unique(rows).tolist())
    if found != set(range(count)):
        raise ValueError(f"rows: expected the folds 0 to {count - 1}, each with an example, got {sorted(found)}")
    return rows.astype(np.int32)


def _rows(data: Tree, batch_size: int, lanes: Any) -> Source:
    """Batches of every lane's rows; those of a lane with fewer are filled up with its own rows at weight 0."""
    counts = [len(rows) for rows in lanes(0)]
    size = min(batch_size, max(counts))
    length = -(-max(counts) // size)
    filled = min(counts) < length * size
    if filled and "weight" not in data:
        examples = jax.tree.leaves(data)[0].shape[0]
        data = {**data, "weight": jnp.ones(examples, jnp.float32)}

    def order(epoch: int) -> Tree:
        rows = np.stack([np.resize(rows, length * size) for rows in lanes(epoch)]).astype(np.int32)
        return {"rows": jnp.asarray(rows), "counts": jnp.asarray(counts, jnp.int32), "data": data}

    return Source(length, order, _take(size, filled))


@lru_cache(maxsize=64)
def _take(size: int, filled: bool) -> Any:
    """One function for equal sources, so that they share compiled programs."""

    def take(order: Tree, i: Array) -> dict[str, Any]:
        rows = jax.lax.dynamic_slice_in_dim(order["rows"], i * size, size, axis=1)
        batch = jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0, mode="clip"), order["data"])
        if filled:
            weight = batch["weight"]
            real = i * size + jnp.arange(size)[None] < order["counts"][:, None]
            batch["weight"] = jnp.where(real.reshape(real.shape + (1,) * (weight.ndim - 2)), weight, 0)
        return batch

    return take


def side_by_side(sources: Sequence[Source]) -> Source:
    """Sources of one length and one shape of batches as one whose batches are ``[lanes, batch, …]``.

    Args:
        sources: One for each lane of a ``population(…, lanes_of_data=True)``.

    Returns:
        The source.

    Raises:
        TypeError: Something in ``sources`` is no source.
        ValueError: There are none; their lengths, or the shapes of their batches, differ.
    """
    sources = tuple(sources)
    if not sources:
        raise ValueError("sources: expected at least one, got none")
    for source in sources:
        if not isinstance(source, Source):
            raise TypeError(f"sources: expected sources such as stepax.shuffled makes, got {type(source).__name__}")
    if len({source.length for source in sources}) > 1:
        raise ValueError(f"sources: expected one length, got {[source.length for source in sources]} batches an epoch")
    shapes = [jax.eval_shape(lambda source=source: source.take(source.order(0), jnp.int32(0))) for source in sources]
    for number, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ValueError(f"sources: batches of source {number} are {shape}, those of source 0 {shapes[0]}")
    return Source(
        sources[0].length,
        lambda epoch: tuple(source.order(epoch) for source in sources),
        _stacked(tuple(source.take for source in sources)),
    )


@lru_cache(maxsize=64)
def _stacked(takes: tuple[Any, ...]) -> Any:
    def take(orders: tuple[Tree, ...], i: Array) -> Any:
        batches = [take(order, i) for take, order in zip(takes, orders, strict=True)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)

    return take
