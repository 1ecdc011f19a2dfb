"""What ``stepax train`` says before and after a training."""

import importlib.util
import pathlib
import re
import shlex
import shutil
from collections.abc import Mapping
from typing import NamedTuple

import jax

import stepax as sx
from stepax.cli.console import program, python, say, warn
from stepax.cli.learners import Built, like
from stepax.cli.needs import compiling
from stepax.cli.plan import Course, Plan, Subject
from stepax.cli.planning import FEWEST
from stepax.cli.texts import Form
from stepax.cli.unfinished import Unfinished

__all__ = ["EPOCHS", "Part", "announce", "farewell"]

EPOCHS = "epochs.jsonl"
"""The history, which is written as the model trains."""

ROWS: dict[Form, str] = {"rows": "rows", "text": "characters", "texts": "texts"}
"""What data are counted in where a part is held out."""

SETTLED = 50
"""Steps after which the running averages of batch normalization stand for the data."""


class Part(NamedTuple):
    """A part of the data: how many rows, texts or tokens of a text it has, and of texts what is lost.

    Attributes:
        size: How many.
        cut: How many texts are longer than the context.
        unknown: The share of tokens that the vocabulary lacks.
    """

    size: int
    cut: int = 0
    unknown: float = 0.0


def announce(
    made: Plan, built: Built, parts: Mapping[str, Part | None], needed: sx.Estimate, watch: bool, *, few: bool
) -> None:
    """Says what is trained and what it needs, before the wait; with ``few`` also why nothing is held out."""
    subject, network, course = made.subject, made.network, made.course
    none = f" none (fewer than {FEWEST} {ROWS[subject.form]})" if few else " none"
    sizes = ", ".join(name + none if part is None else f"{part.size:,} {name}" for name, part in parts.items())
    count = sum(leaf.size for leaf in jax.tree.leaves(like(made, built).params))
    say(f"data       {subject.name}: {sizes} {_data(subject, parts)}")
    own = "".join(f", {name} {_text(value)}" for name, value in network.options.items())
    say(f"model      {network.model}: {count:,} parameters{own}{', standardized' if network.standardize else ''}")
    size = "full batch" if course.batch_size is None else f"batch {course.batch_size}"
    rule = [f"rate {course.rate:g}", size, f"{course.epochs} epochs", f"{course.steps:,} steps", f"seed {course.seed}"]
    if network.loss is not None:
        rule = [
            network.loss,
            f"{course.optimizer}{_options(course.options)}",
            f"{course.schedule} schedule{_warmup(course)}",
            *rule,
        ]
    say(f"training   {', '.join(rule)}")
    say(f"memory     {needed}")
    say(f"compiling  {compiling(made, watch)}")
    say()
    if not needed.fits:
        tips = f"a smaller --batch-size{smaller}" if (smaller := _smaller(needed)) else "a smaller model or fewer rows"
        warn(f"that may not fit into memory: try {tips}")
    if network.options.get("normalize") == "yes" and course.steps < SETTLED:
        means = "the running averages of batch normalization will not have settled"
        warn(f"in {course.steps} steps {means}: more --epochs, a smaller --batch-size or --normalize no help")


def _data(subject: Subject, parts: Mapping[str, Part | None]) -> str:
    """What the data's rows are, and what they are to answer."""
    target = f"{len(subject.classes)} classes" if subject.classes else "numbers"
    if subject.tokens is None:
        return f"rows; inputs {'×'.join(map(str, subject.shape))}, {target}"
    split = str(subject.tokens["split"]).replace("_", " ")
    told = [f"{len(subject.tokens['tokens']):,} {split} known", f"context {subject.shape[0]}"]
    if cut := sum(part.cut for part in parts.values() if part):
        told[-1] += f" ({cut:,} texts are longer, and cut)"
    told += [] if subject.form == "text" else [target]
    if unknown := [f"{part.unknown:.1%} of {name}" for name, part in parts.items() if part and part.unknown]:
        told.append(f"tokens unknown: {', '.join(unknown)}")
    return f"{'tokens' if subject.form == 'text' else 'texts'}; {', '.join(told)}"


def _smaller(needed: sx.Estimate) -> str:
    """The batch size that would fit, as an option's value; empty where none would."""
    found = next((re.search(r"batch size of (\d+)", tip) for tip in needed.advice if "batch size of" in tip), None)
    return f" such as {found[1]}" if found else ""


def _warmup(course: Course) -> str:
    return f" after {course.warmup:.0%} of warm-up" if course.warmup else ""


def _text(value: object) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def _options(options: Mapping[str, float]) -> str:
    return "".join(f" {name.replace('_', ' ')} {value:g}" for name, value in options.items())


def farewell(folder: pathlib.Path, run: sx.Run, begun: Unfinished) -> None:
    """Says where everything is, and what to do with it."""
    seconds = run.record["seconds"]
    say()
    say(f"{seconds['run']:.1f} s of training, {seconds['compile']:.1f} s of compiling before; saved in {folder}:")
    left = {"run.json": "settings, measures, history", "checkpoint": "the trained model"}
    left[EPOCHS] = "the history, a line per epoch"
    if "tensorboard" in begun.log:
        needed = "" if _tensorboard() else " (pip install tensorboard shows them)"
        left["tensorboard"] = f"the curves, step by step{needed}"
    if begun.figures:
        left["figures"] = ", ".join(sorted({path.stem for path in (folder / "figures").iterdir()}))
    for name, what in left.items():
        say(f"  {name:<13}{what}")
    say("next:")
    stepax, place = program(), shlex.quote(str(folder))
    if not isinstance(begun.plan, Plan):
        use = f"record {place} --out demonstrations.npz"
    else:
        use = f"generate {place}" if begun.plan.subject.form == "text" else f"predict {place} FILE"
    commands = [f"{stepax} evaluate {place}", f"{stepax} {use}"]
    if not begun.figures:
        commands.append(f"{stepax} plot {place}")
    if "tensorboard" in begun.log and (board := _tensorboard()):
        commands.append(f"{board} --logdir {shlex.quote(str(folder.parent))}")
    for command in commands:
        say(f"  {command}")


def _tensorboard() -> str | None:
    """The command that starts TensorBoard, or ``None`` where it is not installed."""
    if shutil.which("tensorboard"):
        return "tensorboard"
    return f"{python()} -m tensorboard.main" if importlib.util.find_spec("tensorboard") else None
