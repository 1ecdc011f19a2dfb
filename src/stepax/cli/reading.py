"""Data for the command line: faults are told of options instead of arguments, and a change of the files is noticed."""

import contextlib
import hashlib
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from stepax.data import names

__all__ = ["as_options", "fingerprint", "in_options"]

NAME = "(target|task|size|test_fraction|columns|drop|resize)"
# As it begins a message, as it is said to be something, and as it is given a value.
ARGUMENT = re.compile(rf"^{NAME}(?=: )|(?<![\w/-]){NAME}(?= is )|(?<![\w/-]){NAME}=(?:True\b)?( ?)")


def in_options(text: str) -> str:
    """What the library says of its arguments, said of the options of the same names.

    >>> in_options("pass size=(height, width) to resize all")
    'pass --size HEIGHT WIDTH to resize all'
    """
    text = text.replace("size=(height, width)", "--size HEIGHT WIDTH")
    text = re.sub(r"\b(size|columns|drop)=\(([^()]*?),?\)", lambda m: f"{m[1]}={m[2].replace(',', '')}", text)
    return ARGUMENT.sub(_option, text)


def _option(found: re.Match[str]) -> str:
    name = "--" + (found[1] or found[2] or found[3]).replace("_", "-")
    return name if found[3] is None or found[0].endswith("True") else f"{name} "


@contextlib.contextmanager
def as_options() -> Iterator[None]:
    """Tells errors about arguments, from inside the ``with``, as errors about options."""
    try:
        yield
    except (ValueError, TypeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(in_options(str(error))) from error


def fingerprint(source: str) -> dict[str, Any] | None:
    """What tells whether data have changed: their size, and a SHA-256 of the file, or of a folder's names and sizes.

    Args:
        source: A name, for which there is nothing to tell, or a path.
    """
    path = pathlib.Path(source)
    if source in names() or not path.exists():
        return None
    if path.is_file():
        with path.open("rb") as file:
            return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    files = sorted((str(file.relative_to(path)), file.stat().st_size) for file in path.rglob("*") if file.is_file())
    return {"bytes": sum(size for _, size in files), "sha256": hashlib.sha256(repr(files).encode()).hexdigest()}
