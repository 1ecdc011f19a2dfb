"""One door to all data: a built-in name, or a path."""

import os
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from stepax.checks import nearest
from stepax.data.arrays import read_npz
from stepax.data.builtin import GATES, TOY, gates, toy
from stepax.data.dataset import Dataset, Task
from stepax.data.idx import PUBLISHED, published
from stepax.data.images import read_folder
from stepax.data.table import read_csv

__all__ = ["load", "names"]

FRACTION = 0.2
"""The share of rows that is held out unless the caller says otherwise."""


def names() -> tuple[str, ...]:
    """The names of the built-in data sets.

    >>> "mnist" in names()
    True
    """
    return (*TOY, *PUBLISHED, *GATES, "gates")


def load(
    name_or_path: str | os.PathLike[str],
    *,
    target: str | None = None,
    test_fraction: float = FRACTION,
    size: tuple[int, int] | None = None,
    task: Task | None = None,
    columns: Sequence[str] | None = None,
    drop: Sequence[str] | None = None,
) -> Dataset:
    """Load a data set by name, or read one from a file or folder.

    Names: ``digits``, ``iris``, ``wine``, ``breast_cancer``, ``diabetes``; ``mnist`` and ``fashion_mnist`` (found in
    ``$STEPAX_DATA/<name>``, else downloaded once into ``cache_dir()``); the gates ``and``, ``or``, ``xor``, ``nand``,
    and all four at once as ``gates``. Paths: a ``.csv`` table with a ``target`` column, an ``.npz`` archive of ``x``
    and ``y``, a folder of one folder of PNG or JPEG images for each class. A folder that is called like a data set is
    meant by ``./digits``.

    A split is always the same: the published one, else scikit-learn's ``train_test_split(random_state=0)``, stratified
    by class.

    Args:
        name_or_path: A name of ``names()``, or a path.
        target: The column of a CSV table to predict. Text is classes; numbers are classes where all are whole, at most
            20 are distinct and there are two rows for each of these; other numbers are regression targets.
        test_fraction: Share of the rows that is held out, from 0 (none) to below 1; not for data with a split of their
            own.
        size: Height and width in pixels to bring the images of a folder to.
        task: ``"classification"`` or ``"regression"`` for the ``target`` of a CSV table or the ``y`` of an archive,
            where the rule would guess wrong.
        columns: Which columns of a CSV table are the inputs, in their order; ``None``: all but the target.
        drop: Columns of a CSV table to leave out, such as text and row numbers.

    Returns:
        The ``Dataset``; ``train, test = load(...)`` unpacks it.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: The name is unknown, the content is not as described (the message names file, place and value), or
            an argument does not apply to these data.
        FileNotFoundError: There is nothing at the path.
        ConnectionError: A download failed; the message says which files to put where.

    >>> train, test = load("iris")
    >>> train["x"].shape, test["y"].shape
    ((120, 4), (30,))
    """
    _check_types(name_or_path, target, test_fraction, size, columns, drop)
    test_fraction = float(test_fraction)  # scikit-learn refuses NumPy's other floats
    given: dict[str, object] = {
        "target": target,
        "size": size,
        "task": task,
        "columns": columns,
        "drop": drop,
        "test_fraction": None if test_fraction == FRACTION else test_fraction,
    }
    if isinstance(name_or_path, str) and name_or_path in names():
        return _builtin(name_or_path, test_fraction, given)
    path = _existing(name_or_path)
    if path.is_dir():
        _refuse(given, {"size", "test_fraction"}, path)
        return read_folder(path, test_fraction, size)
    if path.suffix.lower() == ".csv":
        _refuse(given, {"target", "task", "test_fraction", "columns", "drop"}, path)
        return read_csv(path, target, test_fraction, task, columns, drop)
    if path.suffix.lower() == ".npz":
        _refuse(given, {"task", "test_fraction"}, path)
        return read_npz(path, test_fraction, task)
    raise ValueError(
        f"{path} is no kind of file that is read here: expected .csv, .npz or a folder of class folders of images, "
        "or a .txt file for data.text"
    )


def _check_types(
    name_or_path: object, target: object, test_fraction: object, size: object, columns: object, drop: object
) -> None:
    """Raise on an argument of the wrong type, which would else end deep in a reader, in words without its name."""
    expected: dict[str, tuple[object, Any, str]] = {
        "name_or_path": (name_or_path, str | os.PathLike, "a name or a path"),
        "target": (target, str | None, "the name of a column"),
        "test_fraction": (test_fraction, Real, "a number from 0 to below 1"),
        "size": (size, tuple | list | None, "(height, width) in pixels"),
        "columns": (columns, tuple | list | None, "a list of names of columns"),
        "drop": (drop, tuple | list | None, "a list of names of columns"),
    }
    for name, (value, kinds, words) in expected.items():
        if not isinstance(value, kinds):
            raise TypeError(f"{name}: expected {words}, got {type(value).__name__} {value!r}")


def _builtin(name: str, test_fraction: float, given: dict[str, object]) -> Dataset:
    """A data set by its name."""
    if name in TOY:
        _refuse(given, {"test_fraction"}, name)
        return toy(name, test_fraction)
    _refuse(given, set(), name)
    return published(name) if name in PUBLISHED else gates(name)


def _refuse(given: dict[str, object], allowed: set[str], source: object) -> None:
    """Raise on an argument without a meaning here: ignored, it would leave the caller with other data than meant."""
    for argument, value in given.items():
        if value is not None and argument not in allowed:
            raise ValueError(f"{argument}={value!r} does not apply to {source}: expected it to be left out")


def _existing(name_or_path: str | os.PathLike[str]) -> Path:
    """The path, if there is something at it; what looks like a name gets a message about names."""
    text = os.fspath(name_or_path)
    path = Path(text).expanduser()
    # The empty path means the current folder to pathlib; here it is a name that was forgotten.
    if text and path.exists():
        return path
    if isinstance(name_or_path, str) and not path.suffix and not {"/", os.sep} & set(text):
        raise ValueError(f"unknown data set {nearest(text, names())}")
    raise FileNotFoundError(f"there is no file or folder {text!r}")
