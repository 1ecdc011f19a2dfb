"""Choosing by name: what is known, and which options belong to it."""

from collections.abc import Mapping
from typing import Any, TypeVar

from stepax.checks import nearest

__all__ = ["chosen", "settings"]

T = TypeVar("T")


def chosen(option: str, table: Mapping[str, T], name: str) -> T:
    """The entry of a table by its name.

    Args:
        option: The option that names it, for the message.
        table: What there is.
        name: What was asked for.

    Raises:
        ValueError: There is no such name; the message lists those there are, and the nearest of them.
    """
    if name not in table:
        raise ValueError(f"--{option}: unknown name {nearest(name, table)}")
    return table[name]


def settings(what: str, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a choice: its defaults, overruled by those that were given.

    Args:
        what: The choice, for the message, such as ``"--model mlp"``.
        defaults: Its options with their defaults.
        given: Options by name; ``None`` where one was not given.

    Raises:
        ValueError: An option was given that the choice does not have, which would change nothing.
    """
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in defaults:
            options = ", ".join(_dashed(own) for own in defaults) or "no options of its own"
            raise ValueError(f"{_dashed(name)} does not apply to {what}, which has {options}")
    return {**defaults, **given}


def _dashed(name: str) -> str:
    return "--" + name.replace("_", "-")
