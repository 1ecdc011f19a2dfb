"""Times what surrounds a training's steps: a call for every step, a scan written by hand, and ``fit``.

    python -m bench.overhead                 # every workload: ten minutes on two cores
    python -m bench.overhead cnn lstm

All three train the same model on the same data with the same compiler options, in turn. What they tell: whether a step
inside a compiled loop is as fast as the step alone (in the loop a convolution may lose its fast form), and what
``fit`` adds to the loop that a user would write.
"""

import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console

from bench import tables
from bench.machine import busy, described
from bench.rivals import task
from stepax import Learner, fit
from stepax.bench import WORKLOADS, lanes
from stepax.compile import jit

# Of one turn; and the steps of an epoch, by how long they take.
EPOCHS, FEWEST, MOST = 4, 8, 512

OUT, SAY = Console(highlight=False), Console(stderr=True, highlight=False)


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
        result["overhead"][name] = {"ms": measured(name, rounds, seconds), "busy": max(taken, busy() or 0.0)}
        tables.write(result, out)
    OUT.print(tables.overhead(result))
    SAY.print(f"written to {out}", soft_wrap=True)


def measured(name: str, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Milliseconds per step by form, one number for every round."""
    workload = WORKLOADS[name]
    learner = workload.learner()
    learner = learner if workload.lanes == 1 else lanes(learner, workload.lanes)
    few = _alone(learner, task.make(name, FEWEST * workload.batch_size))
    few(1)  # compiles
    steps = int(np.clip(seconds / EPOCHS / _per_step(few, 1), FEWEST, MOST))
    made = task.make(name, steps * workload.batch_size)
    forms = {form: run(learner, made) for form, run in (("alone", _alone), ("scan", _scan), ("fit", _fit))}
    for run in forms.values():
        run(1)
    spent: dict[str, list[float]] = {form: [] for form in forms}
    for _ in range(rounds):
        for form, run in forms.items():
            spent[form].append(1e3 * _per_step(run, EPOCHS))
    return spent


def _per_step(run: Callable[[int], int], epochs: int) -> float:
    start = time.perf_counter()
    steps = run(epochs)
    return (time.perf_counter() - start) / steps


def _alone(learner: Learner, made: task.Task) -> Callable[[int], int]:
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

    return run


def _scan(learner: Learner, made: task.Task) -> Callable[[int], int]:
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

    return run


def _fit(learner: Learner, made: task.Task) -> Callable[[int], int]:
    data = {"x": jnp.asarray(made.x), "y": jnp.asarray(made.y)}

    def run(epochs: int) -> int:
        done = fit(learner, data, key=jax.random.key(0), epochs=epochs, batch_size=made.batch_size, progress=False)
        return done.record["steps"]

    return run


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
