"""stepax, as ``fit`` runs it: data on the device, chunks of an epoch as one compiled program."""

import os
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from bench.rivals import SPREAD
from bench.rivals.task import Task
from stepax import State, epochs, in_order, mesh, population, shard, shuffled
from stepax.bench import WORKLOADS
from stepax.reports import PACE


def trainer(task: Task, form: str) -> "_Trainer":
    return _Trainer(task, devices(task.batch_size) if form == SPREAD else 1)


def devices(batch_size: int) -> int:
    """As many as there are cores, and can share a batch equally; JAX then has them, if it has not begun yet."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:  # it has, with as many as there are
        count = min(count, jax.device_count())
    return max(n for n in range(1, count + 1) if batch_size % n == 0)


class _Trainer:
    def __init__(self, task: Task, count: int = 1) -> None:
        self.task = task
        learner = WORKLOADS[task.workload].learner()
        self.learner = learner if task.lanes == 1 else population(learner, task.lanes)
        if count > 1:
            self.learner = shard(self.learner, mesh(data=count))

    def chunks(self) -> Iterator[int]:
        source = shuffled({"x": self.task.x, "y": self.task.y}, self.task.batch_size, jax.random.key(0))
        for _, metrics in epochs(self.learner, source, self._start(), seconds=PACE):
            yield len(metrics["loss"]) * self.task.batch_size * self.task.lanes

    def losses(self, steps: int) -> np.ndarray:
        batches = [self.task.batch(i) for i in range(steps)]
        data = {field: np.concatenate(parts) for field, parts in zip("xy", zip(*batches, strict=True), strict=True)}
        _, metrics = next(epochs(self.learner, in_order(data, self.task.batch_size), self._start()))
        return metrics["loss"]

    def _start(self) -> State:
        params = traverse_util.unflatten_dict(jax.tree.map(jnp.asarray, self.task.weights), sep="/")

        def with_these(key: jax.Array, params: dict) -> State:
            x, y = self.task.batch(0)
            state = self.learner.init(key, {"x": x, "y": y})
            jax.tree.map(lambda mine, given: np.testing.assert_equal(given.shape, mine.shape), state.params, params)
            return jax.tree.map(self._cast, state._replace(params=params))

        return jax.jit(with_these)(jax.random.key(1), params)

    def _cast(self, array: jax.Array) -> jax.Array:
        return array.astype(self.task.dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array
