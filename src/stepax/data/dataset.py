"""What every loader returns: a training and a test batch, and what is known about them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["Dataset", "Rows", "Task"]

Rows = dict[str, np.ndarray]
"""A batch on the host: ``x [n, …]`` float32 and ``y``."""

Task = Literal["classification", "regression"]
"""Whether ``y`` holds labels or measured targets."""


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Training and test rows of one data set; ``train, test = dataset`` unpacks it.

    Attributes:
        train: ``{"x": [n, …], "y": [n, …]}`` of NumPy arrays. ``x`` is float32: images ``[n, height, width, channels]``
            in [0, 1], tables ``[n, columns]`` in raw units. ``y`` is int32 labels from 0, or float32 targets in raw
            units.
        test: The same for the test rows.
        name: What was loaded.
        task: ``"classification"`` or ``"regression"``.
        classes: The name of each label, in the order of the labels (of each column, where ``y`` has one column of 0 and
            1 per class); ``None`` for targets.
        features: The names of the columns of ``x``; ``None`` where they have none.
    """

    train: Rows
    test: Rows
    name: str
    task: Task
    classes: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None

    def __iter__(self) -> Iterator[Rows]:
        """Yield the training rows, then the test rows."""
        yield self.train
        yield self.test

    def __repr__(self) -> str:
        """Sizes instead of values: a data set of a gigabyte prints as one line."""
        classes = f" of {len(self.classes)} classes" if self.classes is not None else ""
        return f"Dataset({self.name!r}: {self.task}{classes}, train {_shapes(self.train)}, test {_shapes(self.test)})"


def _shapes(rows: Rows) -> str:
    """The shape of each array of a batch, as ``x [120, 4] y [120]``."""
    return " ".join(f"{name} {list(array.shape)}" for name, array in rows.items())
