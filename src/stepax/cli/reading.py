"""Data for the command line: read by name or path, faults told of options instead of arguments, and changes noticed."""

import contextlib
import hashlib
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import stepax.data
from stepax.checks import nearest
from stepax.cli import texts
from stepax.data import Dataset

__all__ = ["as_options", "fingerprint", "in_options", "load", "names", "without_advice"]

NAME = "(target|task|size|test_fraction|columns|drop|resize|encoding|text)"
# As it begins a message, as it is said to be something, and as it is given a value.
ARGUMENT = re.compile(
    rf"^{NAME}(?=: )|(?<![\w/-]){NAME.replace('|text', '')}(?= is )|(?<![\w/-]){NAME}=(?:True\b)?( ?)"
)

SAID = {
    "size=(height, width)": "--size HEIGHT WIDTH",
    "; --encoding on the command line": "",
    ", or read its texts by data.labelled_texts": ", or --text COLUMN to learn from its texts",
    ", or a .txt file for data.text": ", or a .txt file",
}
"""What else is told in other words."""

OPTION = re.compile("--(columns|drop|size|target|task|test-fraction|text): ")
ADVICE = re.compile("; (?:pass|change it, or|add rows,) ")


def names() -> tuple[str, ...]:
    """The names of all data that there are by name, texts too."""
    return (*stepax.data.names(), *texts.NAMES)


def load(source: str, reading: Mapping[str, Any]) -> Dataset:
    """Reads data by name or path: texts as :mod:`stepax.cli.texts` does, others as :func:`stepax.data.load`.

    Args:
        source: A name or a path.
        reading: The options with which they are read.

    Raises:
        ValueError: They are unknown, or not as described, or an option does not apply; in words of options.
        FileNotFoundError: There is nothing at the path.
    """
    with as_options():
        if texts.form_of(source, reading) != "rows":
            return texts.read(source, reading)
        path = pathlib.Path(source)
        if len(path.parts) == 1 and not path.suffix and source not in names() and not path.expanduser().exists():
            raise ValueError(f"unknown data set {nearest(source, names())}")
        return stepax.data.load(source, **reading)


def in_options(text: str) -> str:
    """What the library says of its arguments, said of the options of the same names.

    >>> in_options("pass size=(height, width) to resize all")
    'pass --size HEIGHT WIDTH to resize all'
    """
    for said, told in SAID.items():
        text = text.replace(said, told)
    text = re.sub(r"\b(size|columns|drop)=\(([^()]*?),?\)", lambda m: f"{m[1]}={m[2].replace(',', '')}", text)
    return ARGUMENT.sub(_option, text)


def without_advice(text: str) -> str:
    """What is wrong with data, without the options of a training alone: the one that it is about, and what helps."""
    return ADVICE.split(text[found.end() :] if (found := OPTION.match(text)) else text)[0]


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
