"""What every rival is given: data, a batch size, and the weights that stepax draws, by path."""

import pathlib
from typing import NamedTuple

import numpy as np

# An epoch of this size or less: as in a usual data set, its beginning costs little beside its steps.
EXAMPLES, NUMBERS = 16384, 2**24


class Task(NamedTuple):
    """One training.

    Attributes:
        workload: Its name among ``stepax.bench.WORKLOADS``.
        batch_size: Examples a step.
        lanes: How many models are trained; of several, every array in ``weights`` has a leading axis.
        x: The inputs.
        y: The labels.
        weights: Arrays by path, such as ``dense_0/kernel``.
    """

    workload: str
    batch_size: int
    lanes: int
    x: np.ndarray
    y: np.ndarray
    weights: dict[str, np.ndarray]

    @property
    def dtype(self) -> np.dtype:
        """Of the weights."""
        return next(iter(self.weights.values())).dtype

    def in_float64(self) -> "Task":
        """The same in float64, where equal programs agree in far more digits."""
        x = self.x.astype(np.float64) if np.issubdtype(self.x.dtype, np.floating) else self.x
        return self._replace(x=x, weights={path: array.astype(np.float64) for path, array in self.weights.items()})

    def rows(self, i: int) -> np.ndarray:
        """The rows of batch ``i`` in the order of the data, which begin anew at their end."""
        return np.arange(i * self.batch_size, (i + 1) * self.batch_size, dtype=np.int32) % len(self.x)

    def batch(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """The examples of :meth:`rows`."""
        rows = self.rows(i)
        return self.x[rows], self.y[rows]

    def lane(self, i: int) -> dict[str, np.ndarray]:
        """The weights of one of several models."""
        return self.weights if self.lanes == 1 else {path: array[i] for path, array in self.weights.items()}


def make(name: str, examples: int | None = None, batch_size: int | None = None, lanes: int | None = None) -> Task:
    """The task of a workload; what is not given is as there."""
    import jax
    from flax import traverse_util

    from stepax.bench import WORKLOADS

    workload = WORKLOADS[name]
    batch_size, lanes = batch_size or workload.batch_size, lanes or workload.lanes
    if examples is None:
        examples = min(EXAMPLES, NUMBERS // workload.data(1, 0)["x"].size) // batch_size * batch_size
    data = workload.data(examples, 0)
    learner = workload.learner()

    def params(key: jax.Array) -> dict[str, jax.Array]:
        batch = {field: array[:1] for field, array in data.items()}
        return traverse_util.flatten_dict(learner.init(key, batch).params, sep="/")

    with jax.enable_x64(False):
        key = jax.random.key(0)
        drawn = jax.jit(params)(key) if lanes == 1 else jax.jit(jax.vmap(params))(jax.random.split(key, lanes))
        weights = {path: np.asarray(array) for path, array in drawn.items()}
    return Task(name, batch_size, lanes, data["x"], data["y"], weights)


def save(task: Task, path: pathlib.Path) -> None:
    arrays = {f"weights:{name}": array for name, array in task.weights.items()}
    np.savez(path, **{**task._asdict(), "weights": len(arrays)}, **arrays)


def load(path: pathlib.Path) -> Task:
    with np.load(path) as file:
        weights = {name.partition(":")[2]: file[name] for name in file.files if name.startswith("weights:")}
        numbers = {name: file[name].item() for name in ("workload", "batch_size", "lanes")}
        return Task(**numbers, x=file["x"], y=file["y"], weights=weights)
