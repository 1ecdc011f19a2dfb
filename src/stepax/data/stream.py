"""Batches of data larger than memory, read while a model trains."""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from stepax.checks import check_count, check_key
from stepax.data.stream_drawn import Drawing, Drawn
from stepax.data.stream_rows import Arrays, Decode, Examples, Rows
from stepax.data.stream_shards import Shards, found
from stepax.source import Stream
from stepax.typing import Key

__all__ = ["stream"]

# What is taken where nothing is said.
WINDOW, BUFFER, THREADS = 4, 1024, min(4, os.cpu_count() or 1)


def stream(
    source: Any,
    batch_size: int,
    key: Key | None = None,
    *,
    decode: Decode | None = None,
    examples: int | None = None,
    window: int | None = None,
    buffer: int | None = None,
    threads: int | None = None,
    prefetch: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Stream:
    """Batches that are read by threads while a model trains, and never all in memory.

    Which examples form a batch is a function of the key, the epoch and the batch's number: a stream has no state, and
    a run that was stopped goes on at its step. The last batch of an epoch is filled up with other examples at weight 0.

    Args:
        source: One of

            - a dict of arrays with one leading axis, of any size where they are mapped files
              (``np.load(path, mmap_mode="r")``): batches are, bit for bit, those of :func:`stepax.shuffled`, or of
              :func:`stepax.in_order` without a key;
            - a path: a folder of files, a pattern with ``*``, or one file, all ``.npz`` or ``.parquet`` with the same
              fields, or ``.array_record``. Their order is shuffled, and rows within ``window`` of them;
            - a sequence of examples (``__len__`` and ``__getitem__``), each a dict of arrays or numbers. It is asked
              from several threads;
            - a function ``epoch -> iterator`` of examples, such as a generator function. It yields the same examples
              whenever it is asked for the same epoch. To go on in the middle of an epoch it is gone through from the
              start. Examples are shuffled in a ``buffer``. One of epoch 0 is drawn at once, to see what it looks like.
        batch_size: Examples a batch, over all processes; more than there are takes all of them.
        key: The root of the orders; ``None``: in order, as for validation.
        decode: ``example -> example``, for one of them: a dict, or the bytes of a record in an ArrayRecord. Called in
            the threads. What is random belongs into the step: :func:`stepax.augment.augmented`.
        examples: How many of a function's examples are an epoch.
        window: How many files are mixed at once, 4 unless given; up to twice as many are held in memory.
        buffer: How many of a function's examples are mixed at once, 1,024 unless given.
        threads: How many read and decode: as many as there are cores, and 4 at most, unless given; a function has one.
        prefetch: How many batches wait for the loop, which itself reads a chunk ahead: at least one per
            thread, and two unless given.
        process_index: Which process this is, ``jax.process_index()``.
        process_count: How many share each batch: every one reads its own stretch of the rows, one after the other, and
            together they have the batch that a single process has.

    Returns:
        The stream.

    Raises:
        TypeError: An argument of the wrong type, or examples that are no dicts of numbers.
        ValueError: A number out of range, an argument that does not apply, no examples, arrays of several lengths, or
            files that are damaged or unlike the first.
        FileNotFoundError: There is nothing at the path.
        ImportError: A Parquet file without pyarrow, or an ArrayRecord without array_record.
        RuntimeError: While training: a batch cannot be read; the message names it.

    >>> data = {"x": np.arange(10.0), "y": np.arange(10)}
    >>> validation = stream(data, 4)
    >>> [batch["y"].tolist() for batch in validation.batches(0, 1)]
    [[4, 5, 6, 7], [8, 9, 0, 1]]
    """
    if key is not None:
        check_key(key)
    numbers = {"examples": examples, "window": window, "buffer": buffer, "threads": threads, "prefetch": prefetch}
    given = {name: value for name, value in numbers.items() if value is not None}
    for name, value in {"batch_size": batch_size, "process_count": process_count, **given}.items():
        check_count(name, value)
    check_count("process_index", process_index, 0)
    if process_index >= process_count:
        raise ValueError(f"process_index: expected less than process_count={process_count}, got {process_index}")
    if decode is not None and not callable(decode):
        raise TypeError(f"decode: expected a function example -> example, got {decode!r}")
    rows = _opened(source, key, decode, given)
    if not rows.count:
        raise ValueError(f"source: expected at least one example, got none in {type(source).__name__} {source!r:.80}")
    size = min(batch_size, rows.count)
    if size % process_count:
        raise ValueError(f"batch_size: {process_count} processes do not divide a batch of {size} examples")
    words = None if key is None else tuple(np.asarray(jax.random.key_data(key)).tolist())
    plan = _Plan(rows, size, process_index, process_count, words)
    threads = 1 if isinstance(rows, Drawn) else threads or THREADS
    return Stream(plan.length, plan.like, _Batches(plan, threads, max(threads, prefetch or 2 * threads)))


def _opened(source: Any, key: Key | None, decode: Decode | None, given: dict[str, int]) -> "Rows | Drawn":
    """What reads the examples; arguments that have no meaning for it are refused."""
    if isinstance(source, Mapping):
        _refuse(given, {"threads", "prefetch"}, "a dict of arrays")
        return Arrays(source, decode)
    if isinstance(source, str | os.PathLike):
        _refuse(given, {"threads", "prefetch"} | ({"window"} if key is not None else set()), "files", key)
        return Shards(found(source), decode, given.get("window", WINDOW))
    if hasattr(source, "__len__") and hasattr(source, "__getitem__") and not isinstance(source, np.ndarray | jax.Array):
        _refuse(given, {"threads", "prefetch"}, "a sequence")
        return Examples(source, decode)
    if callable(source):
        _refuse(given, {"examples", "prefetch"} | ({"buffer"} if key is not None else set()), "a function", key)
        if "examples" not in given:
            raise ValueError("examples: a function of examples needs to be told how many are an epoch")
        return Drawn(source, given["examples"], decode, given.get("buffer", BUFFER))
    raise TypeError(
        "source: expected a dict of arrays, a path of files, a sequence of examples, or a function epoch -> iterator, "
        f"got {type(source).__name__}"
    )


def _refuse(given: dict[str, int], allowed: set[str], source: str, key: Any = ()) -> None:
    """Raises on an argument without a meaning here."""
    for name, value in given.items():
        if name not in allowed:
            order = " in order (key=None)" if key is None and name in ("window", "buffer") else ""
            raise ValueError(f"{name}={value} does not apply to {source}{order}: expected it to be left out")


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Which examples form which batch."""

    rows: "Rows | Drawn"
    size: int
    process_index: int
    process_count: int
    words: tuple[int, ...] | None

    @property
    def length(self) -> int:
        """Batches an epoch."""
        return -(-self.rows.count // self.size)

    @property
    def missing(self) -> int:
        """Examples that fill up the last batch."""
        return -self.rows.count % self.size

    @property
    def share(self) -> slice:
        """This process's part of every batch."""
        part = self.size // self.process_count
        return slice(self.process_index * part, (self.process_index + 1) * part)

    @property
    def like(self) -> dict[str, Any]:
        """Shapes and dtypes of a batch here."""
        part = self.size // self.process_count
        like = self.rows.layout.like(part)
        if self.missing and "weight" not in like:
            like["weight"] = jax.ShapeDtypeStruct((part,), np.dtype(np.float32))
        return like

    def random(self, epoch: int) -> np.random.Generator | None:
        """The epoch's own generator; ``None`` in order."""
        return None if self.words is None else np.random.Generator(np.random.PCG64([*self.words, epoch]))

    def reader(self, epoch: int, first: int) -> "_Picked | Drawing":
        """What gives the epoch's batches by number, from ``first`` on."""
        if isinstance(self.rows, Drawn):
            return Drawing(self.rows, epoch, self.random(epoch), first, self.size, self.share)
        return _Picked(self.rows, self.rows.order(self.random(epoch), self.missing), self.size, self.share)

    def named(self, epoch: int, number: int, place: int) -> str:
        """Which example stands at this place of a batch of this process."""
        index = number * self.size + self.share.start + place
        if isinstance(self.rows, Drawn):
            return f"example {index} of those drawn"
        return self.rows.named(int(self.rows.order(self.random(epoch), self.missing)[index]))

    def weighted(self, batch: dict[str, Any], number: int) -> dict[str, Any]:
        """The batch with a weight, where an epoch does not divide: 0 for what fills it up."""
        if not self.missing:
            return batch
        numbers = np.arange(number * self.size, (number + 1) * self.size)[self.share]
        weight = batch["weight"] if "weight" in batch else np.ones(len(numbers), np.float32)
        weight[numbers >= self.rows.count] = 0
        return {**batch, "weight": weight}


class _Picked:
    """The batches of an epoch whose examples have numbers."""

    def __init__(self, rows: Rows, order: np.ndarray, size: int, share: slice) -> None:
        self._rows, self._order, self._size, self._share = rows, order, size, share

    def batch(self, number: int) -> dict[str, Any]:
        """The batch of this number."""
        return self._rows.read(self._order[number * self._size : (number + 1) * self._size][self._share])

    def close(self) -> None:
        """Nothing is open."""


@dataclasses.dataclass(frozen=True)
class _Numbered:
    """Batches as Grain asks for them: a sequence from the first one wanted to the end of the epoch."""

    plan: _Plan
    reader: "_Picked | Drawing"
    epoch: int
    first: int

    def __len__(self) -> int:
        return self.plan.length - self.first

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = self.first + index
        try:
            return self.plan.weighted(self.reader.batch(number), number)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise RuntimeError(f"stream: batch {number} of epoch {self.epoch} cannot be read: {what}") from error


@dataclasses.dataclass(frozen=True)
class _Batches:
    """``(epoch, first) -> iterator``, read ahead by Grain's threads.

    Grain sees whole batches: what it spends on an element would be fifty times the reading of a small row.
    """

    plan: _Plan
    threads: int
    prefetch: int

    def __call__(self, epoch: int, first: int = 0) -> Iterator[dict[str, Any]]:
        check_count("epoch", epoch, 0)
        check_count("first", first, 0)
        if first > self.plan.length:
            raise ValueError(f"first: expected at most the length {self.plan.length}, got {first}")
        return self._read(epoch, first)

    def named(self, epoch: int, number: int, place: int) -> str:
        """Where an example of a batch comes from, in words."""
        return self.plan.named(epoch, number, place)

    def _read(self, epoch: int, first: int) -> Iterator[dict[str, Any]]:
        import grain

        reader = self.plan.reader(epoch, first)
        options = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=self.prefetch)
        numbered: Any = _Numbered(self.plan, reader, epoch, first)
        batches: Any = iter(grain.MapDataset.source(numbered).to_iter_dataset(options))
        try:
            yield from batches
        finally:
            batches.close()
            reader.close()
