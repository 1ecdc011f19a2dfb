"""Where the time of a training step goes: a trace of a few steps, read back as a table."""

import contextlib
import os
import pathlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from stepax.aligned import aligned, short
from stepax.arithmetic import flops
from stepax.checks import check_count, check_key
from stepax.compile import jit
from stepax.instructions import Instruction, instructions
from stepax.learner import Learner, State, check_learner
from stepax.loop import Chunks, capacity, chunk_program, taken
from stepax.source import Source, Stream, example, shuffled
from stepax.typing import Key

__all__ = ["Profile", "Share", "profile"]

# What an operation does that only runs others.
CONTAINERS = ("while", "conditional", "call", "async-start", "async-done")
HIT = "/jax/compilation_cache/cache_hits"
# Rows of each table.
ROWS = 20


class Share(NamedTuple):
    """A row of a :class:`Profile`.

    Attributes:
        name: A kind of operation, such as ``convolution``, or a layer, such as ``block_0/attention``.
        part: Of a layer ``forward``, ``backward``, or ``""`` for what is neither.
        seconds: Seconds a step. Where several operations run at once, each has its part of the time.
        share: Its part of the whole step.
        calls: Calls a step.
    """

    name: str
    part: str
    seconds: float
    share: float
    calls: float


class Profile(NamedTuple):
    """What :func:`profile` finds; ``str()`` of it is a table.

    Attributes:
        steps: How many steps were traced.
        seconds: Seconds a step, from call to result.
        busy: The part of it in which an operation runs.
        idle: The part in which the program runs but none of its operations, between one and the next.
        host: The part outside of the program: the order of the examples, the call, the way of the metrics back.
        operations: By kind of operation.
        layers: By the layer that the operations come from, and forward or backward. An operation that XLA fused of
            several counts for the one that gives the result.
        compile: Seconds to compile.
        cached: Whether they went into loading the program from the cache.
        memory: Bytes that the program needs, data and state among them; ``None`` where the compiler does not say.
        flops: Operations per second of matrix products and convolutions.
        folder: Where the trace is, for TensorBoard and Perfetto, or ``None`` where it was not to be kept.
    """

    steps: int
    seconds: float
    busy: float
    idle: float
    host: float
    operations: tuple[Share, ...]
    layers: tuple[Share, ...]
    compile: float
    cached: bool
    memory: int | None
    flops: float
    folder: pathlib.Path | None

    def __str__(self) -> str:
        return _text(self)


def profile(
    learner: Learner,
    data: Any,
    *,
    key: Key,
    batch_size: int | None,
    steps: int = 20,
    folder: str | os.PathLike | None = None,
) -> Profile:
    """Traces a few steps of a training as ``fit`` makes them, and says where their time goes.

    Args:
        learner: What to train, from the start.
        data: Training data: a dict of arrays, a source or a stream. What it takes to read a stream is not measured.
        key: The root of all randomness.
        batch_size: Examples a step; ``None`` takes all. Ignored for a source or a stream.
        steps: How many are traced.
        folder: Where the trace is kept, for ``tensorboard --logdir FOLDER`` (with its profile plugin) or
            https://ui.perfetto.dev; ``None`` keeps none.

    Returns:
        Times by kind of operation and by layer, and what the program costs beside.

    Raises:
        TypeError: No learner; data or ``key`` of the wrong kind.
        ValueError: Data that cannot be learnt from; ``steps`` is below 1.
        RuntimeError: The profiler runs already, or its trace holds no operations.
    """
    check_learner(learner)
    check_key(key)
    check_count("steps", steps)
    learner_key, data_key = jax.random.split(key)
    source = data if isinstance(data, Source | Stream) else shuffled(data, batch_size, data_key)
    state = jit(learner.init)(learner_key, example(source))
    count = flops(learner.step, *jax.eval_shape(lambda: (state, example(source))))
    with _opened(source) as (arrays, take, length):
        bounds = [(0, min(steps - start, length)) for start in range(0, steps, length)]
        start = time.perf_counter()
        with _hits() as hits:
            program = (
                jit(chunk_program(learner, take, length), donate=(0,)).lower(state, arrays(), *_numbers(0, 1)).compile()
            )
        spent = time.perf_counter() - start
        with tempfile.TemporaryDirectory() if folder is None else contextlib.nullcontext(folder) as place:
            wall, planes = _trace(program, state, arrays, bounds, pathlib.Path(place))
    if not planes:
        raise RuntimeError("the trace holds no operations: the profiler does not support this platform")
    known = instructions(program.as_text())
    spans = [max(end for _, end, _ in plane) - min(start for start, _, _ in plane) for plane in planes]
    times = [
        _shared([run for run in plane if known.get(run[2], _UNKNOWN).opcode not in CONTAINERS]) for plane in planes
    ]
    busy = sum(sum(seconds for seconds, _ in part.values()) for part in times) / len(planes)
    span = min(sum(spans) / len(planes), wall)
    step = wall / steps
    return Profile(
        steps,
        step,
        busy / wall,
        max(0.0, span - busy) / wall,
        (wall - span) / wall,
        _rows(times, steps, step, lambda name: (known.get(name, _UNKNOWN).kind, "")),
        _rows(times, steps, step, lambda name: (known.get(name, _UNKNOWN).layer, known.get(name, _UNKNOWN).part)),
        spent,
        bool(hits),
        _memory(program),
        count / step,
        pathlib.Path(folder) if folder is not None else None,
    )


_UNKNOWN = Instruction("", "other", "(other programs)", "")


@contextlib.contextmanager
def _opened(source: Source | Stream) -> Iterator[tuple[Any, Any, int]]:
    """What gives the arrays of an epoch, what takes batches from them, and how many there are."""
    if isinstance(source, Source):
        yield lambda: source.order(0), source.take, source.length
        return
    most = capacity(source)
    with contextlib.closing(Chunks(source, 0, 0, most)) as chunks:
        chunk = next(iter(chunks))
        yield lambda: chunk.arrays, taken(source), most


@contextlib.contextmanager
def _hits() -> Iterator[list[str]]:
    """An entry for each program that is loaded from the cache meanwhile."""
    hits: list[str] = []

    def note(event: str, **kwargs: Any) -> None:
        if event == HIT:
            hits.append(event)

    jax.monitoring.register_event_listener(note)
    try:
        yield hits
    finally:
        jax.monitoring.unregister_event_listener(note)


def _numbers(first: int, last: int) -> tuple[Any, Any]:
    return jnp.int32(first), jnp.int32(last)


def _trace(
    program: Any, state: State, arrays: Any, bounds: Sequence[tuple[int, int]], folder: pathlib.Path
) -> tuple[float, list[list[tuple[float, float, str]]]]:
    """The seconds of the steps, and of each device the operations: start, end, name."""
    state, metrics = program(state, arrays(), *_numbers(0, 1))
    jax.block_until_ready((state, metrics))
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # it would slow down what is measured
    before = set(folder.rglob("*.xplane.pb"))
    with jax.profiler.trace(folder, profiler_options=options):
        start = time.perf_counter()
        for first, last in bounds:
            state, metrics = program(state, arrays(), *_numbers(first, last))
            jax.device_get(metrics)
        jax.block_until_ready(state)
        wall = time.perf_counter() - start
    (path,) = set(folder.rglob("*.xplane.pb")) - before
    return wall, _operations(jax.profiler.ProfileData.from_file(str(path)))


def _operations(data: Any) -> list[list[tuple[float, float, str]]]:
    """Of each device the operations as start, end (in seconds) and name; of the host's threads where there is none."""
    found: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for plane in data.planes:
        begun: list[tuple[float, float, str, Any]] = []
        ends: dict[Any, float] = {}
        for line in plane.lines:
            for event in line.events:
                stats, end = dict(event.stats), event.start_ns + event.duration_ns
                # On a CPU an operation may go on in other threads; a second event tells of its end.
                if event.name.startswith("end: "):
                    ends[stats.get("_c")] = end
                elif "hlo_op" in stats:
                    begun.append((event.start_ns, end, str(stats["hlo_op"]), stats.get("_p")))
        for start, end, name, flow in begun:
            last = max(end, ends.get(flow, end) if flow is not None else end)
            found[plane.name].append((start / 1e9, last / 1e9, name))
    devices = [runs for name, runs in found.items() if name.startswith("/device:")]
    return devices or list(found.values())


def _shared(runs: Sequence[tuple[float, float, str]]) -> dict[str, tuple[float, int]]:
    """By name the seconds and the number of operations; at any moment the time is shared by all that run."""
    moments = sorted(
        [(start, 1, i) for i, (start, _, _) in enumerate(runs)] + [(end, 0, i) for i, (_, end, _) in enumerate(runs)]
    )
    seconds: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    active: set[int] = set()
    last = 0.0
    for moment, begins, i in moments:
        for other in active:
            seconds[runs[other][2]] += (moment - last) / len(active)
        last = moment
        if begins:
            active.add(i)
            calls[runs[i][2]] += 1
        else:
            active.discard(i)
    return {name: (seconds[name], calls[name]) for name in calls}


def _rows(times: Sequence[Mapping[str, tuple[float, int]]], steps: int, step: float, label: Any) -> tuple[Share, ...]:
    """The times by label, the longest first; of several devices the mean."""
    sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for part in times:
        for name, (seconds, calls) in part.items():
            own = sums[label(name)]
            own[0] += seconds / steps / len(times)
            own[1] += calls / steps / len(times)
    rows = [Share(*names, seconds, seconds / step, calls) for names, (seconds, calls) in sums.items()]
    return tuple(sorted(rows, key=lambda row: -row.seconds))


def _memory(program: Any) -> int | None:
    found = program.memory_analysis()
    if found is None:
        return None
    sizes = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    return int(sizes - found.alias_size_in_bytes)


def _text(found: Profile) -> str:
    where = f"{found.busy:.0%} busy, {found.idle:.0%} idle, {found.host:.0%} outside of the program"
    how = "loaded from the cache" if found.cached else "compiled"
    needed = "" if found.memory is None else f"; {short(found.memory, 'B')} needed"
    lines = [
        f"{found.steps} steps of {1e3 * found.seconds:.3g} ms: {where}; {short(found.flops, 'FLOP/s')}",
        f"{how} in {found.compile:.1f} s{needed}",
    ]
    for title, rows in {"operation": found.operations, "layer": found.layers}.items():
        lines += ["", *_table(title, rows)]
    return "\n".join(lines)


def _table(title: str, rows: Sequence[Share]) -> list[str]:
    cells = [
        [row.name, row.part, f"{1e3 * row.seconds:.3f}", f"{row.share:.1%}", f"{row.calls:,.1f}"] for row in rows[:ROWS]
    ]
    if rest := rows[ROWS:]:
        seconds, share = sum(row.seconds for row in rest), sum(row.share for row in rest)
        cells.append([f"{len(rest)} more", "", f"{1e3 * seconds:.3f}", f"{share:.1%}", ""])
    return aligned([[title, "pass", "ms a step", "share", "calls"], *cells], left=[title, "pass"])
