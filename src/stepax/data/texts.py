"""Texts from a user's files: a whole file as one text, or a column of a table as texts with labels."""

import os
from pathlib import Path

import numpy as np

from stepax.checks import nearest
from stepax.data.labelled import Sentences
from stepax.data.table import read_table
from stepax.data.targets import encode

__all__ = ["labelled_texts", "text"]

MARK = "\ufeff"
"""The byte-order mark that some editors write at the beginning of a file."""

DIGITS = 18
"""Whole numbers with more digits than int64 surely holds stay names."""


def text(path: str | os.PathLike[str], encoding: str = "utf-8") -> str:
    r"""Read a file as one text.

    A byte-order mark at its beginning is dropped, and every end of a line (``\r\n``, ``\r``) becomes ``\n``.

    Args:
        path: The file.
        encoding: How its bytes stand for characters, as Python names it.

    Returns:
        The text, with something in it.

    Raises:
        OSError: The file cannot be read.
        ValueError: The encoding is unknown; the bytes are not text in it, and the message says where; or the file is
            empty or blank.
    """
    path = Path(path).expanduser()
    content = path.read_bytes()
    found = _decoded(path, content, encoding).removeprefix(MARK)
    if "\0" in found:
        line = found[: found.index("\0")].count("\n") + 1
        raise ValueError(f"{path}, line {line} holds the character NUL: expected a text{_other(encoding)}")
    if not found.strip():
        raise ValueError(f"{path} is {'blank' if content else 'empty'}: expected a text")
    return found.replace("\r\n", "\n").replace("\r", "\n")


def _decoded(path: Path, content: bytes, encoding: str) -> str:
    """The text that the bytes stand for."""
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line, bad = content[: error.start].count(b"\n") + 1, content[error.start : error.start + 1].hex()
        raise ValueError(
            f"{path}, byte {error.start} (line {line}) is {bad or 'missing'}: not {encoding} ({error.reason})"
            f"{_other(encoding)}"
        ) from error
    except (LookupError, UnicodeError, ValueError) as error:
        raise ValueError(
            f"encoding: {path} cannot be read as {encoding!r} ({error}): expected a name such as 'utf-8' or 'latin-1'"
        ) from error


def _other(encoding: str) -> str:
    """The advice at the end of a message about bytes that are no text."""
    others = [repr(name) for name in ("utf-8", "cp1252", "latin-1", "utf-16") if name != encoding.lower()]
    return f"; for a text in another encoding pass encoding= ({', '.join(others)}; --encoding on the command line)"


def labelled_texts(
    path: str | os.PathLike[str],
    text: str,
    target: str,
    encoding: str = "utf-8",
) -> Sentences:
    """Read the texts of a CSV table and the class of each.

    The table is as for :func:`stepax.data.load`: separated by commas, semicolons or tabs, with the columns' names in
    its first row. Other columns do not count. Classes are sorted: by number where all are whole numbers.

    Args:
        path: The file.
        text: The name of the column with the texts.
        target: The name of the column with the classes.
        encoding: How the file's bytes stand for characters.

    Returns:
        The texts and their labels, in the order of the file; ``split`` holds some of them out. There may be one class
        only, which is enough to measure a model.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no such table in this encoding; a column is not there; a text or a class is empty. The
            message says where.
    """
    path = Path(path).expanduser()
    _decoded(path, path.read_bytes(), encoding)  # says where the bytes are wrong
    table = read_table(path, encoding)
    for argument, name in {"text": text, "target": target}.items():
        if name not in table.names:
            raise ValueError(f"{argument}: {path} has no column {nearest(name, table.names)}")
    if text == target:
        raise ValueError(f"target: {target!r} is the column of the texts: expected another column of {path}")
    columns = {name: [row[table.names.index(name)] for row in table.rows] for name in (text, target)}
    for name, cells in columns.items():
        if "" in cells:
            line = table.lines[cells.index("")]
            raise ValueError(f"{path}, line {line}: column {name!r} is empty: expected something in every row")
    labels, _, classes = encode(_names(columns[target]), f"column {target!r} of {path}", "classification")
    return Sentences(tuple(columns[text]), labels, classes or (), path.stem)


def _names(cells: list[str]) -> np.ndarray:
    """The classes ``[n]``: integers where every cell is one as Python writes it, so that 01 is not 1, else text."""
    if all(len(cell) <= DIGITS and _is_integer(cell) for cell in cells):
        return np.array([int(cell) for cell in cells])
    return np.array(cells)


def _is_integer(cell: str) -> bool:
    return cell.removeprefix("-").isdecimal() and str(int(cell)) == cell
