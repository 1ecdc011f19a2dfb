"""``stepax train``: a training from options to a folder with all that is left of it."""

import contextlib
import importlib.util
import pathlib
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np

import stepax as sx
from stepax import logs, processes, progress, record
from stepax.cli.console import ERR, print_tables, program, python, say, warn
from stepax.cli.finite import outcome
from stepax.cli.learners import Built, build, input_scaling, like
from stepax.cli.measures import flat, loss_name, measures, tables
from stepax.cli.needs import compiling, note_compiled, worth_watching
from stepax.cli.options import Optimization, Output, Train
from stepax.cli.plan import Course, Plan
from stepax.cli.planning import FEWEST, held_out, plan, read
from stepax.cli.reading import fingerprint
from stepax.cli.runs import Opened, check_idle, new_folder, read_again
from stepax.cli.unfinished import CHECKPOINTS, Unfinished, begin, finish, unfinished
from stepax.compile import compile_seconds
from stepax.data.dataset import Dataset, Rows
from stepax.reports import Report, closing

__all__ = ["main"]

EPOCHS = "epochs.jsonl"
"""The history, which is written as the model trains."""

SETTLED = 50
"""Steps after which the running averages of batch normalization stand for the data."""


def main(options: Train) -> int:
    """Trains, measures, saves and draws.

    Returns:
        The exit status: 1 where the loss or the parameters of the trained model are not finite, else 0.

    Raises:
        ValueError: An option is out of range, unknown, or does not apply; data cannot be learnt from.
        FileNotFoundError: There are no data at the path.
        KeyboardInterrupt: At Ctrl-C; it says what is kept.
    """
    if options.output.resume is not None:
        return _resume(options, options.output.resume)
    dataset, subject = read(options.data)
    file = fingerprint(subject.data)
    made = plan(options, subject, dataset.train)
    ready = _prepared(made, dataset)  # refuses what cannot be, before there is a folder
    name = f"{subject.name}-{made.network.model}"
    several = jax.process_count() > 1
    # Of several processes the first one does all that is seen from outside.
    made_folder = new_folder(options.output.out, name, overwrite=options.output.overwrite) if processes.first() else ""
    folder = pathlib.Path(processes.told(str(made_folder)) if several else made_folder)
    watch = worth_watching(ready.needed) if options.output.watch is None else options.output.watch == "yes"
    run = Unfinished(made, file, options.output.log, watch, options.output.figures, jax.process_count())
    few = options.data.validation is None and len(dataset.train["y"]) < FEWEST
    with _interruptible(folder):
        if processes.first():
            begin(folder, run)
        return _whole(folder, run, dataset, ready, few=few)


def _resume(options: Train, folder: pathlib.Path) -> int:
    """Goes on with a run that was cut short."""
    count = replace(Optimization(), processes=options.optimization.processes)
    if options != replace(Train(), output=replace(Output(), resume=folder), optimization=count):
        raise ValueError("--resume goes on with what the run was begun with: no other option can be given beside it")
    run = unfinished(folder)
    if jax.process_count() == 1:
        check_idle("--resume", folder)
    dataset = read_again(folder, run.plan.subject, run.file)
    with _interruptible(folder):
        return _whole(folder, run, dataset, _prepared(run.plan, dataset))


class _Ready(NamedTuple):
    """Rows and learner of a run, and what it will need."""

    train: Rows
    validation: Rows | None
    built: Built
    needed: sx.Estimate


def _prepared(made: Plan, dataset: Dataset) -> _Ready:
    train, validation = _rows(made, dataset.train)
    built = build(made, input_scaling(made, train["x"]))
    return _Ready(train, validation, built, sx.estimate(built.learner, train, made.course.batch_size))


def _whole(folder: pathlib.Path, run: Unfinished, dataset: Dataset, ready: _Ready, *, few: bool = False) -> int:
    """A run from its first step, or from where it was cut short, to its end. Returns the exit status."""
    made, (train, validation, built, needed) = run.plan, ready
    _announce(
        made, built, {"training": train, "validation": validation, "test": dataset.test}, needed, run.watch, few=few
    )
    learner = sx.watch(built.learner) if run.watch else built.learner
    if jax.process_count() > 1:
        learner = sx.shard(learner, sx.mesh())
    done = _trained(made, built._replace(learner=learner), train, validation, folder, run.log)
    if jax.process_count() > 1:
        done = done._replace(state=processes.here(done.state))
    if not processes.first():
        return 0
    note_compiled(made, run.watch, done.record["seconds"]["compile"])
    opened = Opened(folder, {**done.record, "history": done.history}, made, built, done.state)
    named = measures(opened, dataset.test)[0] if len(dataset.test["x"]) else {}
    record.save(folder, done, {**made.details(), "file": run.file}, metrics=flat(named, "test/"))
    finish(folder)
    status = outcome(done.history, record.load(folder)["metrics"], done.state)
    if named:
        print_tables(tables(named, "Test rows", loss_name(made)))
    if run.figures:
        _draw(opened, dataset)
    _farewell(folder, done, run)
    return status


@contextlib.contextmanager
def _interruptible(folder: pathlib.Path) -> Iterator[None]:
    """Tells at Ctrl-C what is kept of a run; a folder with nothing in it is not."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if not processes.first():
            raise
        left = sorted(path.name for path in folder.iterdir())
        if record.RECORD in left:
            what = f"the run is saved in {folder}; `{program()} plot {folder}` draws figures that are missing"
        elif any((folder / CHECKPOINTS).glob("step-*")):
            at = f"after step {stop.step:,}" if isinstance(stop, sx.Interrupted) else "before the end"
            if isinstance(stop, sx.Interrupted) and stop.saved != stop.step:
                at += f", which could not be saved; step {stop.saved:,} is"
            what = f"{at}; `{program()} train --resume {folder}` goes on from there"
        else:
            finish(folder)
            if (log := folder / EPOCHS).exists() and not log.stat().st_size:
                log.unlink()
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


def _announce(
    made: Plan, built: Built, rows: dict[str, Rows | None], needed: sx.Estimate, watch: bool, *, few: bool
) -> None:
    """Says what is trained and what it needs, before the wait; with ``few`` also why nothing is held out."""
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
    say(f"memory     {needed}")
    say(f"compiling  {compiling(made, watch)}")
    say()
    if not needed.fits:
        tips = f"a smaller --batch-size{smaller}" if (smaller := _smaller(needed)) else "a smaller model or fewer rows"
        warn(f"that may not fit into memory: try {tips}")
    if network.options.get("normalize") == "yes" and course.steps < SETTLED:
        means = "the running averages of batch normalization will not have settled"
        warn(f"in {course.steps} steps {means}: more --epochs, a smaller --batch-size or --normalize no help")


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
    if processes.first():
        if "tensorboard" in wanted:
            reports = logs.tensorboard(reports, folder / "tensorboard")
        reports = logs.json_lines(reports, folder / EPOCHS)
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
    left[EPOCHS] = "the history, a line per epoch"
    if "tensorboard" in begun.log:
        needed = "" if _tensorboard() else " (pip install tensorboard shows them)"
        left["tensorboard"] = f"the curves, step by step{needed}"
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
