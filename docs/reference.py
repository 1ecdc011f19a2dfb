"""Writes docs/reference.md: every public name with the first line of its docstring.

python docs/reference.py
"""

import importlib
import inspect
import pathlib
from collections.abc import Iterator
from typing import Any

MODULES = (
    "stepax",
    "nn",
    "nn.filters",
    "nn.positions",
    "losses",
    "metrics",
    "ops",
    "text",
    "rl",
    "rl.host",
    "rl.environments.known",
    "data",
    "plot",
)
SHELL = ("checkpoint", "weights", "deployment", "processes", "logs", "progress", "record", "compile")
PAGE = pathlib.Path(__file__).with_name("reference.md")


def text() -> str:
    """The page."""
    sections = [section(name) for name in (*MODULES, *SHELL)]
    head = "# Reference\n\nEvery public name; `help(name)` tells the rest. Written by `python docs/reference.py`.\n"
    return "\n".join([head, *sections])


def section(name: str) -> str:
    module = importlib.import_module("stepax" if name == "stepax" else f"stepax.{name}")
    prefix = "" if name == "stepax" else f"{name}."
    title = "`stepax`" if name == "stepax" else f"`stepax.{name}`"
    rows = "\n".join(f"| `{prefix}{public}` | {line} |" for public, line in entries(module))
    return f"## {title}\n\n{summary(module)}\n\n| name | |\n|---|---|\n{rows}\n"


def entries(module: Any) -> Iterator[tuple[str, str]]:
    for public in sorted(module.__all__):
        yield public, summary(getattr(module, public)).replace("|", "\\|")


def summary(thing: Any) -> str:
    """The first line of a docstring; of a number itself, the number."""
    if isinstance(thing, int):
        return f"`{thing}`"
    if getattr(thing, "__module__", "").startswith("jax"):
        return "JAX's own."  # its words change from version to version
    return (inspect.getdoc(thing) or "").strip().partition("\n\n")[0].replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
