"""What all vocabularies share: the numbers with a meaning of their own, and the methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

__all__ = [
    "BEGIN",
    "END",
    "PADDING",
    "UNKNOWN",
    "Tokenizer",
    "as_texts",
    "check_text",
    "fields",
    "first_ordinary",
    "ordinary",
]

PADDING, UNKNOWN, BEGIN, END = range(4)
"""Padding, what a vocabulary lacks, and the begin and the end of a text where there are such tokens."""


class Tokenizer(Protocol):
    """What turns texts into tokens and back: a :class:`Vocabulary`, or byte pairs.

    Attributes:
        begin: Whether ``encode`` puts token 2 before every text.
        end: Whether it puts token 3 after it.
    """

    @property
    def begin(self) -> bool: ...  # noqa: D102
    @property
    def end(self) -> bool: ...  # noqa: D102

    def __len__(self) -> int:
        """How many tokens there are, 0 for padding among them: what a model's last layer needs."""

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""

    def decode(self, tokens: Any) -> str:
        """The text of tokens ``[time]``: without padding, up to the first end."""

    def unknown_in(self, text: str) -> list[str]:
        """What in a text would be the unknown token: each once, as it comes."""

    def to_json(self) -> dict[str, Any]:
        """The whole as plain dicts, lists and strings, for :func:`from_json`."""


def first_ordinary(vocabulary: Tokenizer) -> int:
    """The number of the first token that stands for something."""
    return END + 1 if vocabulary.begin or vocabulary.end else UNKNOWN + 1


def fields(value: Any, kinds: Mapping[str, type]) -> list[Any]:
    """The fields of a saved vocabulary, in the order of ``kinds``, each of its type.

    Raises:
        ValueError: ``value`` is no dict of exactly these.
    """
    if not isinstance(value, Mapping) or set(value) != set(kinds):
        found = sorted(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
        raise ValueError(f"vocabulary: expected a dict with {sorted(kinds)}, got {found}")
    for name, kind in kinds.items():
        if type(value[name]) is not kind:
            raise ValueError(f"vocabulary[{name!r}]: expected {kind.__name__}, got {type(value[name]).__name__}")
    return [value[name] for name in kinds]


def ordinary(tokens: Any, vocabulary: Tokenizer) -> list[int]:
    """The tokens that stand for something: without padding and begin, up to the first end.

    Args:
        tokens: Numbers ``[time]``.
        vocabulary: Where they are from.

    Raises:
        TypeError: They are no row of whole numbers.
        ValueError: A number is none of the vocabulary's.
    """
    row = np.asarray(tokens)
    if row.ndim != 1 or (row.size and row.dtype.kind not in "iu"):
        raise TypeError(f"tokens: expected a row of whole numbers, got {row.dtype} of shape {list(row.shape)}")
    outside = (row < 0) | (row >= len(vocabulary))
    if outside.any():
        i = int(outside.argmax())
        raise ValueError(f"tokens[{i}]: expected a number from 0 to {len(vocabulary) - 1}, got {row[i]}")
    numbers = [int(token) for token in row]
    if not (vocabulary.begin or vocabulary.end):
        return [token for token in numbers if token != PADDING]
    ended = numbers[: numbers.index(END)] if END in numbers else numbers
    return [token for token in ended if token not in (PADDING, BEGIN)]


def as_texts(texts: Any) -> list[str]:
    """One text or several as a list.

    Raises:
        TypeError: Something in it is no text.
    """
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, bytes) or not isinstance(texts, Iterable):
        raise TypeError(f"texts: expected a text or several, got {type(texts).__name__}")
    return [check_text(text, f"texts[{i}]") for i, text in enumerate(texts)]


def check_text(text: Any, name: str = "text") -> str:
    """Refuse what is no string.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(text, str):
        raise TypeError(f"{name}: expected a string, got {type(text).__name__}")
    return text
