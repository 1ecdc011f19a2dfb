"""The beginnings of texts that are to be continued: checked, and brought into one form."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from stepax.checks import check_count
from stepax.typing import Array

__all__ = ["check_end", "filled", "prepared_prompt"]


def prepared_prompt(
    prompt: Any, mask: Any, vocabulary: int, context: int | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Real tokens at the right, so that all texts go on at the same place, and no more columns than are needed.

    Args:
        prompt: Tokens ``[batch, time]``.
        mask: ``[batch, time]``, true where a token is real, or ``None``.
        vocabulary: How many tokens there are.
        context: How many of the last columns to keep; ``None`` keeps all.

    Returns:
        Tokens, int32, and the mask in the same form: ``None`` where all are real.

    Raises:
        TypeError: Tokens are no whole numbers, or the mask is floating.
        ValueError: The prompt is empty or hidden by its mask, holds tokens outside the vocabulary, or has another shape
            than the mask.
    """
    tokens = _checked_prompt(prompt, vocabulary)
    real = _checked_mask(mask, tokens.shape)
    if real is not None:
        order = np.argsort(real, axis=1, kind="stable")
        first = int((~real).sum(axis=1).min())
        tokens, real = (np.take_along_axis(array, order, axis=1)[:, first:] for array in (tokens, real))
    if context is not None:
        tokens, real = tokens[:, -context:], None if real is None else real[:, -context:]
    return tokens.astype(np.int32), None if real is None or real.all() else real


def _checked_prompt(prompt: Any, vocabulary: int) -> np.ndarray:
    tokens = np.asarray(prompt)
    if tokens.ndim != 2:
        raise ValueError(f"prompt: expected tokens of shape [batch, time], got the shape {tokens.shape}")
    if tokens.size == 0:
        raise ValueError(f"prompt: expected at least one token, got the shape {tokens.shape}")
    if not np.issubdtype(tokens.dtype, np.integer):
        raise TypeError(f"prompt: expected whole numbers, got {tokens.dtype}")
    outside = (tokens < 0) | (tokens >= vocabulary)
    if outside.any():
        raise ValueError(
            f"prompt: expected tokens from 0 to {vocabulary - 1}, as the vocabulary has them, got {tokens[outside][0]}"
        )
    return tokens


def _checked_mask(mask: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    if mask is None:
        return None
    real = np.asarray(mask)
    if real.shape != shape:
        raise ValueError(f"mask: expected the shape of the prompt, {shape}, got {real.shape}")
    if np.issubdtype(real.dtype, np.inexact):
        raise TypeError(f"mask: expected true or false, got {real.dtype}")
    hidden = ~real.astype(bool).any(axis=1)
    if hidden.any():
        raise ValueError(f"mask: expected a real token in every row, and row {hidden.argmax()} is hidden as a whole")
    return real.astype(bool)


def check_end(end: int | None, vocabulary: int) -> None:
    """Refuse a token that ends a text and is none.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is outside of the vocabulary.
    """
    if end is None:
        return
    check_count("end", end, 0)
    if end >= vocabulary:
        raise ValueError(f"end: expected a token from 0 to {vocabulary - 1}, got {end}")


def filled(array: Array, context: int) -> Array:
    """Of the width of a context, by places that will be taken: true in a mask."""
    rest = (0, 0), (0, context - array.shape[1])
    return jnp.pad(array, rest, constant_values=array.dtype == bool)
