"""What a caller hands in beside arrays: sizes, as any whole number and one for all axes of space or for each; masks."""

import operator
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

__all__ = ["Pads", "check_truth", "each", "pads", "whole"]

# A (low, high) pair per axis of space.
Pads = tuple[tuple[int, int], ...]


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
    padding: Any, space: Sequence[int], window: Sequence[int], strides: Sequence[int], *, causal: bool = False
) -> Pads:
    """The padding in numbers.

    Args:
        padding: ``"SAME"``, ``"VALID"``, ``"CAUSAL"`` where it is allowed; a number for all ends; or one per axis: a
            number for both ends or a (low, high) pair.
        space: The input's axes of space.
        window: How far the window reaches along each, dilation included.
        strides: The distance between the window's places along each.
        causal: Whether ``"CAUSAL"`` is allowed, over one axis.

    Returns:
        A (low, high) pair per axis.

    Raises:
        TypeError: It is none of these, or a number is not whole.
        ValueError: It has another name, or more or fewer parts than there are axes.
    """
    axes, causal = len(space), causal and len(space) == 1
    names = "'SAME', 'VALID'" + ", 'CAUSAL'" * causal
    expected = (
        f"padding: expected one of {names}, a number, or one number or (low, high) pair per axis of space ({axes}), "
        f"got {padding!r}"
    )
    if isinstance(padding, str):
        if padding == "CAUSAL" and causal:
            return ((window[0] - 1, 0),)
        if padding not in ("SAME", "VALID"):
            raise ValueError(expected)
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
