"""Inputs without targets, for a model that is trained already: tables, arrays and images."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stepax.checks import check
from stepax.data.arrays import DAMAGED, as_inputs, read_archive
from stepax.data.images import SUFFIXES, read_image
from stepax.data.table import numbers, read_table

__all__ = ["Inputs", "read_inputs"]


class Inputs(NamedTuple):
    """What a model is asked about.

    Attributes:
        x: ``[n, …]`` float32.
        names: A name for each: the number of its row, from 1, or its file.
        left_out: Columns of a table that the model does not know.
    """

    x: np.ndarray
    names: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def read_inputs(
    path: Path, shape: tuple[int, ...], columns: Sequence[str] | None = None, *, resize: bool = False
) -> Inputs:
    """Read the inputs in a file or folder.

    Args:
        path: A .csv table, an .npy array, an .npz archive with ``x`` (else ``x_test``, as of Keras), a PNG or JPEG
            image, or a folder of images at any depth. An array may be a single input, and may lack the axis of one
            channel; bytes are taken as images, as in training.
        shape: The shape of one input.
        columns: The names of a table's columns, in the model's order; others are left out. ``None``: a table must have
            as many as the model takes, in its order.
        resize: Whether images of another size, or in colour where the model takes grey, are converted.

    Returns:
        The inputs.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: It is no such file, or of another shape; the message names both.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {str(path)!r}")
    suffix = path.suffix.lower()
    is_image = path.is_dir() or suffix in SUFFIXES
    if resize and not is_image:
        raise ValueError(f"resize is for images, and {path} is none")
    if is_image:
        return _images(path, shape, resize=resize)
    readers = {".csv": _table, ".npy": _array, ".npz": _array}
    if suffix not in readers:
        raise ValueError(
            f"{path} is no kind of file that is read here: expected .csv, .npy, .npz, .png, .jpg, .jpeg or a folder"
        )
    return readers[suffix](path, shape, columns)


def _table(path: Path, shape: tuple[int, ...], columns: Sequence[str] | None) -> Inputs:
    read = read_table(path)
    wanted = read.names if columns is None else tuple(columns)
    if missing := [name for name in wanted if name not in read.names]:
        raise ValueError(f"{path} lacks {len(missing)} of the columns that the model takes: {', '.join(missing[:8])}")
    if (len(wanted),) != shape:
        raise ValueError(f"{path} has {len(wanted)} columns, and the model takes inputs of shape {_shown(shape)}")
    places = [read.names.index(name) for name in wanted]
    cells = [
        numbers(path, name, [row[i] for row in read.rows], read.lines) for name, i in zip(wanted, places, strict=True)
    ]
    left_out = tuple(name for name in read.names if name not in wanted)
    return Inputs(np.stack(cells, axis=1), _rows(len(read.rows)), left_out)


def _array(path: Path, shape: tuple[int, ...], columns: Sequence[str] | None) -> Inputs:
    del columns
    # First the axes, then the values: whether bytes are an image is seen from the axes.
    x = as_inputs(_with_all_axes(_loaded(path), shape), f"x of {path}")
    if x.shape[1:] != shape:
        raise ValueError(f"{path} has inputs of shape {_shown(x.shape[1:])}, and the model takes {_shown(shape)}")
    check(x, f"x of {path}")
    return Inputs(x, _rows(len(x)))


def _with_all_axes(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``x`` with the axes that a file may lack: that of the rows around a single input, and that of one channel."""
    without_channel = shape[:-1] if shape[-1:] == (1,) else None
    if x.shape in (shape, without_channel):
        x = x[np.newaxis]
    return x[..., np.newaxis] if x.shape[1:] == without_channel else x


def _loaded(path: Path) -> np.ndarray:
    """The array of an .npy file, or the one called ``x``, else ``x_test``, of an archive."""
    if path.suffix.lower() == ".npz":
        members = read_archive(path)
        if not (found := [name for name in ("x", "x_test") if name in members]):
            held = ", ".join(map(repr, sorted(members))) or "nothing"
            raise ValueError(f"{path} has no array 'x', it holds {held}; expected x or x_test")
        return members[found[0]]
    try:
        # allow_pickle=False: a file with objects in it could run any code when read.
        loaded = np.load(path, allow_pickle=False)
    except (*DAMAGED, ValueError) as error:
        raise ValueError(f"{path} is not a readable .npy array of numbers ({error})") from error
    if not isinstance(loaded, np.ndarray):
        raise ValueError(f"{path} is an archive under the name of an array: call it .npz")
    return loaded


def _images(path: Path, shape: tuple[int, ...], *, resize: bool) -> Inputs:
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise ValueError(f"{path} holds images, and the model takes inputs of shape {_shown(shape)}")
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        files = [file for file in files if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    if not files:
        raise ValueError(f"{path} holds no PNG or JPEG images")
    pixels = [_image(file, shape, resize=resize) for file in files]
    names = tuple(file.name if file == path else file.relative_to(path).as_posix() for file in files)
    return Inputs(np.stack(pixels), names)


def _image(file: Path, shape: tuple[int, ...], *, resize: bool) -> np.ndarray:
    """One image in the shape of the training; grey goes into colour as it is, the rest only when asked for."""
    pixels = read_image(file, (shape[0], shape[1]) if resize else None)
    if pixels.shape[-1] == 1 and shape[-1] == 3:
        pixels = np.repeat(pixels, 3, axis=-1)
    if resize and pixels.shape[-1] == 3 and shape[-1] == 1:
        # Rec. 601, as Pillow converts.
        pixels = (pixels @ np.array([0.299, 0.587, 0.114], np.float32))[..., np.newaxis]
    if pixels.shape != shape:
        raise ValueError(
            f"{file} has the shape {_shown(pixels.shape)}, and the model takes images of {_shown(shape)}; "
            "pass resize=True to convert it"
        )
    return pixels


def _rows(count: int) -> tuple[str, ...]:
    return tuple(str(row) for row in range(1, count + 1))


def _shown(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "()"
