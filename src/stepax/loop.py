"""The compiled loop: chunks of an epoch, each one call of one program."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Generator, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from stepax.checks import check_count
from stepax.compile import Program, compile_seconds, jit, signature
from stepax.learner import Learner, State, check_learner
from stepax.memory import Memory
from stepax.placement import Beside, mesh_of, next_of, stacked
from stepax.processes import agreed, fetched, is_shared
from stepax.source import Source, Stream, Take
from stepax.stream_labels import labelled
from stepax.typing import Metrics, Tree

__all__ = ["Chunk", "Chunks", "capacity", "chunk_program", "copied", "epochs", "taken"]

# Bytes of a stream's batches in one chunk: many steps of a small model, few batches of a large one.
ROOM = 64 * 2**20


def epochs(
    learner: Learner,
    source: Source | Stream,
    state: State,
    *,
    chunk: int | None = None,
    seconds: float | None = None,
    room: int = ROOM,
) -> Generator[tuple[State, dict[str, np.ndarray]], None, None]:
    """Trains without end, epoch after epoch, from ``state.step`` on.

    Steps run in chunks, each one call of one compiled program; a chunk never crosses the end of an epoch. How the steps
    are cut into chunks changes no bit of the result. A user who wants another loop than ``fit`` writes it around this
    one::

        for state, metrics in stepax.epochs(learner, source, state, chunk=100):
            print(int(state.step), metrics["loss"].mean())
            if state.step >= 1000:
                break

    A stream is read in a thread of its own, a chunk ahead of the steps, and never beyond the end of an epoch. Closing
    the generator ends the thread.

    Args:
        learner: What to train.
        source: Where batches come from.
        state: Where to start; it stays valid.
        chunk: The most steps between two turns of the loop; ``None``: an epoch.
        seconds: About how long a turn may take; ``None``: as long as ``chunk`` says.
        room: Of a stream: the bytes of batches that may lie on the device at once; as many more wait to follow.
            There is room for two batches in any case.

    Yields:
        The state, which is borrowed until the next turn (``jax.tree.map(jnp.copy, state)`` keeps it), and the chunk's
        metrics, each ``[steps]``.

    Raises:
        TypeError: No learner, source or state; ``chunk`` or ``room`` is no whole number.
        ValueError: ``chunk`` or ``room`` is below 1; the step changes the state's structure, shapes or dtypes; a stream
            ends early, has a batch unlike the others, or labels outside the classes.
    """
    check_learner(learner, state)
    _check_source(source)
    check_count("room", room)
    if isinstance(source, Stream):
        source = labelled(source, learner, state)
    if chunk is not None:
        check_count("chunk", chunk)
    whole = capacity(source, room) if isinstance(source, Stream) else source.length
    most = min(chunk or whole, whole)
    state = copied(state)
    mesh, beside, shared = mesh_of(state), Beside(), is_shared(state)
    if isinstance(source, Stream):
        program = _program(
            learner, next_of if mesh else taken(source), most, (signature(state), whole, _layout(source.like))
        )
    else:
        program = _program(learner, source.take, most, signature((state, source.order(0))))
    position, planned = int(state.step), most if seconds is None else 1
    while True:
        epoch, done = divmod(position, source.length)
        with contextlib.closing(_opened(source, epoch, done, whole, mesh)) as chunks:
            for arrays, first, end in chunks:
                arrays = beside(state, arrays)
                while first < end:
                    last = min(first + planned, end)
                    compiled, started = compile_seconds(), time.perf_counter()
                    state, buffers = program(state, arrays, jnp.int32(first), jnp.int32(last))
                    if last == end:
                        chunks.prepare()
                    metrics = {name: values[: last - first] for name, values in fetched(buffers).items()}
                    spent = time.perf_counter() - started - (compile_seconds() - compiled)
                    yield state, metrics
                    if seconds is not None:
                        planned = max(1, min(most, 4 * planned, int((last - first) * seconds / max(spent, 1e-9))))
                        (planned,) = agreed(planned) if shared else (planned,)
                    position, first = position + last - first, last


def _check_source(source: Any) -> None:
    if not isinstance(source, Source | Stream):
        raise TypeError(
            "source: expected a stepax.Source, as stepax.shuffled(data, batch_size, key) makes it, "
            f"or a stream of stepax.data.stream, got {type(source).__name__}"
        )


@lru_cache(maxsize=16)
def _program(learner: Learner, take: Callable, capacity: int, shapes: Hashable) -> Program:
    """A second training of the same learner, on data of the same shapes, compiles nothing."""
    del shapes
    return Program(chunk_program(learner, take, capacity), donate=(0,))


def copied(state: State) -> State:
    """The same state in memory of its own, which a donated step cannot take."""
    return jit(_copy)(state)


def _copy(state: State) -> State:
    return jax.tree.map(_strong, state)


def _strong(leaf: jax.Array) -> jax.Array:
    """A copy whose dtype holds in every promotion, as that of an array from a checkpoint does."""
    leaf = jnp.copy(leaf)
    return (
        leaf
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended)
        else jax.lax.convert_element_type(leaf, leaf.dtype)
    )


def chunk_program(learner: Learner, take: Callable, capacity: int) -> Callable[..., tuple[State, Metrics]]:
    """Steps ``first`` to ``last`` of an epoch, with their metrics in buffers of a fixed length.

    The bounds are arguments: one program serves chunks of any length.
    """

    def run(state: State, order: Tree, first: jax.Array, last: jax.Array) -> tuple[State, Metrics]:
        after, like = jax.eval_shape(lambda state: learner.step(state, take(order, first)), state)
        _check_unchanged(state, after)

        def body(i: jax.Array, carry: tuple[State, Metrics]) -> tuple[State, Metrics]:
            state, buffers = carry
            state, metrics = learner.step(state, take(order, i))
            return state, {name: buffers[name].at[i - first].set(value) for name, value in metrics.items()}

        buffers = {name: jnp.zeros((capacity, *value.shape), value.dtype) for name, value in like.items()}
        return jax.lax.fori_loop(first, last, body, (state, buffers))

    return run


def _check_unchanged(before: Tree, after: Tree) -> None:
    """A step is the body of a loop: it must give back what it took."""
    first, second = (dict(jax.tree_util.tree_flatten_with_path(tree)[0]) for tree in (before, after))
    for path in [*first, *(path for path in second if path not in first)]:
        was, now = (
            f"{tree[path].dtype}{list(tree[path].shape)}" if path in tree else "absent" for tree in (first, second)
        )
        if was != now:
            raise ValueError(
                "step: the learner's step must keep the state's shapes; "
                f"state{jax.tree_util.keystr(path)} was {was} and became {now}"
            )


class Chunk(NamedTuple):
    """Batches on the device.

    Attributes:
        arrays: What ``take`` of a source reads, or :func:`taken` of a stream.
        first: The first batch in ``arrays`` that is meant.
        last: The one after the last.
    """

    arrays: Tree
    first: int
    last: int


def _opened(source: Source | Stream, epoch: int, first: int, most: int, mesh: Mesh | None) -> "_Whole | Chunks":
    if isinstance(source, Stream):
        return Chunks(source, epoch, first, most, mesh)
    return _Whole(iter([Chunk(source.order(epoch), first, source.length)]))


@dataclasses.dataclass(frozen=True)
class _Whole:
    """An epoch of a source, as one chunk: everything is in memory already."""

    chunks: Iterator[Chunk]

    def __iter__(self) -> Iterator[Chunk]:
        return self.chunks

    def prepare(self) -> None:
        """Nothing is to be read."""

    def close(self) -> None:
        """Nothing is open."""


class Chunks:
    """An epoch of a stream in chunks: one lies on the device, while a thread reads the next.

    What goes wrong while reading is raised where the batch in question would come, and not before.

    Args:
        stream: What to read.
        epoch: Which epoch.
        first: Its first batch that is wanted.
        most: Batches a chunk.
        mesh: Where the training's state lies, if not on a single device.
    """

    def __init__(self, stream: Stream, epoch: int, first: int, most: int, mesh: Mesh | None = None) -> None:
        self._mesh = mesh
        self._like, structure = jax.tree.flatten(stream.like)
        self._structure: Any = structure
        self._stream, self._epoch, self._position, self._most = stream, epoch, first, most
        self._batches: Any = None  # an iterator, once the thread has opened it
        self._thread = ThreadPoolExecutor(1, "stepax-chunks")
        self._reading: Future[tuple[Tree, int]] | None = None
        self._next: Chunk | None = None
        self._error: Exception | None = None
        self._closed = False
        self._size, rows = _rows(stream), most * _rows(stream)
        self._rows = jax.device_put(np.arange(rows, dtype=np.int32))
        # Dtypes here, since whether 64 bits are on is a matter of the thread.
        self._memory = Memory(
            [
                jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), jax.dtypes.canonicalize_dtype(leaf.dtype))
                for leaf in self._like
            ]
        )
        self._start()

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        chunk = self._next or self._put()
        self._next = None
        self._start()
        return chunk

    def prepare(self) -> None:
        """Waits until the next chunk is read, and sends it on its way to the device."""
        if self._reading is not None and self._reading.exception() is None:
            self._next = self._put()

    def close(self) -> None:
        """Ends the thread and the stream's iterator; a batch that is being read is waited for."""
        self._closed = True
        self._thread.shutdown(wait=True, cancel_futures=True)
        getattr(self._batches, "close", lambda: None)()

    def _start(self) -> None:
        count = min(self._most, self._stream.length - self._position)
        if count or self._error is not None:
            self._reading = self._thread.submit(self._read, self._position, count)
            self._position += count

    def _put(self) -> Chunk:
        if self._reading is None:
            raise StopIteration
        (arrays, count), self._reading = self._reading.result(), None
        if self._mesh is not None:
            batches = jax.tree.map(lambda leaf: leaf.reshape(-1, self._size, *leaf.shape[1:]), arrays)
            return Chunk(stacked(batches, self._mesh), 0, count)
        return Chunk({"rows": self._rows, "data": jax.device_put(arrays)}, 0, count)

    def _read(self, first: int, count: int) -> tuple[Tree, int]:
        """The next batches, stacked; fewer where reading fails, which the next call then tells."""
        if self._error is not None:
            raise self._error
        if self._batches is None:
            self._batches = iter(self._stream.batches(self._epoch, first))
        size, arrays = self._size, self._memory.arrays()
        done = 0
        try:
            for done in range(count):
                for array, leaf in zip(arrays, self._leaves(first + done), strict=True):
                    array[done * size : (done + 1) * size] = leaf
        except Exception as error:
            if not done:
                raise
            self._error, count = error, done
        return jax.tree.unflatten(self._structure, arrays), count

    def _leaves(self, number: int) -> list[np.ndarray]:
        """The arrays of the next batch, which must be like all the others."""
        where = f"batch {number} of epoch {self._epoch}"
        if self._closed:
            raise RuntimeError(f"source: closed before {where}")
        batch = next(self._batches, _END)
        if batch is _END:
            raise ValueError(f"source: the stream ended before {where}, and has a length of {self._stream.length}")
        leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, batch))
        if structure != self._structure or any(
            leaf.shape != like.shape or leaf.dtype != like.dtype for leaf, like in zip(leaves, self._like, strict=True)
        ):
            found, expected = _described(jax.tree.map(np.asarray, batch)), _described(self._stream.like)
            raise ValueError(f"source: {where} is {found}; expected {expected}, as the stream tells")
        return leaves


_END = object()


def taken(stream: Stream) -> Take:
    """What takes a batch from a stream's chunk, by the very operations that a source in memory uses."""
    return Take(_rows(stream), _rows(stream))


def _rows(stream: Stream) -> int:
    """The leading axis of a batch."""
    sizes = {leaf.shape[:1] for leaf in jax.tree.leaves(stream.like)}
    if len(sizes) != 1 or () in sizes:
        raise ValueError(
            f"source: expected a stream of batches with one leading axis, and its batches are {_described(stream.like)}"
        )
    return sizes.pop()[0]


def capacity(stream: Stream, room: int = ROOM) -> int:
    """How many batches of a stream fit in so many bytes; at least two, at most an epoch.

    XLA would compile the taking of the only batch otherwise than that of one among several, with other bits.
    """
    size = sum(int(np.prod(leaf.shape)) * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(stream.like))
    return min(max(2, room // max(size, 1)), stream.length)


def _layout(like: Tree) -> Hashable:
    leaves, structure = jax.tree.flatten(like)
    return structure, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)


def _described(batch: Any) -> str:
    leaves = jax.tree_util.tree_flatten_with_path(batch)[0]
    return ", ".join(
        f"{jax.tree_util.keystr(path, simple=True, separator='/')}: {leaf.dtype}{list(leaf.shape)}"
        for path, leaf in leaves
    )
