"""Where the command line writes: results on standard output, everything else on standard error."""

import os
import pathlib
import shlex
import shutil
import sys
from collections.abc import Iterable
from typing import Any

import rich.console
from rich.table import Table

from stepax import files

__all__ = ["ERR", "OUT", "print_json", "print_tables", "program", "python", "say", "warn"]


class Console(rich.console.Console):
    """A console that falls silent when its reader has gone (`| head`): Rich would end the process, and a training."""

    def on_broken_pipe(self) -> None:
        """Sends what is still to come nowhere."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


# Numbers and paths in one colour: Rich would paint them by guess.
OUT = Console(highlight=False, soft_wrap=True)
ERR = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str = "") -> None:
    """Prints a line as it is, without reading markup from it."""
    OUT.print(text, markup=False)


def warn(text: str) -> None:
    """Prints a line about something that may be other than it was meant."""
    ERR.print(f"warning: {text}", markup=False)


def _command(path: pathlib.Path) -> str:
    here = pathlib.Path.cwd()
    inside = path.is_relative_to(here) and path.parent != here  # a bare name would be looked for on the PATH
    return shlex.quote(str(path.relative_to(here) if inside else path))


def python() -> str:
    """The command that starts this Python."""
    return _command(pathlib.Path(sys.executable))


def program() -> str:
    """The command that starts this program: its name where the shell finds it, else one that works all the same."""
    if shutil.which("stepax"):
        return "stepax"
    script = pathlib.Path(sys.executable).with_name("stepax")
    return _command(script) if script.is_file() else f"{python()} -m stepax"


def print_tables(tables: Iterable[Table]) -> None:
    """Prints tables with an empty line before each."""
    for table in tables:
        say()
        OUT.print(table)


def print_json(value: Any) -> None:
    """Prints a value as one line of JSON; NaN and infinities as ``{"float": "nan"}``."""
    OUT.print(files.one_line(value), markup=False)
