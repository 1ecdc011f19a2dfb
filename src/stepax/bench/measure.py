"""Times training as ``fit`` runs it, and what the machine could do at best."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.compilation_cache import compilation_cache

from stepax.arithmetic import flops
from stepax.bench.workloads import Workload
from stepax.compile import Program, jit
from stepax.learner import Learner, State
from stepax.loop import chunk_program, epochs
from stepax.source import Source, shuffled
from stepax.transforms.population import population
from stepax.transforms.precise import precise

__all__ = ["Timing", "matmul_peak", "measure"]

# About how many numbers the data of a workload hold.
NUMBERS = 2**22
# The settings of the compilation cache, with which it keeps every program.
CACHING: dict[str, Any] = {
    "jax_enable_compilation_cache": True,
    "jax_compilation_cache_dir": None,
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


class Timing(NamedTuple):
    """What was measured of one workload.

    Attributes:
        name: The workload.
        rates: Examples per second, one number per repetition; of several models the sum.
        step: Seconds per step, the median.
        cold: Seconds to compile, with nothing cached.
        warm: Seconds to have the program again from the compilation cache.
        memory: Bytes that the program needs, as the compiler counts, the data's among them; ``None`` where it does not
            say.
        flops: Operations per second: those of matrix products and convolutions in a step's program.
    """

    name: str
    rates: list[float]
    step: float
    cold: float
    warm: float
    memory: int | None
    flops: float


def matmul_peak(dtype: Any = jnp.float32, *, size: int = 2048, repetitions: int = 7) -> float:
    """Operations per second of a large square matrix product, the median of several.

    Args:
        dtype: Of the operands.
        size: Rows and columns.
        repetitions: How many products are timed.
    """
    a = jnp.ones((size, size), dtype)
    product = jit(lambda a: a @ a)
    product(a).block_until_ready()
    return 2 * size**3 / statistics.median(_seconds(lambda: product(a)) for _ in range(repetitions))


def measure(
    workload: Workload,
    *,
    repetitions: int = 5,
    seconds: float = 0.6,
    batch_size: int | None = None,
    compute: Any = jnp.float32,
) -> Timing:
    """Times the training of a workload through :func:`stepax.epochs`, which is what ``fit`` runs.

    Args:
        workload: What to time.
        repetitions: How often.
        seconds: About how long each time.
        batch_size: Examples a step; the workload's own unless given.
        compute: The dtype of the model's products; see :func:`stepax.precise`.

    Returns:
        The timing.
    """
    size = batch_size or workload.batch_size
    one = precise(workload.learner(), compute)
    learner = one if workload.lanes == 1 else population(one, workload.lanes)
    data: Any = workload.data(8 * size, 0)
    # Longer epochs where examples are small: in a usual data set an epoch's beginning costs little beside its steps.
    data = workload.data(size * min(64, max(8, 8 * NUMBERS // data["x"].size)), 0)
    source = shuffled(data, size, jax.random.key(0))
    state = jit(learner.init)(jax.random.key(1), {name: rows[:size] for name, rows in data.items()})
    cold, warm, memory = _compilation(learner, source, state)
    rates = list(_rates(learner, source, state, size * workload.lanes, repetitions, seconds))
    rate = statistics.median(rates)
    first = {name: rows[:size] for name, rows in data.items()}
    operations = workload.lanes * flops(one.step, jax.eval_shape(one.init, jax.random.key(1), first), first)
    step = size * workload.lanes / rate
    return Timing(workload.name, rates, step, cold, warm, memory, operations / step)


def _compilation(learner: Learner, source: Source, state: State) -> tuple[float, float, int | None]:
    """Seconds to compile the loop's own program with nothing cached and again from the cache, and the bytes it needs.

    The state is given away, as it is in training: it lies in memory once.
    """
    chunk = chunk_program(learner, source.take, source.length)
    config: Any = jax.config
    before = {name: getattr(config, name) for name in CACHING}
    arguments, memory = (state, source.order(0), jnp.int32(0), jnp.int32(source.length)), None
    times = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(2):
                jax.clear_caches()
                compilation_cache.reset_cache()
                for setting, value in {**CACHING, "jax_compilation_cache_dir": folder}.items():
                    jax.config.update(setting, value)
                program = Program(chunk, donate=(0,))
                start = time.perf_counter()
                program.compile(*arguments)
                times.append(time.perf_counter() - start)
                memory = program.memory()
    finally:
        compilation_cache.reset_cache()
        for setting, value in before.items():
            jax.config.update(setting, value)
    return times[0], times[1], memory


def _rates(
    learner: Learner, source: Source, state: State, examples: int, repetitions: int, seconds: float
) -> Iterator[float]:
    """Examples per second, again and again, each over about so many seconds of whole epochs."""
    loop = epochs(learner, source, state)
    for _ in range(2):  # the first compiles, the second finds everything in its place
        next(loop)
    for _ in range(repetitions):
        steps, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            _, metrics = next(loop)
            steps += len(metrics["loss"])
        yield steps * examples / (time.perf_counter() - start)


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start
