"""Checks of the widths that a network is made with."""

from collections.abc import Iterable
from typing import Any

from stepax.checks import check_count

__all__ = ["check_widths"]


def check_widths(name: str, value: Any) -> tuple[int, ...]:
    """Refuse what is no sequence of layers' widths; it may be empty.

    Args:
        name: What the caller calls the argument.
        value: What came for it.

    Returns:
        The widths.

    Raises:
        TypeError: It is no sequence, or a width is no whole number.
        ValueError: A width is below 1.

    >>> check_widths("features", (64, 0))
    Traceback (most recent call last):
    ValueError: features[1]: expected at least 1, got 0
    """
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{name}: expected a sequence of widths such as (64, 10), got {value!r}")
    widths = tuple(value)
    for i, width in enumerate(widths):
        check_count(f"{name}[{i}]", width)
    return widths
