"""Images in folders, one folder for each class."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from stepax.checks import check_count
from stepax.data.dataset import Dataset, Rows
from stepax.data.split import split

__all__ = ["SUFFIXES", "read_folder", "read_image"]

SUFFIXES = (".png", ".jpg", ".jpeg")
"""How the names of image files end, in small letters."""

GREY = ("1", "L", "LA")
DEEP = ("I", "I;16", "I;16B", "I;16L")
# For each byte of a file: deflate packs a PNG's blank pixels a thousandfold, eight to a byte. More is a made-up header,
# and decoding it would take gigabytes.
MOST_PIXELS = 10_000
"""Pillow's modes of greyscale images, of up to 8 and of 16 bits."""

Labelled = list[tuple[Path, int]]
"""Image files with their labels."""


def read_folder(path: Path, test_fraction: float, size: tuple[int, int] | None = None) -> Dataset:
    """Read a folder of class folders of PNG and JPEG files; ``train`` and ``test`` around these are its own split.

    Greyscale images have one channel; where some are in colour, all have three. Transparency is dropped, a camera's
    rotation is carried out. Names that begin with a dot do not count; files of other kinds in the folder of a class are
    left out with a warning.

    Args:
        path: The folder: ``<class>/<image>``, or ``train/<class>/<image>`` and ``test/<class>/<image>``.
        test_fraction: Share of the images that is held out, stratified by class, where there are no ``train`` and
            ``test``.
        size: Height and width in pixels to bring the images to; ``None`` expects that all have one size.

    Returns:
        The data set: ``x [n, height, width, channels]`` in [0, 1]; classes are the sorted names of the folders.

    Raises:
        TypeError: ``size`` holds no whole numbers.
        ValueError: No classes or images, an image that cannot be read, or sizes that differ; the message names the
            file.
    """
    _check_size(size)
    folders = {entry.name: entry for entry in _entries(path) if entry.is_dir()}
    if {"train", "test"} <= folders.keys():
        return _with_own_split(path, folders, test_fraction, size)
    classes = _classes(path)
    files = _labelled(path, classes)
    rows = _rows(files, _channels(files), size)
    return Dataset(*split(rows, test_fraction, classes), path.resolve().name, "classification", classes)


def _with_own_split(
    path: Path, folders: dict[str, Path], test_fraction: float, size: tuple[int, int] | None
) -> Dataset:
    """The data set of a folder with ``train`` and ``test``; the classes are those of ``train``."""
    if len(folders) > 2:
        others = ", ".join(sorted(folders.keys() - {"train", "test"}))
        raise ValueError(
            f"{path} holds the folders train and test, and others beside them: {others}; expected these two only"
        )
    if test_fraction != 0.2:
        raise ValueError(f"{path} holds its own test images: test_fraction={test_fraction} does not apply")
    classes, tested = _classes(folders["train"]), _classes(folders["test"])
    if unknown := sorted(set(tested) - set(classes)):
        raise ValueError(f"{folders['test']} holds the class {unknown[0]!r}, which {folders['train']} lacks")
    train, test = _labelled(folders["train"], classes), _labelled(folders["test"], classes)
    channels = _channels(train + test)
    first, second = _rows(train, channels, size), _rows(test, channels, size)
    if first["x"].shape[1:] != second["x"].shape[1:]:
        raise ValueError(_odd_size(test[0][0], second["x"].shape[1:3], first["x"].shape[1:3], train[0][0]))
    return Dataset(first, second, path.resolve().name, "classification", classes)


def _check_size(size: tuple[int, int] | None) -> None:
    """Raise unless ``size`` is two positive whole numbers."""
    if size is None:
        return
    if len(size) != 2:
        raise ValueError(f"size is {size!r}: expected (height, width) in pixels")
    check_count("size: the height", size[0])
    check_count("size: the width", size[1])


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, sorted by name, without the hidden files that desktops leave."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _classes(folder: Path) -> tuple[str, ...]:
    """The names of the class folders; an image beside them has no class, and so is an error."""
    entries = _entries(folder)
    for entry in entries:
        if entry.suffix.lower() in SUFFIXES and entry.is_file():
            raise ValueError(f"{entry} is in no class folder: expected {folder.name}/<class>/{entry.name}")
    classes = tuple(entry.name for entry in entries if entry.is_dir())
    if not classes:
        raise ValueError(f"{folder} holds no folders: expected one for each class")
    return classes


def _labelled(folder: Path, classes: Sequence[str]) -> Labelled:
    """Every image of the class folders that are there, with its label; other files are left out with a warning."""
    files: Labelled = []
    others: list[Path] = []
    for label, name in enumerate(classes):
        entries = _entries(folder / name) if (folder / name).is_dir() else []
        for entry in entries:
            if not entry.is_file():
                raise ValueError(f"{entry} is a folder: expected images only in the folder of a class")
            if entry.suffix.lower() in SUFFIXES:
                files.append((entry, label))
            else:
                others.append(entry)
    if others:
        more = f" and {len(others) - 1:,} other files" if len(others) > 1 else ""
        warnings.warn(f"left out, not PNG or JPEG files: {others[0]}{more}", stacklevel=2)
    if not files:
        raise ValueError(f"{folder} holds no images in its class folders {', '.join(classes)}")
    return files


def _channels(files: Labelled) -> int:
    """3 where any image has colour, else 1; only the headers are read."""
    grey = True
    for path, _ in files:
        with _opened(path) as image:
            grey = grey and image.mode in GREY + DEEP
    return 1 if grey else 3


def _rows(files: Labelled, channels: int, size: tuple[int, int] | None) -> Rows:
    """Decode the images into one batch, resized to ``size`` where there is one."""
    x = np.empty(0, np.float32)
    for row, (path, _) in enumerate(files):
        pixels = read_image(path, size)
        if row == 0:
            # Filled in place: a list of images to stack would need the memory twice.
            x = np.empty((len(files), *pixels.shape[:2], channels), np.float32)
        if pixels.shape[:2] != x.shape[1:3]:
            raise ValueError(_odd_size(path, pixels.shape[:2], x.shape[1:3], files[0][0]))
        x[row] = pixels
    return {"x": x, "y": np.array([label for _, label in files], np.int32)}


def _odd_size(path: Path, found: tuple[int, ...], expected: tuple[int, ...], first: Path) -> str:
    """The message for an image of another size than the ``first``."""
    sizes = [f"{height} high and {width} wide" for height, width in (found, expected)]
    return f"{path} is {sizes[0]} (pixels): expected {sizes[1]}, like {first}; pass size=(height, width) to resize all"


def read_image(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """One image ``[height, width, 1 or 3]`` float32 in [0, 1], upright, and resized where there is a ``size``.

    Raises:
        ValueError: It is no readable PNG or JPEG image.
    """
    from PIL import Image, ImageOps

    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode in DEEP:
            upright, largest = Image.fromarray(np.asarray(upright).astype(np.float32)), 65535
        else:
            upright, largest = upright.convert("L" if upright.mode in GREY else "RGB"), 255
        if size is not None:
            # Pillow's bilinear filter widens with the reduction, so a small copy is an average and not a sample.
            upright = upright.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        pixels = np.divide(np.asarray(upright), largest, dtype=np.float32)
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The opened image; what Pillow raises, here or while the caller decodes, becomes an error that names the file."""
    from PIL import Image

    try:
        # The formats are named: the content counts, whatever the suffix says.
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MOST_PIXELS * path.stat().st_size:
                raise ValueError(f"it claims {image.height} by {image.width} pixels in {path.stat().st_size} bytes")
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is not a readable PNG or JPEG image ({error})") from error
