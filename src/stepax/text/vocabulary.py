"""From text to tokens and back: characters or words by number.

Token 0 is padding and 1 what a vocabulary lacks; 2 begins and 3 ends a text where there are such tokens. Byte pairs,
in ``byte_pairs.py``, keep the same numbers and methods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stepax.checks import check_count, nearest
from stepax.text.splitting import SPLITS, split_words
from stepax.text.tokens import (
    BEGIN,
    END,
    UNKNOWN,
    Tokenizer,
    as_texts,
    check_text,
    fields,
    first_ordinary,
    ordinary,
)

__all__ = ["Vocabulary", "characters", "from_json", "words"]

SHOWN_UNKNOWN = "\ufffd"
"""What :meth:`Vocabulary.decode` writes for an unknown token: Unicode's character for such."""


@dataclass(frozen=True, repr=False)
class Vocabulary:
    """Characters or words, each with its number; made by :func:`characters` and :func:`words`.

    Attributes:
        tokens: The characters or words in the order of their numbers, which count from 2, or from 4 where there are
            tokens for begin or end.
        split: ``text -> its parts``; ``list`` for characters.
        begin: Whether ``encode`` puts token 2 before every text.
        end: Whether it puts token 3 after it.

    >>> letters = characters("abba")
    >>> letters.encode("baz"), letters.decode([3, 2, 1])
    ([3, 2, 1], 'ba\ufffd')
    """

    tokens: tuple[str, ...]
    split: Callable[[str], list[str]]
    begin: bool = False
    end: bool = False

    def __post_init__(self) -> None:
        if not self.tokens:
            raise ValueError("tokens: expected at least one, got none")
        tokens: tuple[Any, ...] = self.tokens  # from a file they may be anything
        for i, token in enumerate(tokens):
            if not isinstance(token, str) or self.split(token) != [token] or not _is_unicode(token):
                raise ValueError(f"tokens[{i}]: expected one part of a text as `split` gives it, got {token!r}")
        if len(self._numbers) < len(self.tokens):
            twice = next(token for token, count in Counter(self.tokens).items() if count > 1)
            raise ValueError(f"tokens: expected each once, got {twice!r} twice")

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """The number of each token."""
        first = first_ordinary(self)
        return {token: first + i for i, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return first_ordinary(self) + len(self.tokens)

    def __repr__(self) -> str:
        """Its size: ten thousand words are no use on a screen."""
        return f"Vocabulary({len(self)} tokens by {self.split.__name__})"

    def encode(self, text: str) -> list[int]:
        """The tokens of a text; what the vocabulary lacks becomes token 1.

        Args:
            text: The text.

        Returns:
            The numbers, with those of begin and end where the vocabulary has them.

        Raises:
            TypeError: ``text`` is no string.
        """
        numbers = self._numbers
        found = [numbers.get(part, UNKNOWN) for part in self.split(check_text(text))]
        return [*[BEGIN] * self.begin, *found, *[END] * self.end]

    def decode(self, tokens: Any) -> str:
        r"""The text of tokens: characters side by side, words with blanks between.

        Args:
            tokens: Numbers ``[time]``, as a list or an array. Padding and begin are left out, the first end ends the
                text, and unknown is shown as ``"\ufffd"``.

        Raises:
            TypeError: The tokens are no row of whole numbers.
            ValueError: A number is none of the vocabulary's.
        """
        first = first_ordinary(self)
        shown = (SHOWN_UNKNOWN if token == UNKNOWN else self.tokens[token - first] for token in ordinary(tokens, self))
        return ("" if self.split is list else " ").join(shown)

    def unknown_in(self, text: str) -> list[str]:
        """The characters or words of a text that the vocabulary lacks: each once, as they come.

        Raises:
            TypeError: ``text`` is no string.
        """
        return list(dict.fromkeys(part for part in self.split(check_text(text)) if part not in self._numbers))

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as a dict that JSON can hold, for :func:`from_json`.

        Raises:
            ValueError: ``split`` is a function of the caller's own, which has no name to be found by.
        """
        names = [name for name, split in SPLITS.items() if split is self.split]
        if not names:
            raise ValueError(
                f"split: a vocabulary by {self.split!r} cannot be saved: expected split_words, split_english or "
                "split_blanks; cut the texts up first, and split them at blanks"
            )
        return {"split": names[0], "begin": self.begin, "end": self.end, "tokens": list(self.tokens)}

    @staticmethod
    def from_json(value: Any) -> Vocabulary:
        """The inverse of ``to_json``.

        Raises:
            ValueError: It is no such dict, or a damaged one.
        """
        kind, begin, end, tokens = fields(value, {"split": str, "begin": bool, "end": bool, "tokens": list})
        if kind not in SPLITS:
            raise ValueError(f"vocabulary: unknown split {nearest(kind, SPLITS)}")
        return Vocabulary(tuple(tokens), SPLITS[kind], begin, end)


def characters(texts: str | Iterable[str], *, begin: bool = False, end: bool = False) -> Vocabulary:
    """The vocabulary of all characters of some texts, in the order of Unicode.

    Args:
        texts: One text, or several.
        begin: Whether every encoded text begins with token 2.
        end: Whether it ends with token 3.

    Raises:
        TypeError: There is something else than texts.
        ValueError: There is no character.
    """
    found = sorted(set().union(*as_texts(texts)))
    if not found:
        raise ValueError("texts: expected at least one character, got none")
    return Vocabulary(tuple(found), list, begin, end)


def words(
    texts: str | Iterable[str],
    least: int = 1,
    most: int | None = None,
    *,
    split: Callable[[str], list[str]] | None = None,
    begin: bool = False,
    end: bool = False,
) -> Vocabulary:
    """The vocabulary of the words of some texts, the most frequent first; equally frequent ones by the alphabet.

    Args:
        texts: One text, or several.
        least: How often a word must occur to have a token of its own.
        most: How many words have one at most; ``None``: all.
        split: ``text -> words``: :func:`split_words` (also ``None``), :func:`split_english`, :func:`split_blanks`,
            ``list`` for characters by their frequency, or a function of one's own, whose words must stay as they are
            when they are split again.
        begin: Whether every encoded text begins with token 2.
        end: Whether it ends with token 3.

    Raises:
        TypeError: There is something else than texts, ``least`` or ``most`` is no whole number, or ``split`` no
            function.
        ValueError: ``least`` or ``most`` is below 1, or no word is left.

    >>> words(["to be", "or not to be"], most=2).tokens
    ('be', 'to')
    """
    check_count("least", least)
    check_count("most", 1 if most is None else most)
    if split is not None and not callable(split):
        raise TypeError(f"split: expected a function such as stepax.text.split_words, got {split!r}")
    parts = split or split_words
    counts = Counter(word for text in as_texts(texts) for word in parts(text))
    if not counts:
        raise ValueError("texts: expected at least one word, got none")
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    frequent = [word for word in ordered if counts[word] >= least]
    if not frequent:
        raise ValueError(f"least: no word occurs {least} times: expected at most {max(counts.values())}")
    return Vocabulary(tuple(frequent[:most]), parts, begin, end)


def from_json(value: Any) -> Tokenizer:
    """A vocabulary or byte pairs from what their ``to_json`` gave.

    Args:
        value: The dict.

    Raises:
        ValueError: It is no such dict, or a damaged one.
        ModuleNotFoundError: It holds byte pairs, and the library ``tokenizers`` is not installed.
    """
    if isinstance(value, Mapping) and value.get("split") == "byte_pairs":
        from stepax.text.byte_pairs import BytePairs

        return BytePairs.from_json(value)
    return Vocabulary.from_json(value)


def _is_unicode(text: str) -> bool:
    """Whether a file can hold the text: half of a pair of surrogates it cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
