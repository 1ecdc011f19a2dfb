"""From texts to arrays of tokens: the vocabulary of a run, learnt from its training rows and kept in its plan."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stepax.checks import check_count
from stepax.cli.console import warn
from stepax.cli.texts import Form, text_of
from stepax.data.dataset import Rows
from stepax.record import RunError

if TYPE_CHECKING:  # where there are no texts, nothing of them is imported
    from stepax.cli.plan import Subject
    from stepax.text import Tokenizer

__all__ = ["Encoded", "Fitted", "as_rows", "batch_of", "encoded", "fitted", "note_lost", "vocabulary"]

TOKENS = {"text": "characters", "texts": "words"}
CONTEXT, LONGEST, BYTE_PAIRS = 64, 400, 1000
"""The context of a language model, the most of texts with classes, and how many byte pairs there are, by default."""

PADDING, UNKNOWN = 0, 1
LARGEST = 1 << 22
"""Numbers of a model's output that are made at once where a text is measured."""


class Fitted(NamedTuple):
    """What texts are cut into: a vocabulary as JSON holds it, and how many tokens a model sees at most."""

    tokens: dict[str, Any]
    context: int


class Encoded(NamedTuple):
    """Texts as arrays.

    Attributes:
        rows: ``x [n, context]`` int32 and ``y``, with a ``weight`` where the last window of a text is not full.
        stream: The tokens of a text ``[time]`` int32; ``None`` of texts with classes.
        cut: How many texts are longer than the context.
        unknown: How many tokens are unknown.
        total: How many there are.
    """

    rows: Rows
    stream: np.ndarray | None
    cut: int
    unknown: int
    total: int


def vocabulary(saved: Mapping[str, Any]) -> "Tokenizer":
    """The vocabulary of a plan.

    Raises:
        ValueError: It is damaged.
        stepax.record.RunError: Its byte pairs need a library that is not installed.
    """
    from stepax import text

    try:
        return text.from_json(saved)
    except ModuleNotFoundError as error:
        raise RunError(str(error)) from error


def fitted(form: Form, rows: Rows, tokens: str | None, most: int | None, context: int | None) -> Fitted:
    """Learns what texts are cut into.

    Args:
        form: ``text`` or ``texts``.
        rows: The rows to learn from.
        tokens: ``characters``, ``words`` or ``byte-pairs``; ``None``: characters of a text, words of texts.
        most: How many tokens there are at most.
        context: How many tokens a model sees; ``None``: 64 of a text, of texts as many as the longest has, but at most
            400.

    Raises:
        ValueError: A number is out of range; the text is too short for the context.
    """
    for option, count in {"--vocabulary": most, "--context": context}.items():
        check_count(option, 1 if count is None else count)
    texts = _texts(form, rows)
    found = _learnt(tokens or TOKENS[form], texts, most)
    longest = max(len(found.encode(text)) for text in texts)
    if form == "texts":
        return Fitted(found.to_json(), context or max(1, min(LONGEST, longest)))
    context = context or CONTEXT
    if longest <= context:
        raise ValueError(
            f"--context: the part of the text to learn from has {longest:,} tokens, not more than the {context:,} of "
            "the context: expected a longer text, or a smaller --context"
        )
    return Fitted(found.to_json(), context)


def _texts(form: Form, rows: Rows) -> list[str]:
    return [text_of(rows["x"])] if form == "text" else list(rows["x"])


def _learnt(kind: str, texts: list[str], most: int | None) -> "Tokenizer":
    """The vocabulary of texts."""
    from stepax import text

    try:
        if kind == "byte-pairs":
            return text.byte_pairs(texts, most or BYTE_PAIRS)
        if kind == "characters" and most is None:
            return text.characters(texts)
        return text.words(texts, most=most, split=list if kind == "characters" else None)
    except ModuleNotFoundError as error:
        raise ValueError(f"--tokens {kind}: {error}") from error
    except ValueError as error:
        raise ValueError(str(error).replace("size:", "--vocabulary:", 1)) from error


def batch_of(subject: "Subject", outputs: int) -> int:
    """How many windows of a text are measured at once: their outputs, a number for each token there is, are large."""
    return max(1, min(256, LARGEST // (subject.shape[0] * outputs)))


def note_lost(subject: "Subject", found: Encoded) -> None:
    """Warns of what a model does not see of texts: what is cut off, and what its vocabulary lacks."""
    count = len(found.rows["x"])
    if found.cut:
        which = f"{found.cut:,} of {count:,} texts are" if count > 1 else "the text is"
        warn(f"{which} longer than the {subject.shape[0]} tokens that the model sees, and cut")
    if found.unknown:
        share = f"{found.unknown / found.total:.1%} of {found.total:,} tokens"
        warn(f"{share} are unknown to the model")


def as_rows(subject: "Subject", rows: Rows) -> Rows:
    """Rows as the model of a subject takes them: texts in tokens, anything else, and no text at all, as it is."""
    return rows if subject.form == "rows" or not len(rows["x"]) else encoded(subject, rows).rows


def encoded(subject: "Subject", rows: Rows, what: str = "the text", advice: str = "") -> Encoded:
    """Brings texts into arrays.

    Of texts with classes what is beyond the context is cut off; one without any token counts as an unknown one.

    Args:
        subject: What is learnt from, with vocabulary and context.
        rows: Texts as :mod:`stepax.cli.texts` reads them; other fields than ``x`` and ``y`` are kept.
        what: What a text to go on with is called in a message.
        advice: How that message ends.

    Raises:
        ValueError: A text to go on with has fewer than two tokens, so that none follows another.
    """
    from stepax import text

    known, (context,) = vocabulary(subject.tokens or {}), subject.shape
    found = [np.array(known.encode(one) or [UNKNOWN], np.int32) for one in _texts(subject.form, rows)]
    unknown, total = (sum(map(count, found)) for count in (lambda row: int((row == UNKNOWN).sum()), len))
    if subject.form == "text":
        (stream,) = found
        if total < 2:
            raise ValueError(f"{what} has one token only: expected at least two, one to follow the other{advice}")
        return Encoded(text.windows(stream, context), stream, 0, unknown, total)
    x = text.padded([row[:context] for row in found], context)
    return Encoded({**rows, "x": x}, None, sum(len(row) > context for row in found), unknown, total)
