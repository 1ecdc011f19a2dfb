"""What a caller hands in beside arrays: sizes, as any whole number and one for all axes of space or for each; masks."""

import operator
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

__all__ = ["AROUND", "Pads", "check_truth", "each", "pads", "whole"]

# A (low, high) pair per axis of space.
Pads = tuple[tuple[int, int], ...]
# Paddings with the input's own values, by NumPy's names for them.
AROUND = {"CIRCULAR": "wrap", "REFLECT": "reflect"}


def whole(name: str, value: Any, least: int = 1) -> int:
    """The value as an ``int``, of whatever type of whole numbers it is.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is below ``least``.

    >>> whole("groups", 0)
    Traceback (most recent call last):
    ValueError: groups: expected at least 1, got 0
    """
    number = _index(value)
    if number is None:
        raise TypeError(f"{name}: expected a whole number, got {value!r}")
    if number < least:
        raise ValueError(f"{name}: expected at least {least}, got {number}")
    return number


def each(name: str, value: Any, axes: int, least: int = 1) -> tuple[int, ...]:
    """One number per axis of space, from such a sequence or from one number for all of them.

    Raises:
        TypeError: A number is not whole.
        ValueError: There are more or fewer than axes, or one is below ``least``.
    """
    expected = f"{name}: expected a whole number of at least {least}, or one per axis of space ({axes}), got {value!r}"
    found = _numbers(value, axes)
    numbers = [number for number in found if number is not None]
    if not found or len(numbers) < len(found):
        raise TypeError(expected)
    if len(numbers) != axes or min(numbers) < least:
        raise ValueError(expected)
    return tuple(numbers)


def pads(
    padding: Any,
    space: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    *,
    others: Sequence[str] = (),
) -> Pads:
    """The padding in numbers.

    Args:
        padding: ``"SAME"``, ``"VALID"`` or one of the ``others``; a number for all ends; or one per axis: a number for
            both ends or a (low, high) pair.
        space: The input's axes of space.
        window: How far the window reaches along each, dilation included.
        strides: The distance between the window's places along each.
        others: What else is allowed: ``"CAUSAL"``, over one axis; ``"CIRCULAR"`` and ``"REFLECT"``, half a window on
            either side whatever the strides.

    Returns:
        A (low, high) pair per axis.

    Raises:
        TypeError: It is none of these, or a number is not whole.
        ValueError: It has another name, or more or fewer parts than there are axes.
    """
    axes = len(space)
    names = ["SAME", "VALID", *(name for name in others if name != "CAUSAL" or axes == 1)]
    expected = (
        f"padding: expected one of {', '.join(map(repr, names))}, a number, or one number or (low, high) pair per axis "
        f"of space ({axes}), got {padding!r}"
    )
    if isinstance(padding, str):
        if padding not in names:
            raise ValueError(expected)
        if padding == "CAUSAL":
            return ((window[0] - 1, 0),)
        if padding in AROUND:
            return tuple(((reach - 1) // 2, reach // 2) for reach in window)
        return tuple((low, high) for low, high in lax.padtype_to_pads(space, window, strides, padding))
    ends = _index(padding)
    parts = [padding] * axes if ends is not None else _sequence(padding)
    if parts is None:
        raise TypeError(expected)
    found = [_numbers(part, 2) for part in parts]
    if any(number is None for pair in found for number in pair) or not all(found):
        raise TypeError(expected)
    pairs = tuple((pair[0], pair[1]) for pair in found if len(pair) == 2)
    if len(pairs) != axes or len(found) != axes:
        raise ValueError(expected)
    return pairs  # type: ignore[return-value]


def check_truth(name: str, mask: Any) -> None:
    """Refuse what is neither true or false nor a whole number.

    Raises:
        TypeError: The mask is floating: 0 and −inf, which others add to scores, would mean the opposite.
    """
    dtype = jnp.result_type(mask)
    if not any(jnp.issubdtype(dtype, kind) for kind in (jnp.bool_, jnp.integer)):
        raise TypeError(f"{name}: expected booleans, true where something is real, got {dtype}")


def _index(value: Any) -> int | None:
    """A whole number as an ``int``, else ``None``; a bool, which counts as a number to Python, is none."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def _sequence(value: Any) -> list[Any] | None:
    try:
        return list(value)
    except TypeError:
        return None


def _numbers(value: Any, count: int) -> list[int | None]:
    """So many times the same number, or those of a sequence; empty for what is neither."""
    number = _index(value)
    return [number] * count if number is not None else [_index(part) for part in _sequence(value) or []]
