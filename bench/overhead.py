"""Times what surrounds a training's steps: a call for every step, a scan written by hand, and ``fit``.

    python -m bench.overhead                 # every workload: ten minutes on two cores
    python -m bench.overhead cnn lstm

All three train the same model on the same data with the same compiler options, in turn. What they tell: whether a step
inside a compiled loop is as fast as the step alone (in the loop a convolution may lose its fast form), and what
``fit`` adds to the loop that a user would write. That is of two kinds, told apart: what it takes to begin, whatever the
length of the training, up to the end of the first epoch, in whose course it finds out how many steps a report is to
have, less the steps in it; and what it adds to every step after that.
"""

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax.experimental.compilation_cache import compilation_cache
from rich.console import Console

from bench import tables
from bench.machine import busy, described
from bench.rivals import task
from stepax import Learner, Report, collected, population, training
from stepax.bench import WORKLOADS, Workload
from stepax.compile import jit

# Of one turn; and the steps of an epoch, by how long they take.
EPOCHS, FEWEST, MOST = 4, 8, 512

# A table in a file or a pipe is as wide as the house's lines.
OUT, SAY = Console(highlight=False), Console(stderr=True, highlight=False)
if not OUT.is_terminal:
    OUT.width = 120


class Turn(NamedTuple):
    """What one turn took, in seconds.

    Attributes:
        begin: Before the first step; 0 where there is nothing but steps.
        step: Each step.
    """

    begin: float
    step: float


def main(
    workloads: tyro.conf.Positional[tuple[str, ...]] = (),
    rounds: int = 5,
    seconds: float = 4.0,
    out: pathlib.Path | None = None,
) -> None:
    """Times a step alone, a scan written by hand, and fit.

    Args:
        workloads: Which ones, of those that `stepax bench` has; without, all.
        rounds: How often each trains in turn.
        seconds: About how long each time, in four epochs.
        out: The file to write, bench/results/<date>-<machine>.json unless given. What else is in it stays.
    """
    if unknown := [name for name in workloads if name not in WORKLOADS]:
        raise SystemExit(f"workloads: no {unknown[0]!r}; there are {', '.join(WORKLOADS)}")
    result: dict[str, Any] = {**described(), "overhead": {}}
    out = out or tables.RESULTS / f"{result['date']}-{result['name']}.json"
    for name in workloads or WORKLOADS:
        SAY.print(name)
        taken = busy() or 0.0
        result["overhead"][name] = {**measured(name, rounds, seconds), "busy": max(taken, busy() or 0.0)}
        tables.write(result, out)
    OUT.print(tables.overhead(result))
    SAY.print(f"written to {out}", soft_wrap=True)


def measured(name: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Milliseconds per step by form, and those in which ``fit`` begins, one number for every round.

    ``first`` are those of its first training, in which it compiles with nothing cached.
    """
    workload = WORKLOADS[name]
    learner = _learner(workload)
    few = _alone(learner, task.make(name, FEWEST * workload.batch_size))
    few(1)  # compiles
    steps = int(np.clip(seconds / EPOCHS / few(1).step, FEWEST, MOST))
    made = task.make(name, steps * workload.batch_size)
    # A learner of its own: nothing that the others have compiled is the same function.
    forms = {"alone": _alone(learner, made), "scan": _scan(learner, made), "fit": _fit(_learner(workload), made)}
    with _uncached():
        first = forms["fit"](2)
    for form in ("alone", "scan"):
        forms[form](1)
    turns = [{form: run(EPOCHS) for form, run in forms.items()} for _ in range(rounds)]
    return {
        "ms": {form: [1e3 * turn[form].step for turn in turns] for form in forms},
        "begin_ms": {"first": 1e3 * first.begin, "again": [1e3 * turn["fit"].begin for turn in turns]},
    }


def _learner(workload: Workload) -> Learner:
    learner = workload.learner()
    return learner if workload.lanes == 1 else population(learner, workload.lanes)


@contextlib.contextmanager
def _uncached() -> Iterator[None]:
    """Without the compilation cache, in which an earlier run may have left the same programs."""
    config: Any = jax.config
    before = config.jax_enable_compilation_cache
    try:
        _set_cache(False)
        yield
    finally:
        _set_cache(before)


def _set_cache(on: bool) -> None:
    jax.config.update("jax_enable_compilation_cache", on)
    compilation_cache.reset_cache()


def _steps_only(run: Callable[[int], int]) -> Callable[[int], Turn]:
    """The turn of a loop in which everything is ready; it returns how many steps it made."""

    def timed(epochs: int) -> Turn:
        start = time.perf_counter()
        steps = run(epochs)
        return Turn(0.0, (time.perf_counter() - start) / steps)

    return timed


def _alone(learner: Learner, made: task.Task) -> Callable[[int], Turn]:
    """A call of the compiled step for every batch; all batches lie on the device."""
    step = jit(learner.step, donate=(0,))
    batches = [
        dict(zip("xy", map(jnp.asarray, made.batch(i)), strict=True)) for i in range(len(made.x) // made.batch_size)
    ]
    state = jit(learner.init)(jax.random.key(0), batches[0])

    def run(epochs: int) -> int:
        nonlocal state
        for _ in range(epochs):
            for batch in batches:
                state, metrics = step(state, batch)
        jax.block_until_ready((state, metrics))
        return epochs * len(batches)

    return _steps_only(run)


def _scan(learner: Learner, made: task.Task) -> Callable[[int], Turn]:
    """An epoch as one scan over the rows of its batches, with the losses brought to the host."""
    data, size, random = {"x": jnp.asarray(made.x), "y": jnp.asarray(made.y)}, made.batch_size, np.random.default_rng(0)
    state = jit(learner.init)(jax.random.key(0), jax.tree.map(lambda array: array[:size], data))

    def epoch(state: Any, data: Any, order: Any) -> Any:
        def body(state: Any, rows: Any) -> Any:
            return learner.step(state, jax.tree.map(lambda array: array[rows], data))

        return jax.lax.scan(body, state, order)

    compiled = jit(epoch, donate=(0,))

    def run(epochs: int) -> int:
        nonlocal state
        for _ in range(epochs):
            order = random.permutation(len(made.x)).astype(np.int32).reshape(-1, size)
            state, metrics = compiled(state, data, order)
            jax.device_get(metrics)
        return epochs * len(order)

    return _steps_only(run)


def _fit(learner: Learner, made: task.Task) -> Callable[[int], Turn]:
    """``fit`` without its progress bar, in its two halves, between which the clock can be read."""
    data = {"x": jnp.asarray(made.x), "y": jnp.asarray(made.y)}

    def run(epochs: int) -> Turn:
        seen: list[tuple[float, int]] = []

        def noted(reports: Iterator[Report]) -> Iterator[Report]:
            for report in reports:
                if report.row is not None:
                    seen.append((time.perf_counter(), report.step))
                yield report

        start = time.perf_counter()
        reports = training(learner, data, key=jax.random.key(0), epochs=epochs, batch_size=made.batch_size)
        done = collected(noted(reports), {})
        (begun, first), end = seen[0], time.perf_counter()
        step = (end - begun) / (done.record["steps"] - first)
        return Turn(begun - start - first * step, step)

    return run


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
