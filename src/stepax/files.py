"""Files that are whole or not there, JSON that keeps every float, and the folder for what can be made again."""

import json
import math
import os
import pathlib
from typing import Any

import numpy as np

__all__ = ["cache_dir", "check_target", "one_line", "parsed", "read_json", "write_bytes", "write_json", "write_text"]

# JSON has no NaN and no infinities: they are written as an object with this one field, ``{"float": "nan"}``, ``"inf"``
# or ``"-inf"``.
FLOAT = "float"


def cache_dir() -> pathlib.Path:
    """The folder for what can be made again, such as downloads and compiled programs: ``$STEPAX_CACHE``.

    Without it ``$XDG_CACHE_HOME/stepax``, else ``~/.cache/stepax``, on every platform. The folder may not exist yet.
    """
    # Not pooch's rule of the platform: who compiles would pay for its import.
    usual = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "stepax")
    return pathlib.Path(os.environ.get("STEPAX_CACHE") or usual).expanduser()


def check_target(path: str | os.PathLike) -> None:
    """Refuses, before there is anything to write, a path at which no file can be.

    Args:
        path: The file that is to be written.

    Raises:
        FileNotFoundError: Its folder is not there.
        NotADirectoryError: What should be its folder is a file.
        IsADirectoryError: It is a folder itself.
        PermissionError: Nothing may be written into its folder.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: it is a folder: expected the name of a file")
    if not path.parent.exists():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent} to write it into")
    if not path.parent.is_dir():
        raise NotADirectoryError(f"{path}: {path.parent} is no folder to write it into")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{path}: nothing may be written into the folder {path.parent}")


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file in one go: whoever reads it finds the old content or the new, never a part.

    Args:
        path: The file.
        text: Its content.

    Raises:
        OSError: It cannot be written; the message names it.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file in one go, like :func:`write_text`.

    Args:
        path: The file.
        content: Its content.

    Raises:
        OSError: It cannot be written; the message names it.
    """
    check_target(path)
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a rename may reach the disk before the bytes do
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None:
            raise
        # It would name the temporary file, of which nobody knows. The number alone makes it an error of the same class.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes a value as JSON, in one go like :func:`write_text`.

    A dict has a line per entry and a list one line in all. Arrays become lists, and floats that JSON does not know
    ``{"float": "nan"}``.

    Args:
        path: The file.
        value: Dicts, lists, strings, numbers, ``None``, arrays.

    Raises:
        TypeError: Something in ``value`` is none of these; the message says where.
        OSError: It cannot be written; the message names it.
    """
    write_text(path, _lines(_encoded(value)) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Reads what :func:`write_json` or a line of :func:`one_line` has kept.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not JSON.
    """
    return parsed(pathlib.Path(path).read_text(encoding="utf-8"))


def one_line(value: Any) -> str:
    """A value as JSON in one line, in the form of :func:`write_json`; arguments and errors as there."""
    return json.dumps(_encoded(value), allow_nan=False, ensure_ascii=False)


def parsed(text: str) -> Any:
    """The inverse of :func:`one_line`.

    Raises:
        ValueError: It is not JSON, or lists in lists go deeper than Python can follow.
    """
    try:
        return json.loads(text, object_hook=_decoded)
    except RecursionError as error:
        raise ValueError("too many lists or objects inside of one another") from error


def _encoded(value: Any, where: str = "") -> Any:
    if isinstance(value, dict):
        return {str(name): _encoded(item, f"{where}[{name!r}]") for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encoded(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if hasattr(value, "__array__"):
        return _encoded(np.asarray(value).tolist(), where)
    if isinstance(value, float):
        return value if math.isfinite(value) else {FLOAT: str(value)}
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"value{where}: expected what JSON can hold, got an object of type {type(value).__name__}")


def _decoded(value: dict[str, Any]) -> Any:
    if value.keys() == {FLOAT} and value[FLOAT] in ("nan", "inf", "-inf"):
        return float(value[FLOAT])
    return value


def _lines(value: Any, indent: str = "") -> str:
    if not isinstance(value, dict) or not value or value.keys() == {FLOAT}:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    inner = indent + "  "
    entries = [f"{inner}{json.dumps(name, ensure_ascii=False)}: {_lines(item, inner)}" for name, item in value.items()]
    return "{\n" + ",\n".join(entries) + f"\n{indent}}}"
