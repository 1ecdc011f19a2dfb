"""What models of tokens are given, checked."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from stepax.targets import host_values
from stepax.typing import Array

__all__ = ["check_as_many", "check_tokens", "source_and_target"]


def check_tokens(name: str, tokens: Any, vocabulary: int, mask: Any = None) -> None:
    """Refuse what are no tokens of a vocabulary; under ``jit`` only what are no whole numbers.

    Args:
        name: What the caller calls them, for messages.
        tokens: An array of any shape.
        vocabulary: How many tokens there are.
        mask: Of the same shape, true where a token is real: the others may be anything. ``None``: all are.

    Raises:
        TypeError: They are no whole numbers.
        ValueError: One is outside of the vocabulary.
    """
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise TypeError(f"{name}: expected whole numbers, got {tokens.dtype}")
    values, real = host_values(tokens), host_values(True if mask is None else mask)
    if values is None or real is None:
        return
    values = values[np.broadcast_to(real.astype(bool), values.shape)]
    if values.size and not 0 <= values.min() <= values.max() < vocabulary:
        wrong = values.min() if values.min() < 0 else values.max()
        raise ValueError(f"{name}: expected tokens from 0 to {vocabulary - 1} (the vocabulary), got {wrong}")


def source_and_target(x: Any) -> tuple[Array, Array]:
    """Both sequences of a translation's input ``{"source": …, "target": …}``.

    Raises:
        TypeError: It is no dict of these two.
    """
    if not isinstance(x, Mapping) or set(x) != {"source", "target"}:
        got = sorted(x) if isinstance(x, Mapping) else type(x).__name__
        raise TypeError(f'x: expected a dict with "source" and "target", got {got}')
    return x["source"], x["target"]


def check_as_many(source: Array, target: Array) -> None:
    """Refuse other numbers of sources ``[batch, …]`` than of targets ``[batch, …]``.

    Raises:
        ValueError: There are.
    """
    if source.shape[0] != target.shape[0]:
        raise ValueError(f"x: {source.shape[0]} sources, but {target.shape[0]} targets: expected as many")
