"""Where the command line writes: results on standard output, everything else on standard error."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from stepax import files

__all__ = ["ERR", "OUT", "print_json", "print_tables", "say"]

# Numbers and paths in one colour: Rich would paint them by guess.
OUT = Console(highlight=False, soft_wrap=True)
ERR = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str = "") -> None:
    """Prints a line as it is, without reading markup from it."""
    OUT.print(text, markup=False)


def print_tables(tables: Iterable[Table]) -> None:
    """Prints tables with an empty line before each."""
    for table in tables:
        say()
        OUT.print(table)


def print_json(value: Any) -> None:
    """Prints a value as one line of JSON; NaN and infinities as ``{"float": "nan"}``."""
    OUT.print(files.one_line(value), markup=False)
