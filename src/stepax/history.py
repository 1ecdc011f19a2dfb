"""What a training remembers beside its state: an epoch's sums, the history, and for early stopping the best state."""

import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stepax.compile import jit
from stepax.learner import State
from stepax.loop import copied
from stepax.typing import Array

__all__ = ["Best", "Sums"]


class Sums:
    """The metrics of an epoch so far, each step by its weight; of a population per lane.

    Steps are added one after the other, so that chunks of any length give the same bits.
    """

    def __init__(self, totals: dict[str, Any] | None = None) -> None:
        self._totals = {name: np.asarray(total, np.float64) for name, total in (totals or {}).items()}

    def add(self, metrics: dict[str, np.ndarray]) -> None:
        """Takes a chunk's metrics in, each ``[steps]`` or ``[steps, lanes]``."""
        count = len(next(iter(metrics.values()), ()))
        weight = np.asarray(metrics.get("weight", np.ones(count)), np.float64)
        for name, values in {**metrics, "weight": weight}.items():
            # A value that does not count may be infinite, and 0 · inf is not 0.
            terms = weight if name == "weight" else np.where(weight == 0, 0, values) * weight
            start = self._totals.get(name, np.zeros(terms.shape[1:]))
            self._totals[name] = np.add.accumulate(np.concatenate([start[None], terms]))[-1]

    def means(self) -> dict[str, Any]:
        """The weighted means: numbers, or lists of one number per lane."""
        totals = dict(self._totals)
        weight = totals.pop("weight", np.zeros(()))
        with np.errstate(invalid="ignore"):  # of an epoch that does not count at all there is no mean
            return {name: np.where(weight == 0, np.nan, total / weight).tolist() for name, total in totals.items()}

    def kept(self) -> dict[str, Any]:
        """What ``Sums(…)`` goes on from, as JSON can hold it."""
        return {name: total.tolist() for name, total in self._totals.items()}


class Best:
    """Early stopping: the best state so far, and how many epochs ago it was; in a population for every lane by itself.

    A lane whose patience has ended keeps its best state, as a training of its own would, while others go on.

    Args:
        patience: After how many epochs without improvement to stop; ``None``: never.
        monitor: The measure to watch.
        better: ``(new, best) -> bool``.
    """

    def __init__(
        self, patience: int | None, monitor: str, better: Callable[[float, float], bool] | None = None
    ) -> None:
        self.patience, self.monitor, self.better = patience, monitor, better or operator.lt
        self.state: State | None = None
        self._value, self._age, self._epoch = np.zeros(()), np.zeros((), int), np.zeros((), int)

    def see(self, state: State, row: dict[str, Any]) -> str:
        """Takes an epoch's row in; returns why to stop, or an empty string."""
        if self.patience is None:
            return ""
        value = np.asarray(row[self.monitor], np.float64)
        if self.state is None:
            self.state, self._value = copied(state), value
            self._age, self._epoch = np.zeros(value.shape, int), np.full(value.shape, row["epoch"])
        else:
            pairs = zip(value.reshape(-1).tolist(), self._value.reshape(-1).tolist(), strict=True)
            improved = np.reshape([self._improves(new, old) for new, old in pairs], value.shape)
            improved &= self._age < self.patience
            self._take(improved, state)
            self._value, self._epoch = (
                np.where(improved, value, self._value),
                np.where(improved, row["epoch"], self._epoch),
            )
            self._age = np.where(improved, 0, self._age + 1)
        if (self._age < self.patience).any():
            return ""
        return f"{self.monitor} has not improved for {self.patience} epochs" + (" in any lane" if value.ndim else "")

    def _improves(self, new: float, old: float) -> bool:
        # Nothing compares with NaN: a number is better, and another NaN is not.
        return new == new and (old != old or bool(self.better(new, old)))

    def _take(self, improved: np.ndarray, state: State) -> None:
        if improved.all():
            self.state = copied(state)
        elif improved.any():
            self.state = jit(_merged)(improved, state, self.state)

    def found(self) -> dict[str, Any] | None:
        """The epoch of the best state and its measure, each a number or a list of one per lane; ``None`` without."""
        if self.state is None:
            return None
        return {"epoch": self._epoch.tolist(), self.monitor: self._value.tolist()}

    def kept(self) -> dict[str, Any] | None:
        """What :meth:`go_on` takes, beside the best state, as JSON can hold it."""
        if self.state is None:
            return None
        return {"value": self._value.tolist(), "age": self._age.tolist(), "epoch": self._epoch.tolist()}

    def go_on(self, state: State, kept: dict[str, Any]) -> None:
        """Goes on from what an earlier training has kept."""
        self.state, self._value = state, np.asarray(kept["value"], np.float64)
        self._age, self._epoch = np.asarray(kept["age"], int), np.asarray(kept["epoch"], int)


def _merged(improved: Array, new: State, old: State) -> State:
    """The new lanes where they are better. What has no lanes is shared by all, and new."""
    lanes = improved.shape

    def choose(new: Array, old: Array) -> Array:
        if new.shape[: len(lanes)] != lanes:
            return jnp.copy(new)  # or it would be the memory that the next step takes over
        return jnp.where(improved.reshape(lanes + (1,) * (new.ndim - len(lanes))), new, old)

    return jax.tree.map(choose, new, old)
