"""Times a step of an agent's memory at several capacities in turn: insert, draw a batch, update.

    python -m bench.replay                 # a minute on two cores
    python -m bench.replay --lanes 8 --batch-size 256

The buffer is full, and the steps are one compiled loop in which it is written in place: what a step takes must not grow
with the capacity, but for what a cache of the processor no longer holds.
"""

import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import tyro
from rich.console import Console
from rich.table import Table

from bench import tables
from bench.machine import busy, described
from stepax.compile import jit
from stepax.rl.prioritised import prioritised
from stepax.rl.replay import Replay, n_step, uniform

# Of one call of the compiled loop, and numbers in an observation.
STEPS, WIDTH = 500, 4
KINDS = ("uniform", "prioritised", "prioritised, 3 steps")
RESULTS = tables.RESULTS / "replay"

OUT, SAY = Console(highlight=False), Console(stderr=True, highlight=False)


def main(
    capacities: tuple[int, ...] = (10_000, 100_000, 1_000_000),
    lanes: int = 1,
    batch_size: int = 32,
    rounds: int = 9,
    seconds: float = 0.5,
    out: pathlib.Path | None = None,
) -> None:
    """Times every kind of replay.

    Args:
        capacities: How many transitions are kept.
        lanes: Transitions inserted with each step.
        batch_size: Entries drawn with each step.
        rounds: How often each is timed in turn.
        seconds: How long each time.
        out: The file to write, bench/results/replay/<date>-<machine>.json unless given.
    """
    taken = busy() or 0.0
    found = measured(capacities, lanes, batch_size, rounds, seconds)
    settings = {"lanes": lanes, "batch_size": batch_size, "busy": max(taken, busy() or 0.0)}
    result: dict[str, Any] = {**described(), **settings, "microseconds": found}
    out = out or RESULTS / f"{result['date']}-{result['name']}.json"
    tables.write(result, out)
    OUT.print(table(result))
    SAY.print(f"written to {out}", soft_wrap=True)


def measured(
    capacities: tuple[int, ...], lanes: int, batch_size: int, rounds: int, seconds: float
) -> dict[str, dict[str, list[float]]]:
    """Microseconds per step by kind and capacity, one number for every round."""
    found: dict[str, dict[str, list[float]]] = {}
    for kind in KINDS:
        runs = {str(capacity): timed(kind, capacity, lanes, batch_size) for capacity in capacities}
        for run in runs.values():
            run(0.0)  # compiles
        found[kind] = {capacity: [] for capacity in runs}
        for i in range(rounds):
            SAY.print(f"{kind}: round {i + 1} of {rounds}")
            for capacity, run in runs.items():
                found[kind][capacity].append(run(seconds))
    return found


def timed(kind: str, capacity: int, lanes: int, batch_size: int) -> Callable[[float], float]:
    """A function that steps for so many seconds and returns the microseconds of a step."""
    replay = made(kind, capacity, lanes)
    program = jit(steps(replay, lanes, batch_size), donate=(0,))
    buffer, root, calls = full(replay, kind, capacity), jax.random.key(0), 0

    def run(seconds: float) -> float:
        nonlocal buffer, calls
        begun, first = time.perf_counter(), calls
        while calls == first or time.perf_counter() - begun < seconds:
            buffer = jax.block_until_ready(program(buffer, jax.random.fold_in(root, calls)))
            calls += 1
        return 1e6 * (time.perf_counter() - begun) / (calls - first) / STEPS

    return run


def made(kind: str, capacity: int, lanes: int) -> Replay:
    if kind == "uniform":
        return uniform(capacity)
    inner = prioritised(capacity)
    return inner if kind == "prioritised" else n_step(inner, 3, 0.99, lanes=lanes)


def full(replay: Replay, kind: str, capacity: int) -> Any:
    """A buffer without a free place."""
    one = transitions(jnp.zeros((), jnp.int32), 1)
    empty = replay.init(jax.tree.map(lambda leaf: leaf[0], one))
    several = kind == KINDS[2]
    rows = transitions(jnp.zeros((), jnp.int32), capacity) | ({"discount": jnp.ones(capacity)} if several else {})
    inner = made(kind.partition(",")[0], capacity, 1)
    filled = jit(inner.insert)(empty.buffer if several else empty, rows)
    return empty._replace(buffer=filled) if several else filled


def steps(replay: Replay, lanes: int, batch_size: int) -> Callable[[Any, Any], Any]:
    """A loop that does with a buffer what an agent does."""

    def step(buffer: Any, now: tuple[Any, Any]) -> tuple[Any, None]:
        i, key = now
        draw, error = jax.random.split(key)
        buffer = replay.insert(buffer, transitions(i, lanes))
        drawn = replay.sample(buffer, draw, batch_size)
        errors = jax.random.exponential(error, (batch_size,)) + drawn.batch["observation"].sum(1)
        return replay.update(buffer, drawn.indices, errors), None

    def run(buffer: Any, key: Any) -> Any:
        return jax.lax.scan(step, buffer, (jnp.arange(STEPS), jax.random.split(key, STEPS)))[0]

    return run


def transitions(i: Any, lanes: int) -> dict[str, Any]:
    """Those of step ``i``, of which every hundredth ends an episode."""
    observation = jnp.full((lanes, WIDTH), i % 7, jnp.float32)
    return {
        "observation": observation,
        "action": jnp.full(lanes, i % 2, jnp.int32),
        "reward": jnp.ones(lanes),
        "terminated": jnp.full(lanes, i % 100 == 99),
        "truncated": jnp.zeros(lanes, bool),
        "next_observation": observation,
    }


def table(result: dict[str, Any]) -> Table:
    """Medians, and how much longer a step takes at the greatest capacity than at the smallest."""
    title = f"µs per step, {result['lanes']} inserted and {result['batch_size']} drawn"
    shown = Table(title=title, title_justify="left", title_style="bold")
    shown.add_column("", no_wrap=True)
    capacities = sorted(next(iter(result["microseconds"].values())), key=int)
    for capacity in capacities:
        shown.add_column(f"{int(capacity):,}", justify="right")
    shown.add_column("last / first", justify="right", no_wrap=True)
    for kind, times in result["microseconds"].items():
        # In the same round: a machine that slows down changes nothing.
        pairs = zip(times[capacities[-1]], times[capacities[0]], strict=True)
        low, middle, high = tables.quartiles([last / first for last, first in pairs])
        medians = [f"{statistics.median(times[capacity]):.1f}" for capacity in capacities]
        shown.add_row(kind, *medians, f"{middle:.2f}  ({low:.2f} – {high:.2f})")
    return shown


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
