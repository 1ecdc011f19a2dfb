"""Texts for the command line, as they are read: rows that are characters, or rows that are texts with a class each.

A text that a model learns to go on with becomes rows ``x [characters]`` uint32, its code points; of texts with classes
every row is one, ``x [n]`` objects. Tokens take their place once it is known which rows are learnt from
(:mod:`stepax.cli.tokens`).
"""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from stepax import data
from stepax.data.corpora import CORPORA, SENTENCES
from stepax.data.dataset import Dataset

__all__ = ["NAMES", "WORDS", "Form", "characters", "form_of", "objects", "read", "read_file", "text_of"]

Form = Literal["rows", "text", "texts"]
"""What data are: rows of numbers, one text to go on with, or texts with a class each."""

WORDS: dict[Form, str] = {"rows": "no text", "text": "a text to go on with", "texts": "texts with classes"}
"""The same for messages."""

NAMES = (*CORPORA, *SENTENCES)
"""The names of published texts."""

FRACTIONS = {"text": 0.1, "texts": 0.2}
"""The share that is held out for testing unless another is asked for."""


def form_of(source: str, reading: Mapping[str, Any]) -> Form:
    """What data are.

    Args:
        source: Their name or path.
        reading: The options with which they are read.
    """
    if source in CORPORA or (source not in data.names() and pathlib.Path(source).suffix.lower() == ".txt"):
        return "text"
    return "texts" if source in SENTENCES or "text" in reading else "rows"


def read(source: str, reading: Mapping[str, Any]) -> Dataset:
    """Reads what :func:`form_of` calls ``text`` or ``texts``.

    Args:
        source: A name, a .txt file, or with ``text`` and ``target`` a .csv table.
        reading: The options with which it is read: ``text``, ``target``, ``encoding``, ``test_fraction``.

    Returns:
        The data: of a text the end is the test part; of texts it is the published one, or one with the same share of
        every class, always the same.

    Raises:
        ValueError: An option does not apply, or the file is no such text; the message says where.
        FileNotFoundError: There is nothing at the path.
    """
    form = form_of(source, reading)
    takes = {"test_fraction"} if source in NAMES else {"encoding", "test_fraction"}
    takes |= {"text", "target"} if form == "texts" and source not in NAMES else set()
    for name in reading:
        if name not in takes:
            raise ValueError(f"--{name.replace('_', '-')} does not apply to {source}, which is {WORDS[form]}")
    if source not in NAMES and not pathlib.Path(source).expanduser().exists():
        raise FileNotFoundError(f"there is no file or folder {source!r}")
    fraction = float(reading.get("test_fraction", FRACTIONS[form]))
    if not 0 <= fraction < 1:
        raise ValueError(f"test_fraction: expected a number from 0 to below 1, got {fraction}")
    return _text(source, reading, fraction) if form == "text" else _texts(source, reading, fraction)


def _text(source: str, reading: Mapping[str, Any], fraction: float) -> Dataset:
    whole = data.corpus(source) if source in CORPORA else data.text(source, reading.get("encoding", "utf-8"))
    x = characters(whole)
    place = len(x) - round(fraction * len(x))
    train, test = ({"x": part, "y": part} for part in (x[:place], x[place:]))
    return Dataset(train, test, pathlib.Path(source).stem, "classification")


def _texts(source: str, reading: Mapping[str, Any], fraction: float) -> Dataset:
    if source in SENTENCES:
        found = data.sentences(source)
    elif pathlib.Path(source).suffix.lower() != ".csv":
        raise ValueError(f"--text is for .csv tables, and {source} is none")
    elif "target" not in reading:
        raise ValueError(f"{source} needs the name of its target column, the class of each text: pass --target COLUMN")
    else:
        found = data.labelled_texts(source, reading["text"], reading["target"], reading.get("encoding", "utf-8"))
    if found.held_out and "test_fraction" in reading:
        raise ValueError(f"--test-fraction does not apply to {source}, which has test rows of its own")
    parts = (found.train, found.test) if found.held_out else found.split(fraction)
    train, test = ({"x": objects(part.texts), "y": part.labels} for part in parts)
    return Dataset(train, test, found.name, "classification", found.classes)


def objects(texts: Iterable[str]) -> np.ndarray:
    """Texts as an array that can be indexed by rows."""
    return np.array([*texts, None], object)[:-1]  # without the last one NumPy might look into them


def read_file(path: pathlib.Path, column: str | None, encoding: str) -> tuple[str, ...]:
    """Texts without classes.

    Args:
        path: A .csv table with the column, or a .txt file with a text on each line; empty lines are skipped.
        column: The name of the table's column; ``None``: it has but one.
        encoding: How the file's bytes stand for characters.

    Raises:
        ValueError: It is no such file; the message names it.
        FileNotFoundError: There is nothing at the path.
    """
    from stepax.checks import nearest
    from stepax.data.table import read_table

    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {str(path)!r}")
    if path.suffix.lower() == ".txt":
        return tuple(line for line in data.text(path, encoding).split("\n") if line.strip())
    if path.suffix.lower() != ".csv":
        raise ValueError(f"{path} is no kind of file with texts: expected .csv, or .txt with a text on each line")
    table = read_table(path, encoding)
    if column is None:
        if len(table.names) > 1:
            raise ValueError(f"{path} has {len(table.names)} columns: expected one, of texts")
        column = table.names[0]
    if column not in table.names:
        raise ValueError(f"{path} has no column {nearest(column, table.names)}")
    return tuple(row[table.names.index(column)] for row in table.rows)


def characters(text: str) -> np.ndarray:
    """The code points of a text, ``[characters]`` uint32."""
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def text_of(x: np.ndarray) -> str:
    """The inverse of :func:`characters`."""
    return np.ascontiguousarray(x, np.uint32).tobytes().decode("utf-32-le")
