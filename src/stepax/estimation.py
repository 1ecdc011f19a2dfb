"""What a training is going to need, told from its program before anything is compiled or computed."""

import contextlib
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from stepax.aligned import short
from stepax.arithmetic import counted
from stepax.checks import check_count
from stepax.learner import Learner, check_learner
from stepax.program import inner
from stepax.source import Source, Stream, example
from stepax.typing import Tree

__all__ = ["Estimate", "estimate", "free_memory"]

# Memory that may be planned with: the allocator and what else runs need the rest.
USABLE = 0.9


class Estimate(NamedTuple):
    """What :func:`estimate` expects; all sizes in bytes.

    Attributes:
        parameters: What gradients change.
        optimizer: The optimizer's state, and what transformations keep.
        variables: The model's own statistics, and parameters that are frozen.
        data: Of a source all its data; of a stream the batches that lie on the device.
        working: What a step makes and needs no longer after it: activations, gradients. XLA decides in the end; in our
            workloads it was between two thirds and one and a half of this.
        total: The sum.
        free: What the device has left, or the machine where that is one; ``None`` where it does not say.
        flops: Operations of a step in matrix products and convolutions.
        batch_size: Examples a step, or ``None`` where batches are no arrays.
    """

    parameters: int
    optimizer: int
    variables: int
    data: int
    working: int
    total: int
    free: int | None
    flops: int
    batch_size: int | None

    @property
    def fits(self) -> bool:
        """Whether the total is less than what may be used of the free memory, or nothing is known of that."""
        return self.free is None or self.total <= USABLE * self.free

    @property
    def advice(self) -> list[str]:
        """What to try where it does not fit, the simplest first; empty where it does."""
        return _advice(self)

    def __str__(self) -> str:
        parts = {name: getattr(self, name) for name in ("parameters", "optimizer", "variables", "data", "working")}
        told = ", ".join(f"{name} {short(size, 'B')}" for name, size in parts.items() if size)
        free = "" if self.free is None else f"; {short(self.free, 'B')} free"
        return f"about {short(self.total, 'B')} ({told}){free}"


def estimate(learner: Learner, data: Any, batch_size: int | None) -> Estimate:
    """The memory and the arithmetic of a training step, from its program. Nothing is compiled or computed.

    Args:
        learner: What is to be trained.
        data: Training data, as in ``fit``.
        batch_size: Examples a step; ``None`` takes all. Ignored for a source or a stream.

    Returns:
        Sizes by their use, what is free, and advice where that is less.

    Raises:
        TypeError: No learner, or data that are neither a dict of arrays nor a source nor a stream.
        ValueError: A ``batch_size`` below 1.
    """
    check_learner(learner)
    batch, size = _batch(data, batch_size)
    state = jax.eval_shape(learner.init, jax.random.key(0), batch)
    jaxpr = jax.make_jaxpr(lambda state, batch: learner.step(state, batch))(state, batch).jaxpr
    held, optimizer, variables = map(_bytes, (state.params, (state.opt_state, state.extra), state.variables))
    # The new state takes the place of the old one.
    kept = set(_variables(jaxpr.outvars[: len(jax.tree.leaves(state))]))
    working = _peak(jaxpr, kept)
    rows = {leaf.shape[0] for leaf in jax.tree.leaves(batch) if leaf.shape}
    examples = rows.pop() if len(rows) == 1 else None
    total = held + optimizer + variables + size + working
    return Estimate(held, optimizer, variables, size, working, total, free_memory(), counted(jaxpr), examples)


def _batch(data: Any, batch_size: int | None) -> tuple[Any, int]:
    """The shapes of a batch, and the bytes of all the data that lie on the device."""
    if isinstance(data, Stream):
        from stepax.loop import capacity

        return jax.tree.map(_like, data.like), 2 * capacity(data) * _bytes(jax.tree.map(_like, data.like))
    if isinstance(data, Source):
        return jax.eval_shape(lambda: example(data)), _bytes(jax.eval_shape(lambda: data.order(0)))
    if not isinstance(data, Mapping) or not jax.tree.leaves(dict(data)):
        raise TypeError(f'data: expected a dict of arrays such as {{"x": …, "y": …}}, got {type(data).__name__}')
    check_count("batch_size", 1 if batch_size is None else batch_size)
    count = jax.tree.leaves(dict(data))[0].shape[0]
    size = count if batch_size is None else min(batch_size, count)
    whole = jax.tree.map(_like, dict(data))
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype), whole)
    return batch, _bytes(whole)


def _like(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype))


def _bytes(tree: Tree) -> int:
    return sum(_size(leaf) for leaf in jax.tree.leaves(tree))


def _size(aval: Any) -> int:
    return math.prod(aval.shape) * getattr(aval.dtype, "itemsize", 4)


def _peak(jaxpr: Any, kept: set[Any]) -> int:
    """The most bytes of intermediate results that are needed at once, in the order of the program."""
    last: dict[Any, int] = {}
    for i, equation in enumerate(jaxpr.eqns):
        last.update((var, i) for var in _variables(equation.invars))
    last.update((var, len(jaxpr.eqns)) for var in _variables(jaxpr.outvars))
    alive: dict[Any, int] = {}
    now = most = 0
    for i, equation in enumerate(jaxpr.eqns):
        made = {var: 0 if var in kept else _size(var.aval) for var in equation.outvars if var in last}
        alive.update(made)
        now += sum(made.values())
        most = max(most, now + max((_peak(part, set(_variables(part.outvars))) for part in inner(equation)), default=0))
        for var in set(_variables(equation.invars)):
            if last[var] == i:
                now -= alive.pop(var, 0)
    return most


def _variables(atoms: Any) -> list[Any]:
    return [atom for atom in atoms if not hasattr(atom, "val")]


def free_memory() -> int | None:
    """Bytes that are free on the first device; of a CPU those that the machine, or the container, has left."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0) if "bytes_limit" in stats else None
    found = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = pathlib.Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")))
    with contextlib.suppress(OSError, ValueError):
        limit, used = (
            int(pathlib.Path(f"/sys/fs/cgroup/memory.{name}").read_text(encoding="ascii"))
            for name in ("max", "current")
        )
        found.append(limit - used)
    return min(found, default=None)


def _advice(found: Estimate) -> list[str]:
    if found.fits or found.free is None:
        return []
    fixed, room = found.total - found.working, int(USABLE * found.free)
    state, tips = fixed - found.data, []
    if fixed < room and found.batch_size is not None and found.batch_size > 1:
        size = max(1, found.batch_size * (room - fixed) // found.working)
        divisors = [n for n in range(2, found.batch_size + 1) if found.batch_size % n == 0]
        parts = next((n for n in divisors if found.working <= n * (room - fixed)), 0)
        tips.append(f"a batch size of {size}")
        if parts:
            tips.append(f"stepax.accumulate(learner, {parts}), which makes the same step in {parts} parts")
    if found.working > state and jax.local_devices()[0].platform != "cpu":
        tips.append("stepax.precise(learner), which halves the activations")
    if found.data > state and found.data > room // 2:
        tips.append("the data as a stream (stepax.data.stream), which are then read as the model trains")
    return [*tips, "a smaller model"]
