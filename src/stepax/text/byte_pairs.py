"""Byte pairs: tokens for any text, by joining what stands together most often. Needs the library ``tokenizers``.

Reference: Rico Sennrich, Barry Haddow, Alexandra Birch, "Neural Machine Translation of Rare Words with Subword Units",
2016, arXiv:1508.07909; on bytes: Alec Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from stepax.checks import check_count
from stepax.text.tokens import BEGIN, END, UNKNOWN, as_texts, check_text, fields, first_ordinary, ordinary

__all__ = ["BytePairs", "byte_pairs"]

BYTES = 256


@dataclass(frozen=True, repr=False)
class BytePairs:
    """Byte pairs; made by :func:`byte_pairs`.

    Every text can be encoded, and comes back from ``decode`` as it was: the 256 bytes are tokens too, and token 1
    stands for nothing.

    Attributes:
        tokens: The tokens in the order of their numbers, which count from 2, or from 4 where there are tokens for begin
            or end; a character of them stands for a byte.
        merges: The pairs of tokens that are joined, in the order in which they are.
        begin: Whether ``encode`` puts token 2 before every text.
        end: Whether it puts token 3 after it.
    """

    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]
    begin: bool = False
    end: bool = False

    def __post_init__(self) -> None:
        known = set(self.tokens)
        if len(known) < len(self.tokens) or not known.issuperset(_alphabet()):
            raise ValueError("tokens: expected all 256 bytes and each token once")
        for pair in self.merges:
            if not known.issuperset((*pair, "".join(pair))):
                raise ValueError(f"merges: expected pairs of tokens that give a token, got {pair!r}")
        if len(set(self.merges)) < len(self.merges) or known != _alphabet() | set(map("".join, self.merges)):
            raise ValueError("merges: expected each pair once, and a pair for every token of several bytes")

    @cached_property
    def _model(self) -> Any:
        """The library's tokenizer."""
        library = _tokenizers()
        numbers = {token: i for i, token in enumerate(self.tokens)}
        return _on_bytes(library.models.BPE(vocab=numbers, merges=list(self.merges)))

    def __len__(self) -> int:
        return first_ordinary(self) + len(self.tokens)

    def __repr__(self) -> str:
        """Its size alone."""
        return f"BytePairs({len(self)} tokens)"

    def encode(self, text: str) -> list[int]:
        """The tokens of a text.

        Args:
            text: The text.

        Returns:
            The numbers, with those of begin and end where there are such.

        Raises:
            TypeError: ``text`` is no string.
            ValueError: It is no Unicode: it holds half of a pair of surrogates.
        """
        first = first_ordinary(self)
        numbers = self._model.encode(_unicode(text, "text")).ids
        return [*[BEGIN] * self.begin, *(first + number for number in numbers), *[END] * self.end]

    def decode(self, tokens: Any) -> str:
        r"""The text of tokens.

        Args:
            tokens: Numbers ``[time]``, as a list or an array. Padding, begin and unknown are left out, the first end
                ends the text, and bytes that are no whole character are shown as ``"\ufffd"``.

        Raises:
            TypeError: The tokens are no row of whole numbers.
            ValueError: A number is none of these byte pairs'.
        """
        first = first_ordinary(self)
        shown = [token - first for token in ordinary(tokens, self) if token != UNKNOWN]
        return self._model.decode(shown, skip_special_tokens=False)

    def unknown_in(self, text: str) -> list[str]:
        """What a text has that has no token: nothing.

        Raises:
            TypeError: ``text`` is no string.
        """
        check_text(text)
        return []

    def to_json(self) -> dict[str, Any]:
        """The byte pairs as a dict that JSON can hold, for :func:`stepax.text.from_json`."""
        merges = [list(pair) for pair in self.merges]
        return {
            "split": "byte_pairs",
            "begin": self.begin,
            "end": self.end,
            "tokens": list(self.tokens),
            "merges": merges,
        }

    @staticmethod
    def from_json(value: Any) -> BytePairs:
        """The inverse of ``to_json``.

        Raises:
            ValueError: It is no such dict, or a damaged one.
            ModuleNotFoundError: The library ``tokenizers`` is not installed.
        """
        kinds = {"split": str, "begin": bool, "end": bool, "tokens": list, "merges": list}
        split, begin, end, tokens, merges = fields(value, kinds)
        if split != "byte_pairs":
            raise ValueError(f"vocabulary['split']: expected 'byte_pairs', got {split!r}")
        if not all(isinstance(token, str) for token in tokens):
            raise ValueError("vocabulary['tokens']: expected strings")
        if not all(isinstance(pair, list) and list(map(type, pair)) == [str, str] for pair in merges):
            raise ValueError("vocabulary['merges']: expected pairs of strings")
        return BytePairs(tuple(tokens), tuple((a, b) for a, b in merges), begin, end)


def byte_pairs(texts: str | Iterable[str], size: int, *, begin: bool = False, end: bool = False) -> BytePairs:
    """Learn byte pairs from texts: beginning with bytes, the most frequent pair inside of words becomes a token.

    Args:
        texts: One text, or several.
        size: How many tokens there are at most, with the 256 bytes and those with a meaning of their own; fewer where
            no other pair occurs twice.
        begin: Whether every encoded text begins with token 2.
        end: Whether it ends with token 3.

    Returns:
        The byte pairs.

    Raises:
        ModuleNotFoundError: The library ``tokenizers`` is not installed.
        TypeError: There is something else than texts, or ``size`` is no whole number.
        ValueError: ``size`` leaves no place for the bytes, or a text is no Unicode.
    """
    reserved = END + 1 if begin or end else UNKNOWN + 1
    check_count("size", size, BYTES + reserved)
    found = [_unicode(text, f"texts[{i}]") for i, text in enumerate(as_texts(texts))]
    library = _tokenizers()
    model = _on_bytes(library.models.BPE())
    trainer = library.trainers.BpeTrainer(
        vocab_size=size - reserved, min_frequency=2, initial_alphabet=sorted(_alphabet()), show_progress=False
    )
    model.train_from_iterator(found, trainer)
    learnt = json.loads(model.to_str())["model"]
    tokens = sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)
    return BytePairs(tuple(tokens), tuple((a, b) for a, b in learnt["merges"]), begin, end)


def _on_bytes(model: Any) -> Any:
    """A tokenizer that shows ``model`` the bytes of a text, a character each, word by word."""
    library = _tokenizers()
    tokenizer = library.Tokenizer(model)
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    return tokenizer


@cache
def _alphabet() -> frozenset[str]:
    """The characters that stand for the 256 bytes."""
    return frozenset(_tokenizers().pre_tokenizers.ByteLevel.alphabet())


def _unicode(text: Any, name: str) -> str:
    """A text that has bytes."""
    try:
        check_text(text, name).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{name}[{error.start}]: expected Unicode, got half of a pair of surrogates") from error
    return text


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "byte pairs need the library tokenizers, which the extra `text` brings: pip install 'stepax[text]'",
            name="tokenizers",
        ) from error
    return tokenizers
