"""From a column of a file to labels or targets: one rule for every format."""

from typing import NamedTuple

import numpy as np

from stepax.data.dataset import Task

__all__ = ["Targets", "as_float32", "encode"]

FEW = 20
"""Whole numbers with more distinct values than this are measurements, not labels."""


class Targets(NamedTuple):
    """A target column made ready: ``y [n]``, int32 labels with the name of each in ``classes``, or float32 targets."""

    y: np.ndarray
    task: Task
    classes: tuple[str, ...] | None


def encode(values: np.ndarray, where: str, task: Task | None = None) -> Targets:
    """Turn a target column into labels or targets.

    Text, booleans and integer dtypes are classes: the labels count the sorted distinct values from 0. Floating-point
    values (and every number of a CSV file) are classes too where all are whole, at most 20 are distinct, and there are
    at least two rows for each of these; otherwise they are targets. ``task`` overrules this.

    Args:
        values: ``[n]`` text or real numbers.
        where: What the values are called in messages.
        task: What the values are, or ``None`` to apply the rule.

    Raises:
        TypeError: The values are neither text nor real numbers.
        ValueError: Text as regression targets, fractions as labels, or an unknown ``task``.

    >>> encode(np.array(["b", "a", "b"]), "y").y
    array([1, 0, 1], dtype=int32)
    """
    if values.dtype.kind not in "Ubiuf":
        raise TypeError(f"{where} has dtype {values.dtype}: expected text, integers or floating-point numbers")
    if task not in (None, "classification", "regression"):
        raise ValueError(f"task is {task!r}: expected 'classification', 'regression' or None")
    if (task or _likely(values)) == "classification":
        return _labels(values, where)
    if values.dtype.kind == "U":
        raise ValueError(f"{where} holds text such as {str(values[0])!r}: expected numbers for a regression")
    return Targets(as_float32(values, where), "regression", None)


def as_float32(values: np.ndarray, where: str) -> np.ndarray:
    """Cast real numbers to float32, refusing those that it cannot hold.

    Raises:
        TypeError: The values are no real numbers.
        ValueError: A finite value overflows.
    """
    if values.dtype.kind not in "biuf":
        raise TypeError(f"{where} has dtype {values.dtype}: expected real numbers")
    with np.errstate(over="ignore"):
        cast = values.astype(np.float32)
    lost = np.isfinite(values) & ~np.isfinite(cast)
    if lost.any():
        raise ValueError(
            f"{where} holds {values[lost][0]}: expected magnitudes that float32 can hold, below 3.4e38; rescale it"
        )
    return cast


def _likely(values: np.ndarray) -> Task:
    """The rule of ``encode``."""
    if values.dtype.kind != "f":
        return "classification"
    distinct = np.unique(values)
    whole = bool(_whole(distinct).all())
    few = len(distinct) <= min(FEW, len(values) // 2)
    return "classification" if whole and few else "regression"


def _whole(values: np.ndarray) -> np.ndarray:
    """Which of the floats are whole numbers; NaN and inf are not."""
    return np.isfinite(values) & (values == np.round(values))


def _labels(values: np.ndarray, where: str) -> Targets:
    """Labels that count the sorted distinct values, which become the names of the classes."""
    distinct, labels = np.unique(values, return_inverse=True)
    if values.dtype.kind == "f":
        others = distinct[~_whole(distinct)]
        if len(others):
            raise ValueError(f"{where} holds {others[0]}: expected whole numbers or text for a classification")
    names = tuple(str(value) if values.dtype.kind == "U" else str(int(value)) for value in distinct)
    return Targets(labels.astype(np.int32), "classification", names)
