"""How the values of options are read, and how tyro's boxes of errors become one line."""

import contextlib
import io
import pathlib
import re
import textwrap
from collections.abc import Callable, Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from tyro.conf import arg
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

__all__ = ["REGISTRY", "one_line", "shown"]

REGISTRY = ConstructorRegistry()
"""Our own readers of values: tyro's would speak of Python's types, and take the word ``None`` for a value."""


def shown(metavar: str, default: str) -> Any:
    """How an option is shown whose default depends on others, and is ``None`` there."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


def _as(function: Callable[[str], Any], words: str) -> Callable[[str], Any]:
    """A reader that says in plain words what it expected."""

    def read(text: str) -> Any:
        try:
            return function(text)
        except ValueError:
            raise ValueError(f"expected {words}, got {text!r}") from None

    return read


READERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    pathlib.Path: pathlib.Path,
    int: _as(int, "a whole number"),
    float: _as(float, "a number"),
}


def _reader(kinds: tuple[Any, ...]) -> Callable[[str], Any] | None:
    """What reads one value of some types, the words of a ``Literal`` first."""
    words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    others = [READERS.get(kind) for kind in kinds if get_origin(kind) is not Literal]
    if None in others or len(others) > 1:
        return None
    if not words:
        return others[0]

    def chosen(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    what = " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
    if not others:
        return _as(chosen, what)
    (number,) = others
    return _as(lambda text: text if text in words or number is None else number(text), f"a whole number or {what}")


@REGISTRY.primitive_rule
def _rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """One value, or several in a tuple; anything else is left to tyro."""
    union = get_origin(info.type) in (Union, UnionType)
    kinds = tuple(kind for kind in get_args(info.type) if kind is not NoneType) if union else (info.type,)
    items = get_args(kinds[0]) if len(kinds) == 1 and get_origin(kinds[0]) is tuple else ()
    read = _reader(items[:1] or kinds)
    if read is None:
        return None
    return PrimitiveConstructorSpec(
        nargs="*" if items[-1:] == (...,) else len(items) or 1,
        metavar="VALUE",
        instance_from_str=lambda texts: tuple(map(read, texts)) if items else read(texts[0]),
        is_instance=lambda value: value is None or isinstance(value, tuple) == bool(items),
        str_from_instance=lambda value: list(map(str, value)) if items and value else [str(value)],
    )


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Turns the box that tyro prints about a wrong command line into the message of an error.

    Raises:
        ValueError: tyro ended the process with an error.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            yield
    except SystemExit as leaving:
        if not leaving.code:
            raise
        raise ValueError(_unboxed(printed.getvalue())) from None


def _unboxed(text: str) -> str:
    """What a box says, without its frame, its colours and the help of single options, which stands further right."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    lines = [line.strip("│").rstrip() for line in plain.splitlines()]
    # Where there are no such characters, the title stands above a line.
    body = lines[1:-1] if plain.startswith("╭") else lines[2:]
    parts: list[list[str]] = [[]]
    for line in textwrap.dedent("\n".join(body)).splitlines():
        if re.fullmatch("[─-]{9,}", line.strip()):
            parts.append([])
        elif not line.startswith(" " * 8):
            parts[-1].append(line.strip())
    first, *others = (" ".join(part).strip() for part in parts)
    said = [first, *(part for part in others if part.startswith(("Perhaps", "Available")))]
    said = [part[:1].lower() + re.sub(r"(?<!\.)\.$", "", part[1:]) for part in said if part]
    return re.sub(r"^error parsing ", "", "; ".join(said)) or " ".join(plain.split())
