"""``stepax train``: a training from options to a folder with all that is left of it."""

import contextlib
import importlib.util
import pathlib
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace

import jax
import numpy as np

import stepax as sx
from stepax import logs, progress, record
from stepax.cli.console import ERR, print_tables, program, python, say, warn
from stepax.cli.learners import Built, build, input_scaling, like
from stepax.cli.measures import flat, loss_name, measures, tables
from stepax.cli.options import Output, Train
from stepax.cli.plan import Course, Plan
from stepax.cli.planning import FEWEST, held_out, plan, read
from stepax.cli.reading import fingerprint
from stepax.cli.runs import Opened, new_folder, read_again
from stepax.cli.unfinished import CHECKPOINTS, Unfinished, begin, finish, unfinished
from stepax.compile import compile_seconds
from stepax.data.dataset import Dataset, Rows
from stepax.reports import Report, closing

__all__ = ["main"]

SETTLED = 50
"""Steps after which the running averages of batch normalization stand for the data."""


def main(options: Train) -> None:
    """Trains, measures, saves and draws.

    Raises:
        ValueError: An option is out of range, unknown, or does not apply; data cannot be learnt from.
        FileNotFoundError: There are no data at the path.
        KeyboardInterrupt: At Ctrl-C; it says what is kept.
    """
    if options.output.resume is not None:
        _resume(options, options.output.resume)
        return
    dataset, subject = read(options.data)
    file = fingerprint(subject.data)
    made = plan(options, subject, dataset.train)
    _rows(made, dataset.train)  # refuses what cannot be, before there is a folder
    name = f"{subject.name}-{made.network.model}"
    folder = new_folder(options.output.out, name, overwrite=options.output.overwrite)
    run = Unfinished(made, file, options.output.log, options.output.figures)
    few = options.data.validation is None and len(dataset.train["y"]) < FEWEST
    with _interruptible(folder):
        begin(folder, run)
        _whole(folder, run, dataset, few=few)


def _resume(options: Train, folder: pathlib.Path) -> None:
    """Goes on with a run that was cut short."""
    if options != replace(Train(), output=replace(Output(), resume=folder)):
        raise ValueError("--resume goes on with what the run was begun with: no other option can be given beside it")
    run = unfinished(folder)
    dataset = read_again(folder, run.plan.subject, run.file)
    with _interruptible(folder):
        _whole(folder, run, dataset)


def _whole(folder: pathlib.Path, run: Unfinished, dataset: Dataset, *, few: bool = False) -> None:
    """A run from its first step, or from where it was cut short, to its end."""
    made = run.plan
    train, validation = _rows(made, dataset.train)
    built = build(made, input_scaling(made, train["x"]))
    _announce(made, built, {"training": train, "validation": validation, "test": dataset.test}, few=few)
    done = _trained(made, built, train, validation, folder, run.log)
    opened = Opened(folder, {**done.record, "history": done.history}, made, built, done.state)
    named = measures(opened, dataset.test)[0] if len(dataset.test["x"]) else {}
    record.save(folder, done, {**made.details(), "file": run.file}, metrics=flat(named, "test/"))
    finish(folder)
    if named:
        print_tables(tables(named, "Test rows", loss_name(made)))
    if run.figures:
        _draw(opened, dataset)
    _farewell(folder, done, run)


@contextlib.contextmanager
def _interruptible(folder: pathlib.Path) -> Iterator[None]:
    """Tells at Ctrl-C what is kept of a run; a folder with nothing in it is not."""
    try:
        yield
    except KeyboardInterrupt as stop:
        left = sorted(path.name for path in folder.iterdir())
        if record.RECORD in left:
            what = f"the run is saved in {folder}; `{program()} plot {folder}` draws figures that are missing"
        elif any((folder / CHECKPOINTS).glob("step-*")):
            at = f"after step {stop.step:,}" if isinstance(stop, sx.Interrupted) else "before the end"
            what = f"{at}; `{program()} train --resume {folder}` goes on from there"
        else:
            finish(folder)
            left = sorted(path.name for path in folder.iterdir())
            what = f"the model is not saved; {folder} keeps {', '.join(left)}" if left else "nothing is saved"
            if not left:
                folder.rmdir()
        stop.args = (what,)
        raise stop from None


def _rows(made: Plan, rows: Rows) -> tuple[Rows, Rows | None]:
    """The rows to learn from and those held out."""
    train, validation = held_out(made, rows)
    if not made.course.class_weights:
        return train, validation
    if made.subject.kind not in ("classes", "binary"):
        raise ValueError(f"--class-weights is for classes, and {made.subject.name} has another kind of target")
    return sx.class_weights(train), validation


def _announce(made: Plan, built: Built, rows: dict[str, Rows | None], *, few: bool) -> None:
    """Says what is trained, before the wait; with ``few`` also why nothing is held out."""
    subject, network, course = made.subject, made.network, made.course
    none = f" none (fewer than {FEWEST} rows)" if few else " none"
    sizes = ", ".join(name + none if part is None else f"{len(part['x']):,} {name}" for name, part in rows.items())
    target = f"{len(subject.classes)} classes" if subject.classes else "numbers"
    shape = "×".join(map(str, subject.shape))
    count = sum(leaf.size for leaf in jax.tree.leaves(like(made, built).params))
    say(f"data       {subject.name}: {sizes} rows; inputs {shape}, {target}")
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
    say()
    if network.options.get("normalize") == "yes" and course.steps < SETTLED:
        means = "the running averages of batch normalization will not have settled"
        warn(f"in {course.steps} steps {means}: more --epochs, a smaller --batch-size or --normalize no help")


def _warmup(course: Course) -> str:
    return f" after {course.warmup:.0%} of warm-up" if course.warmup else ""


def _text(value: object) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def _options(options: Mapping[str, float]) -> str:
    return "".join(f" {name.replace('_', ' ')} {value:g}" for name, value in options.items())


def _trained(
    made: Plan, built: Built, train: Rows, validation: Rows | None, folder: pathlib.Path, wanted: tuple[str, ...]
) -> sx.Run:
    """The training itself: a generator of reports, with a function around it for each thing that watches."""
    course, compiled = made.course, compile_seconds()
    key = jax.random.key(course.seed)
    reports: Iterator[Report] = sx.training(
        built.learner,
        train,
        key=key,
        epochs=course.epochs,
        batch_size=course.batch_size,
        validation=validation,
        patience=course.patience,
        checkpoints=folder / CHECKPOINTS,
    )
    if "tensorboard" in wanted:
        reports = logs.tensorboard(reports, folder / "tensorboard")
    if "json" in wanted:
        reports = logs.json_lines(reports, folder / "epochs.jsonl")
    reports = _shown(reports, loss_name(made))
    settings = {**made.details()["course"], "key": np.asarray(jax.random.key_data(key)).tolist()}
    return sx.collected(reports, settings, compiled)


def _shown(reports: Iterator[Report], loss: str) -> Iterator[Report]:
    """Draws bar and table with another name for the loss; the reports stay as they are."""
    passed: list[Report] = []

    def renamed() -> Iterator[Report]:
        with closing(reports):
            for report in reports:
                passed[:] = [report]
                row = report.row and {re.sub(r"\bloss$", loss, name): value for name, value in report.row.items()}
                yield report._replace(row=row)

    with closing(progress.table(progress.bar(renamed(), console=ERR), console=ERR)) as drawn:
        for _ in drawn:
            yield from passed


def _draw(opened: Opened, dataset: Dataset) -> None:
    from stepax.cli.figures import draw  # Matplotlib takes a second to import

    if not ERR.is_terminal:
        ERR.print("drawing figures …")
    with ERR.status("drawing figures …") as status:
        for path in draw(opened, dataset.train, dataset.test, opened.folder / "figures"):
            status.update(f"drawing figures … {path.stem} done")


def _farewell(folder: pathlib.Path, run: sx.Run, begun: Unfinished) -> None:
    """Says where everything is, and what to do with it."""
    seconds = run.record["seconds"]
    say()
    say(f"{seconds['run']:.1f} s of training, {seconds['compile']:.1f} s of compiling before; saved in {folder}:")
    left = {"run.json": "settings, measures, history", "checkpoint": "the trained model"}
    if "tensorboard" in begun.log:
        needed = "" if _tensorboard() else " (pip install tensorboard shows them)"
        left["tensorboard"] = f"the curves, step by step{needed}"
    if "json" in begun.log:
        left["epochs.jsonl"] = "the history, a line per epoch"
    if begun.figures:
        left["figures"] = ", ".join(sorted(path.stem for path in (folder / "figures").iterdir()))
    for name, what in left.items():
        say(f"  {name:<13}{what}")
    say("next:")
    stepax, place = program(), shlex.quote(str(folder))
    commands = [f"{stepax} evaluate {place}", f"{stepax} predict {place} FILE"]
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
