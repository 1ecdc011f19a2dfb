"""Tables from CSV files: numeric columns and one named target."""

import csv
import io
import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stepax.checks import nearest
from stepax.data.dataset import Dataset, Task
from stepax.data.split import split
from stepax.data.targets import as_float32, encode

__all__ = ["Table", "numbers", "read_csv", "read_table"]

MARK = "\ufeff"
"""The byte-order mark that spreadsheets write, which would become part of the first name."""

# A cell in quotes, and a quote that is still open, where a cell begins.
QUOTED, OPEN = re.compile(r'(^|[,;\t]) *"(?:[^"]|"")*"'), re.compile(r'(?:^|[,;\t]) *"')

LONGEST = 100
"""Lines of a header at most."""


class Table(NamedTuple):
    """The cells of a CSV file as text: the columns' names, the rows, and the line of the file where each row ends."""

    names: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]


def read_csv(
    path: Path,
    target: str | None,
    test_fraction: float,
    task: Task | None = None,
    columns: Sequence[str] | None = None,
    drop: Sequence[str] | None = None,
) -> Dataset:
    """Read a table in UTF-8, separated by commas, semicolons or tabs, whose first row names the columns.

    Cells may be quoted, blanks around them do not count, and empty lines are skipped. Every column that is an input
    must be numeric and complete. A target of text, or of few whole numbers, makes a classification (the rule is
    ``targets.encode``'s).

    Args:
        path: The file.
        target: Name of the column to predict.
        test_fraction: Share of the rows that is held out.
        task: What the target is, where the rule would guess wrong.
        columns: Names of the inputs, in their order; ``None``: all but the target.
        drop: Names of columns to leave out.

    Returns:
        The data set: ``x [n, columns]`` in raw units, ``features`` their names.

    Raises:
        ValueError: The file is no such table; the message names the column and the line.
    """
    table = read_table(path)
    if target is None:
        raise ValueError(
            f"{path} needs the name of its target column: pass target= one of {', '.join(map(repr, table.names))}"
        )
    if target not in table.names:
        raise ValueError(f"{path} has no column {nearest(target, table.names)}")
    inputs = _inputs(path, table.names, target, columns, drop)
    cells = {name: [row[i] for row in table.rows] for i, name in enumerate(table.names)}
    goal = encode(_target(path, target, cells[target], table.lines), f"column {target!r} of {path}", task)
    advice = "; pass drop= or columns= to leave the column out, or read its texts by data.labelled_texts"
    x = np.stack([numbers(path, name, cells[name], table.lines, advice) for name in inputs], axis=1)
    train, test = split({"x": x, "y": goal.y}, test_fraction, goal.classes)
    return Dataset(train, test, path.stem, goal.task, goal.classes, inputs)


def _inputs(
    path: Path, names: tuple[str, ...], target: str, columns: Sequence[str] | None, drop: Sequence[str] | None
) -> tuple[str, ...]:
    """The names of the columns to predict from."""
    for argument, chosen in {"columns": columns, "drop": drop}.items():
        for name in chosen or ():
            if name not in names:
                raise ValueError(f"{argument}: {path} has no column {nearest(name, names)}")
            if name == target:
                raise ValueError(f"{argument}: {name!r} is the target column of {path}")
    wanted = dict.fromkeys(names if columns is None else columns)  # once each
    inputs = tuple(name for name in wanted if name != target and name not in (drop or ()))
    if not inputs:
        only = f"has the target column {target!r} only" if len(names) == 1 else "is left without columns"
        raise ValueError(f"{path} {only}: expected columns to predict the target from")
    return inputs


def read_table(path: Path, encoding: str = "utf-8") -> Table:
    """The cells of a CSV file, without blanks around them.

    Semicolons or tabs separate them where the header has no commas, but for those in quotes. A byte-order mark at the
    beginning is dropped.

    Args:
        path: The file.
        encoding: How its bytes stand for characters.

    Raises:
        ValueError: It is no table with a name for each column and a cell for each name; the message says where.
    """
    text = _content(path, encoding)
    rows, lines = _cells(path, text, _delimiter(text))
    if len(rows) < 2:
        raise ValueError(
            f"{path} has {'a header and no rows' if rows else 'no lines'}: expected a header and at least one row"
        )
    _check_shape(path, rows, lines)
    return Table(tuple(rows[0]), rows[1:], lines[1:])


def _content(path: Path, encoding: str) -> str:
    """The text of a file, with the ends of its lines as they are."""
    try:
        return path.read_bytes().decode(encoding).removeprefix(MARK)
    except UnicodeDecodeError as error:
        name = "UTF-8" if encoding == "utf-8" else encoding
        raise ValueError(f"{path} is not {name} text ({error}): save it with this encoding") from error


def _delimiter(text: str) -> str:
    """What separates the names in the header, outside of quotes."""
    header = ""
    for line in itertools.islice(io.StringIO(text, newline=""), LONGEST):
        if not header and not line.strip("\r\n"):
            continue
        header = QUOTED.sub(r"\1", header + line)
        if not OPEN.search(header):  # else the header goes on
            break
    return next((mark for mark in ",;\t" if mark in header), ",")


def _cells(path: Path, text: str, delimiter: str) -> tuple[list[list[str]], list[int]]:
    """The cells of every row that has any, and the line where each row ends."""
    rows, lines = [], []
    # strict: a quote that is never closed would otherwise swallow the rest of the file into one cell.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    limit = csv.field_size_limit(max(len(text), csv.field_size_limit()))  # a long text is no damage
    try:
        for row in reader:
            if row:
                rows.append([cell.strip() for cell in row])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: not a CSV table ({error})") from error
    finally:
        csv.field_size_limit(limit)
    return rows, lines


def _check_shape(path: Path, rows: list[list[str]], lines: list[int]) -> None:
    """Raise unless the columns have names of their own and every row has a cell for each."""
    header = rows[0]
    for position, name in enumerate(header):
        if not name:
            raise ValueError(f"{path}: column {position + 1} has no name (a saved row number?): name or remove it")
        if name in header[:position]:
            raise ValueError(f"{path}: two columns are called {name!r}: expected names that differ")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            raise ValueError(f"{path}, line {line}: {len(row)} cells, but the header names {len(header)} columns")


def numbers(path: Path, name: str, cells: list[str], lines: list[int], advice: str = "") -> np.ndarray:
    """A column of numbers ``[n]`` float32.

    Args:
        path: The file, for messages.
        name: The column.
        cells: Its cells.
        lines: The line of the file where each ends.
        advice: The end of the message about a cell without a number.

    Raises:
        ValueError: A cell holds no finite number; the message names the first.
    """
    try:
        values = np.array(cells).astype(np.float64)
    except ValueError:
        values = np.array([_number(cell) for cell in cells])
    # NumPy reads "1_000" as Python does; in a table it is more likely a damaged cell.
    bad = ~np.isfinite(values) | np.array(["_" in cell for cell in cells])
    if bad.any():
        first = int(bad.argmax())
        raise ValueError(
            f"{path}, line {lines[first]}: column {name!r} holds {cells[first]!r}: expected a finite number{advice}"
        )
    return as_float32(values, f"column {name!r} of {path}")


def _number(cell: str) -> float:
    """The number that a cell holds, NaN where it holds none."""
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _target(path: Path, name: str, cells: list[str], lines: list[int]) -> np.ndarray:
    """The target column ``[n]``: float64 where every cell is a number, text where none is.

    A mixture is refused: it is a column of numbers with a mark for "missing" far more often than a list of classes.
    """
    numeric = [math.isfinite(_number(cell)) and "_" not in cell for cell in cells]
    if all(numeric):
        return np.array([float(cell) for cell in cells])
    first = cells.index("") if "" in cells else numeric.index(False)
    if any(numeric) or not cells[first]:
        other = "" if not any(numeric) else " (others hold numbers)"
        raise ValueError(
            f"{path}, line {lines[first]}: target column {name!r} holds {cells[first]!r}{other}: "
            "expected a number in every row, or the name of a class in every row"
        )
    return np.array(cells)
