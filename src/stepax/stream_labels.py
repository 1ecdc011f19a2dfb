"""Labels of a stream, looked at while its batches are read: outside the classes they would make a loss NaN, no more."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from stepax.learner import Learner, State
from stepax.source import Stream
from stepax.targets import check_in_classes, classes_noted

__all__ = ["class_count", "labelled"]


def labelled(stream: Stream, learner: Learner, state: State) -> Stream:
    """The same stream, with an error in place of a batch with labels outside the learner's classes.

    What is a class is the matter of loss and metrics, as of data in memory.

    Args:
        stream: What is read; its integer labels are ``y``.
        learner: Whose ``evaluate`` compares ``y`` with classes, or does not.
        state: Its state, or the shapes of one.

    Returns:
        The stream, whose iterators raise a ValueError that names batch, row and label; or the one given, where ``y`` is
        compared with no classes.
    """
    classes = class_count(learner, state, stream.like)
    return stream if classes is None else stream._replace(batches=_Checked(stream.batches, classes))


def class_count(learner: Learner, state: State, like: Any) -> int | None:
    """With how many classes a learner compares the whole of ``batch["y"]``; ``None`` where it does with none.

    The learner is traced once, over labels of its first two classes. A ``y`` that a loss has changed, or taken a part
    of, counts for nothing: nobody knows what it stands for.

    Args:
        learner: Whose ``evaluate`` is traced.
        state: Its state, or the shapes of one.
        like: Shapes and dtypes of a batch.

    Returns:
        The smallest number, where loss and metrics have several.
    """
    y: Any = like.get("y") if isinstance(like, Mapping) else None
    if not hasattr(y, "dtype") or not np.issubdtype(y.dtype, np.integer) or not y.shape:
        return None
    shown = np.resize(np.arange(2, dtype=y.dtype), y.shape)
    others = {
        name: jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), field)
        for name, field in like.items()
        if name != "y"
    }
    with classes_noted() as noted:
        try:
            jax.eval_shape(
                lambda state, others: learner.evaluate(state, {**others, "y": shown}, state.key), state, others
            )
        except Exception:  # it is raised where the learner is used
            return None
    return min((classes for values, classes in noted if values is shown), default=None)


@dataclasses.dataclass(frozen=True)
class _Checked:
    """``(epoch, first) -> iterator`` of batches whose labels were looked at."""

    batches: Any
    classes: int

    def __call__(self, epoch: int, first: int = 0) -> Iterator[Any]:
        return _Reading(self, self.batches(epoch, first), epoch, first)

    def check(self, y: np.ndarray, epoch: int, number: int) -> None:
        """Refuses the labels of a batch, by batch and row."""
        # The smallest and the largest tell, at a fraction of the cost of a comparison of each.
        if not y.size or (y.min() >= 0 and y.max() < self.classes):
            return
        try:
            check_in_classes(y, self.classes)
        except ValueError as error:
            row = int(np.argwhere((y < 0) | (y >= self.classes))[0][0])
            named = getattr(self.batches, "named", None)
            origin = f"; row {row} of the batch is {named(epoch, number, row)}" if named else ""
            raise ValueError(f"source: batch {number} of epoch {epoch}: {error}{origin}") from None


class _Reading:
    """An epoch's batches, each looked at when it is asked for; closed with what they come from, at any time."""

    def __init__(self, checked: _Checked, batches: Any, epoch: int, first: int) -> None:
        self._checked, self._batches, self._epoch, self._number = checked, batches, epoch, first

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        batch = next(self._batches)
        # A batch without labels is told by whoever compares it with the others.
        if isinstance(batch, Mapping) and "y" in batch:
            self._checked.check(np.asarray(batch["y"]), self._epoch, self._number)
        self._number += 1
        return batch

    def close(self) -> None:
        """No more batches are wanted."""
        getattr(self._batches, "close", lambda: None)()
