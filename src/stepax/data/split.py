"""The fixed split of data that were published without one."""

import math

import numpy as np

from stepax.data.dataset import Rows

__all__ = ["split"]


def split(rows: Rows, fraction: float, classes: tuple[str, ...] | None = None) -> tuple[Rows, Rows]:
    """Divide rows into training and test rows, always in the same way.

    These are the rows of scikit-learn's ``train_test_split(test_size=fraction, stratify=labels, random_state=0)``, so
    that results compare with others' on the same split.

    Args:
        rows: ``{"x": [n, …], "y": [n, …]}``.
        fraction: Share of the rows that is held out, from 0 (all rows train, the test rows are empty) to below 1.
        classes: Names of the labels in ``y [n]``: the split then keeps the share of each; ``None`` divides without a
            look at ``y``.

    Returns:
        Training and test rows.

    Raises:
        ValueError: ``fraction`` is outside [0, 1), or leaves a part without rows, or a class cannot be in both parts.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"test_fraction is {fraction}: expected a number from 0 to below 1")
    number = len(rows["y"])
    if fraction == 0:
        return rows, _pick(rows, np.arange(0))
    stratify = rows["y"] if classes is not None else None
    _check_sizes(number, fraction, stratify, classes)
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(np.arange(number), test_size=fraction, stratify=stratify, random_state=0)
    return _pick(rows, train), _pick(rows, test)


def _pick(rows: Rows, index: np.ndarray) -> Rows:
    """The rows at ``index [k]`` of every array."""
    return {name: array[index] for name, array in rows.items()}


def _check_sizes(number: int, fraction: float, labels: np.ndarray | None, classes: tuple[str, ...] | None) -> None:
    """Raise where the rows are too few: one of each class, or one row at all, must go to both parts."""
    held_out = math.ceil(fraction * number)
    needed = 1 if classes is None else len(classes)
    if held_out < needed or number - held_out < needed:
        raise ValueError(
            f"test_fraction={fraction} divides {number} rows into {number - held_out} for training and {held_out} for "
            f"testing: expected at least {needed} in each, one per class; change it, or set it to 0 to train on all"
        )
    if classes is None or labels is None:
        return
    counts = np.bincount(labels, minlength=len(classes))
    lonely = [name for name, count in zip(classes, counts, strict=True) if count < 2]
    if lonely:
        raise ValueError(
            f"class {', '.join(map(repr, lonely[:5]))} has fewer than 2 rows: expected one to train and one to test "
            "on; add rows, drop the class, or set test_fraction=0 to train on all rows"
        )
