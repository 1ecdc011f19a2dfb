"""From a text to its parts: characters, words, cleaned English words."""

import re
from collections.abc import Callable

__all__ = ["SPLITS", "clean_english", "split_blanks", "split_english", "split_words"]


def split_words(text: str) -> list[str]:
    """The words of a text in lower case, and every other mark on its own.

    A word is a row of letters, digits and underscores, also with apostrophes inside. Languages that are written without
    blanks need characters or byte pairs instead.

    >>> split_words("Don't panic!")
    ["don't", 'panic', '!']
    """
    return re.findall(r"\w+(?:['’]\w+)*|[^\w\s]", text.lower())


def split_english(text: str) -> list[str]:
    """The words of an English sentence, cleaned up by :func:`clean_english`."""
    return clean_english(text).split()


def split_blanks(text: str) -> list[str]:
    """What stands between blanks: for texts that are cut up already."""
    return text.split()


SPLITS: dict[str, Callable[[str], list[str]]] = {
    "characters": list,
    "words": split_words,
    "english": split_english,
    "blanks": split_blanks,
}
"""What can be saved, by its name."""


def clean_english(text: str, lower: bool = True) -> str:
    """An English sentence as words and marks with one blank between, as sentence classifiers are compared on.

    Every character but the letters A to Z, digits and ``( ) , ! ? ' ``` becomes a blank; the endings ``'s``, ``'ve``,
    ``n't``, ``'re``, ``'d`` and ``'ll``, in small letters, become words; commas, parentheses, question and exclamation
    marks stand alone.

    Args:
        text: The sentence.
        lower: Whether capitals become small letters; questions are usually left as they are.

    Returns:
        The sentence; it may be empty.

    Reference: Yoon Kim, "Convolutional Neural Networks for Sentence Classification", 2014, arXiv:1408.5882.

    >>> clean_english("It isn't (quite) 50%, is it?")
    "it is n't ( quite ) 50 , is it ?"
    """
    text = re.sub(r"[^A-Za-z0-9(),!?'`]", " ", text)
    text = re.sub(r"'s|'ve|n't|'re|'d|'ll", r" \g<0>", text)
    text = " ".join(re.sub(r"[(),!?]", r" \g<0> ", text).split())
    return text.lower() if lower else text
