"""Arrays from NumPy's ``.npz`` archives."""

import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from stepax.checks import check, nearest
from stepax.data.dataset import Dataset, Rows, Task
from stepax.data.split import split
from stepax.data.targets import Targets, as_float32, encode

__all__ = ["as_inputs", "read_archive", "read_npz"]

NAMES = ("x", "y", "x_train", "y_train", "x_test", "y_test")
NEEDED = "expected x and y, or x_train, y_train, x_test and y_test"


def read_npz(path: Path, test_fraction: float, task: Task | None = None) -> Dataset:
    """Read ``x`` and ``y`` (or ``x_train`` and ``y_train``), and ``x_test`` and ``y_test`` where they are there.

    Capital letters in names do not count. Bytes (uint8) of shape ``[n, height, width]`` or ``[n, height, width,
    channels]`` are images, and become floats from 0 to 1 with an axis of channels. ``y [n]`` follows the rule of
    ``targets.encode``; ``y`` of more axes keeps its values: integers as labels, floats as targets.

    Args:
        path: The archive.
        test_fraction: Share of the rows that is held out, where the archive has no test rows.
        task: What ``y [n]`` is, where the rule would guess wrong.

    Returns:
        The data set.

    Raises:
        ValueError: The archive is damaged, lacks or repeats a name, or holds objects, NaN, inf or lengths that differ.
        TypeError: An array holds no real numbers.
    """
    arrays = read_archive(path)
    _check_names(path, arrays)
    x = as_inputs(arrays["x"], f"'x' of {path}")
    goal = _targets(arrays["y"], f"'y' of {path}", task)
    if "x_test" not in arrays:
        rows = _rows(x, goal.y, str(path))
        stratified = goal.classes if goal.y.ndim == 1 else None
        return Dataset(*split(rows, test_fraction, stratified), path.stem, goal.task, goal.classes)
    if test_fraction != 0.2:
        raise ValueError(f"{path} holds its own test rows: test_fraction={test_fraction} does not apply")
    return _with_own_split(path, arrays, x, task)


def _with_own_split(path: Path, arrays: dict[str, np.ndarray], x: np.ndarray, task: Task | None) -> Dataset:
    """The data set of an archive with test rows; labels are made of both parts at once, to mean the same in both."""
    x_test = as_inputs(arrays["x_test"], f"'x_test' of {path}")
    y, y_test = arrays["y"], arrays["y_test"]
    if x.shape[1:] != x_test.shape[1:] or y.shape[1:] != y_test.shape[1:]:
        raise ValueError(
            f"{path}: rows differ in shape: x {x.shape[1:]} and x_test {x_test.shape[1:]}, "
            f"y {y.shape[1:]} and y_test {y_test.shape[1:]}"
        )
    if y.dtype.kind != y_test.dtype.kind and "U" in (y.dtype.kind, y_test.dtype.kind):
        raise TypeError(f"{path}: y has dtype {y.dtype} and y_test {y_test.dtype}: expected the same kind")
    goal = _targets(np.concatenate([y, y_test]), f"'y' of {path}", task)
    train = _rows(x, goal.y[: len(y)], f"training rows of {path}")
    test = _rows(x_test, goal.y[len(y) :], f"test rows of {path}")
    return Dataset(train, test, path.stem, goal.task, goal.classes)


# What NumPy and zipfile raise of damaged files, beside ValueError: of a header that is no Python, or claims more than
# there is memory; of a method of compression that nobody has; of a password.
DAMAGED = (EOFError, MemoryError, NotImplementedError, OSError, RuntimeError, SyntaxError, tokenize.TokenError)


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """Every array of an ``.npz`` archive by its name in lower case.

    Raises:
        ValueError: It is no such archive, is damaged, or holds objects or one name twice.
    """
    arrays: dict[str, np.ndarray] = {}
    # np.load goes by content and would take a lone array, or a pickle, under any name.
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a readable .npz archive: numpy.savez(path, x=…, y=…) writes one")
    try:
        # allow_pickle=False: an archive with objects in it could run any code when read.
        # The file is ours to close: of a damaged member NumPy would leave it open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for key in archive.files:
                name = key.lower()
                if name in arrays:
                    raise ValueError(f"{path} holds {name!r} twice, in capital and small letters")
                arrays[name] = _member(archive, key, path)
    except (*DAMAGED, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is not a readable .npz archive ({error})") from error
    return arrays


def _member(archive: np.lib.npyio.NpzFile, key: str, path: Path) -> np.ndarray:
    """One array of an archive; objects are refused by name."""
    try:
        array = archive[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise ValueError(f"{path}: array {key!r} is damaged ({error})") from error
        raise ValueError(
            f"{path}: array {key!r} holds Python objects, which are never loaded: save it as numbers"
        ) from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path}: {key!r} is no array of NumPy")
    return array


def _check_names(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Raise unless there are x and y, test rows or none, and nothing else; ``x_train`` is renamed ``x``."""
    for name in arrays:
        if name not in NAMES:
            raise ValueError(f"{path} holds an unexpected array {nearest(name, NAMES)}; {NEEDED}")
    for name in "xy":
        if name in arrays and f"{name}_train" in arrays:
            raise ValueError(f"{path} holds both {name!r} and '{name}_train': expected one of them")
        if f"{name}_train" in arrays:
            arrays[name] = arrays.pop(f"{name}_train")
    for name, partner in [("x", None), ("y", None), ("x_test", "y_test"), ("y_test", "x_test")]:
        if name not in arrays and (partner is None or partner in arrays):
            held = ", ".join(map(repr, sorted(arrays))) or "nothing"
            raise ValueError(f"{path} has no array {name!r}, it holds {held}; {NEEDED}")


def as_inputs(x: np.ndarray, where: str) -> np.ndarray:
    """Rows as float32, at least ``[n, columns]``; bytes of the shape of images go to [0, 1], with channels.

    Args:
        x: ``[n, …]``.
        where: What it is called in messages.

    Raises:
        TypeError: It holds no real numbers.
        ValueError: It is a scalar, or float32 cannot hold it.
    """
    if x.ndim < 1:
        raise ValueError(f"{where} is a scalar: expected an array with a leading axis of rows")
    if x.dtype == np.uint8 and x.ndim in (3, 4):
        images = x if x.ndim == 4 else x[..., np.newaxis]
        return np.divide(images, 255, dtype=np.float32)
    return as_float32(x if x.ndim > 1 else x[:, np.newaxis], where)


def _targets(y: np.ndarray, where: str, task: Task | None) -> Targets:
    """``y [n]`` by the common rule; ``y`` of more axes keeps its values."""
    if y.ndim <= 1:
        return encode(y.reshape(-1), where, task)
    if y.dtype.kind == "f":
        return Targets(as_float32(y, where), "regression", None)
    if y.dtype.kind not in "biu":
        raise TypeError(f"{where} has dtype {y.dtype}: expected real numbers")
    if y.size and not np.iinfo(np.int32).min <= y.min() <= y.max() <= np.iinfo(np.int32).max:
        raise ValueError(f"{where} holds labels outside the range of int32")
    return Targets(y.astype(np.int32), "classification", None)


def _rows(x: np.ndarray, y: np.ndarray, where: str) -> Rows:
    """The batch of ``x`` and ``y``, with everything that ``fit`` would refuse refused here, where the file is known."""
    rows = {"x": x, "y": y}
    check(rows, where)
    return rows
