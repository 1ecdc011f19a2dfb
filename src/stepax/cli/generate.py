"""``stepax generate``: a language model goes on with a text."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import jax
import numpy as np

from stepax.checks import check_count
from stepax.cli.console import print_json, say
from stepax.cli.finite import note_texts
from stepax.cli.options import Generate
from stepax.cli.ordinary import Ordinary
from stepax.cli.plan import Subject
from stepax.cli.runs import Opened, open_run
from stepax.cli.tokens import PADDING, vocabulary

if TYPE_CHECKING:
    from stepax.text import Tokenizer

__all__ = ["beginning", "main", "pieces"]

BREAKS = ("\n", ".")
"""After which of these a text begins, where nothing else is said."""

INCOMPLETE = "\ufffd"
"""How bytes are written that are no whole character: those that follow may make it one."""


def main(options: Generate) -> None:
    """Prints texts as they are made, or all of them at the end as JSON; warns where the model could not go on.

    Raises:
        ValueError: The folder holds no language model; an option is out of range; the prompt has something that the
            model does not know.
    """
    for option, count in {"--length": options.length, "--samples": options.samples}.items():
        check_count(option, count)
    run = open_run(options.run)
    _check_model(options, run.plan.subject)
    known = vocabulary(run.plan.subject.tokens or {})
    prompt = beginning(known, options.prompt)
    _check_choice(options, len(known))
    made: list[str] = []
    lost: list[int] = []
    for number in range(options.samples):
        if number and not options.json:
            say("---")
        found = pieces(run, known, prompt, options, number, lost)
        found = found if options.prompt else _opened(found)
        if options.json:
            made.append("".join(found))
        else:
            _write(options.prompt or "", found)
    note_texts(len(lost), options.samples)
    if options.json:
        print_json({"run": str(options.run), "prompt": options.prompt, "seed": options.seed, "texts": made})


def _check_model(options: Generate, subject: Subject) -> None:
    if subject.form == "text":
        return
    what = f"{len(subject.classes)} classes" if subject.classes else "numbers"
    raise ValueError(f"{options.run} is no language model: it was trained on {subject.name}, to answer with {what}")


def _check_choice(options: Generate, count: int) -> None:
    """Refuses what the library would, in words of options."""
    if not options.temperature >= 0:
        raise ValueError(f"--temperature: expected a number of at least 0, got {options.temperature}")
    if options.top_k is not None:
        check_count("--top-k", options.top_k)
        if options.top_k > count:
            raise ValueError(f"--top-k: expected at most {count}, as many tokens as there are, got {options.top_k}")
    if options.top_p is not None and not 0 < options.top_p <= 1:
        raise ValueError(f"--top-p: expected a number above 0 and at most 1, got {options.top_p}")


def beginning(known: "Tokenizer", prompt: str | None) -> list[int]:
    """The tokens to go on with.

    Args:
        known: The vocabulary.
        prompt: A text; ``None`` or an empty one stands for a line break, where there is none for a full stop, and
            without this for the first token that means something.

    Raises:
        ValueError: The prompt has characters or words that the vocabulary lacks; the message names them. Or it is no
            Unicode, as bytes are that the terminal's encoding has not.
    """
    if not prompt:
        return next((found for text in BREAKS if not known.unknown_in(text) and (found := known.encode(text))), [2])
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        what = f"half of a pair of surrogates, {prompt[error.start]!a}, as character {error.start + 1}"
        raise ValueError(f"--prompt: expected Unicode, got {what}") from error
    if unknown := known.unknown_in(prompt):
        more = f" and {len(unknown) - 8} others" if len(unknown) > 8 else ""
        raise ValueError(f"--prompt: the model does not know {', '.join(map(repr, unknown[:8]))}{more}")
    if not (found := known.encode(prompt)):
        raise ValueError(f"--prompt: expected a text with something in it, got {prompt!r}")
    return found


def pieces(
    run: Opened, known: "Tokenizer", prompt: list[int], options: Generate, number: int, lost: list[int]
) -> Iterator[str]:
    """What a model goes on with, piece by piece: what is written is not taken back.

    Args:
        run: The language model.
        known: Its vocabulary.
        prompt: The tokens to go on with.
        options: How many tokens follow, and how they are chosen.
        number: Which of several texts: each has choices of its own.
        lost: To this the number is added where the model's answer is not finite: there the text ends.
    """
    from stepax.text.generation import stream

    key = jax.random.fold_in(jax.random.key(options.seed), number)
    chunks = stream(
        Ordinary(run.built.module),
        run.state.params,
        np.array([prompt]),
        options.length,
        key,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        end=PADDING,
    )
    # Of what is settled the last token alone is decoded again, as words have a blank between; all of it would take a
    # time that grows with the square of the length.
    tokens, written = [*prompt], len(known.decode(prompt))
    for chunk in chunks:
        row = chunk[0].tolist()
        tokens += [token for token in row if token != PADDING]
        text = known.decode(tokens)
        if len(whole := text.rstrip(INCOMPLETE)) > written:
            yield whole[written:]
            written = len(whole)
        if whole == text:
            tokens = tokens[-1:]
            written = len(known.decode(tokens))
        if PADDING in row:
            lost.append(number)
    yield known.decode(tokens)[written:]


def _opened(text: Iterator[str]) -> Iterator[str]:
    """Without the blanks that follow a beginning which is not shown."""
    begun = False
    for piece in text:
        piece = piece if begun else piece.lstrip()
        begun = begun or bool(piece)
        yield piece


def _write(prompt: str, text: Iterator[str]) -> None:
    """Prints a text as it comes, and a line break at its end, also where Ctrl-C is the end."""
    try:
        sys.stdout.write(prompt)
        for piece in text:
            sys.stdout.write(piece)
            sys.stdout.flush()
    finally:
        say()
