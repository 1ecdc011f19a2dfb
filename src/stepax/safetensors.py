"""The safetensors format, read with distrust: the header is checked in full before anything is made of the file."""

import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy

from stepax.files import check_target, write_bytes

__all__ = ["Content", "Entry", "Header", "WeightsError", "read", "write"]

# A file is eight bytes with the length of the header, the header in JSON, and the bytes of the arrays without a gap.
LENGTH = 8
# What JSON takes in memory is some thirty times its text. A hundred bytes an array: this is 80,000 arrays.
LARGEST_HEADER = 1 << 23
LONGEST_NAME = 256
MOST_AXES = 32
LARGEST_ARRAY = 1 << 62
METADATA = "__metadata__"

DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype(np.uint16),
    "I16": np.dtype(np.int16),
    "U32": np.dtype(np.uint32),
    "I32": np.dtype(np.int32),
    "U64": np.dtype(np.uint64),
    "I64": np.dtype(np.int64),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(jnp.bfloat16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "F8_E4M3": np.dtype(jnp.float8_e4m3fn),
    "F8_E5M2": np.dtype(jnp.float8_e5m2),
}
"""What the arrays may hold; other dtypes of the format have no counterpart in every version that is supported."""


class WeightsError(ValueError):
    """A file of weights that is missing, damaged, hostile, or not the one that was asked for."""


class Entry(NamedTuple):
    """One array as the header tells of it.

    Attributes:
        dtype: What it holds.
        shape: Its shape.
        begin: Where its bytes begin, counted from the end of the header.
        end: Where they end.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


class Header(NamedTuple):
    """What a file says of itself.

    Attributes:
        entries: Its arrays by name.
        metadata: Text by name.
    """

    entries: dict[str, Entry]
    metadata: dict[str, str]


class Content(NamedTuple):
    """What a file holds.

    Attributes:
        arrays: Its arrays by name, on the host.
        metadata: Text by name.
    """

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]


def write(path: str | os.PathLike, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes arrays in one go: whoever reads the file finds the old content or the new, never a part.

    Args:
        path: The file.
        arrays: Arrays of numbers by name.
        metadata: Text by name. With more than one name the file's bytes are not always the same.

    Raises:
        TypeError: An array holds what the format does not know; the message names it.
        WeightsError: There can be no file at the path, such as in a folder that is not there; a name is empty, too
            long or not printable, or there are too many arrays for one file.
    """
    try:
        check_target(path)
    except OSError as error:
        raise WeightsError(str(error)) from error
    for name, array in arrays.items():
        if not _is_name(name):
            raise WeightsError(f"the name {_shown(name)}: expected 1 to {LONGEST_NAME} printable characters")
        if array.dtype.newbyteorder("=") not in DTYPES.values():
            raise TypeError(f"{name} has dtype {array.dtype}: safetensors holds numbers and booleans, real ones only")
    content = safetensors_numpy.save(
        {name: np.asarray(array, order="C") for name, array in arrays.items()}, dict(metadata)
    )
    if int.from_bytes(content[:LENGTH], "little") > LARGEST_HEADER:
        raise WeightsError(f"{len(arrays)} arrays make a header of more than {LARGEST_HEADER} bytes: too many")
    write_bytes(path, content)


def read(path: str | os.PathLike, accept: Callable[[Header], None] = lambda header: None) -> Content:
    """Reads a file that this or another library wrote.

    Args:
        path: The file.
        accept: Sees the header before any array is read, and raises where the file is not what is wanted.

    Returns:
        Arrays and metadata.

    Raises:
        WeightsError: There is no such file, or it is not sound to the last byte; the message says what is wrong.
    """
    path = pathlib.Path(path)
    # Whoever opens a pipe waits for its other end.
    if not path.is_file():
        raise WeightsError(f"{path}: {'it is no file' if path.exists() else 'no such file'}")
    try:
        with open(path, "rb") as file:
            header, text = _header(path, file)
            accept(header)
            file.seek(0)
            content = file.read()
    except (OSError, MemoryError) as error:
        raise WeightsError(f"{path}: it cannot be read: {error}") from error
    if content[LENGTH : LENGTH + len(text)] != text:
        raise WeightsError(f"{path}: it was changed while it was read")
    return Content(_arrays(path, content, header.entries), header.metadata)


def _header(path: pathlib.Path, file: BinaryIO) -> tuple[Header, bytes]:
    """The header, once everything in it fits the file; and its text."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(LENGTH), "little")
    if size < LENGTH + 2:
        raise WeightsError(f"{path}: it has {size} bytes, too few for a safetensors file")
    if length > min(LARGEST_HEADER, size - LENGTH):
        raise WeightsError(
            f"{path}: its header should have {length} bytes, in a file of {size}, where {LARGEST_HEADER} at most are "
            "read: it is damaged or no safetensors file"
        )
    text = file.read(length)
    fields = _fields(path, text)
    metadata = fields.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise WeightsError(f"{path}: its {METADATA} is not text by name")
    entries = {name: _entry(path, name, value) for name, value in fields.items()}
    _check_places(path, entries, size - LENGTH - length)
    return Header(entries, metadata), text


def _fields(path: pathlib.Path, text: bytes) -> dict[str, Any]:
    """The header as a dict."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            raise ValueError("a name stands in it twice")
        return fields

    try:
        fields = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:  # also of text that is no UTF-8, and of numbers without end
        raise WeightsError(f"{path}: its header is damaged: {_shown(str(error))}") from error
    if not isinstance(fields, dict):
        raise WeightsError(f"{path}: its header is a {type(fields).__name__}: expected an object of arrays by name")
    return fields


def _entry(path: pathlib.Path, name: str, value: Any) -> Entry:
    """An array's description, if it is one."""
    where = f"{path}: the array {_shown(name)}"
    if not _is_name(name):
        raise WeightsError(f"{where}: expected a name of 1 to {LONGEST_NAME} printable characters")
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise WeightsError(f"{where} is not described by dtype, shape and data_offsets")
    kind, shape, places = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(kind, str) or kind not in DTYPES:
        raise WeightsError(f"{where} has the dtype {_shown(kind)}: known are {', '.join(DTYPES)}")
    if not _are_counts(shape) or len(shape) > MOST_AXES:
        raise WeightsError(f"{where} has the shape {_shown(shape)}: expected {MOST_AXES} whole numbers at most")
    if not _are_counts(places) or len(places) != 2:
        raise WeightsError(f"{where} has the data_offsets {_shown(places)}: expected two whole numbers")
    # Of an empty array, too, every axis must be one that NumPy can count.
    if math.prod(max(axis, 1) for axis in shape) * DTYPES[kind].itemsize > LARGEST_ARRAY:
        raise WeightsError(f"{where} has the shape {_shown(shape)}: no machine holds as much")
    if (needed := math.prod(shape) * DTYPES[kind].itemsize) != places[1] - places[0]:
        raise WeightsError(f"{where} has {places[1] - places[0]} bytes, and {kind}{_shown(shape)} needs {needed}")
    return Entry(DTYPES[kind], tuple(shape), *places)


def _check_places(path: pathlib.Path, entries: dict[str, Entry], size: int) -> None:
    """Refuses bytes that belong to two arrays or to none."""
    at = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != at:
            fault = "overlaps another" if entry.begin < at else "leaves a gap before it"
            raise WeightsError(f"{path}: the array {_shown(name)} begins at byte {entry.begin}, not {at}: it {fault}")
        at = entry.end
    if at != size:
        raise WeightsError(f"{path}: its arrays have {at} bytes, and it holds {size}: it is cut short or damaged")


def _arrays(path: pathlib.Path, content: bytes, entries: dict[str, Entry]) -> dict[str, np.ndarray]:
    try:
        stored = {name: value["data"] for name, value in safetensors.deserialize(content)}
    except (safetensors.SafetensorError, MemoryError) as error:
        raise WeightsError(f"{path}: safetensors cannot read it: {error}") from error
    arrays = {}
    for name, entry in entries.items():
        # A boolean of another byte than 0 and 1 is true to some operations and false to others.
        if entry.dtype == np.bool_ and stored[name] and max(stored[name]) > 1:
            raise WeightsError(f"{path}: the array {_shown(name)} holds booleans that are neither 0 nor 1")
        arrays[name] = np.frombuffer(stored[name], entry.dtype).reshape(entry.shape)
    return arrays


def _is_name(name: str) -> bool:
    return 0 < len(name) <= LONGEST_NAME and name.isprintable() and name != METADATA


def _are_counts(value: Any) -> bool:
    # A bool is an int to Python; 1e3 is a float.
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _shown(value: Any) -> str:
    """What stood in a file, for a message: ASCII, and not longer than a line."""
    try:
        text = ascii(value)
    except (ValueError, RecursionError):  # numbers of thousands of digits; lists in lists
        return f"a {type(value).__name__} without end"
    return text if len(text) <= 80 else f"{text[:80]}…"
