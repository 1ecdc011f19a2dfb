"""``stepax train``: a training from options to a folder with all that is left of it."""

import pathlib
from collections.abc import Iterator, Mapping

import jax

import stepax as sx
from stepax import logs, progress, record
from stepax.cli.console import ERR, print_tables, say
from stepax.cli.learners import Built, build, input_scaling, like
from stepax.cli.measures import flat, measures, tables
from stepax.cli.options import Train
from stepax.cli.plan import Course, Plan
from stepax.cli.planning import held_out, plan, read
from stepax.cli.runs import Opened, new_folder
from stepax.compile import compile_seconds
from stepax.data.dataset import Dataset, Rows
from stepax.fit import Report

__all__ = ["main"]


def main(options: Train) -> None:
    """Trains, measures, saves and draws.

    Raises:
        ValueError: An option is out of range, unknown, or does not apply; data cannot be learnt from.
        FileNotFoundError: There are no data at the path.
    """
    dataset, subject = read(options.data)
    made = plan(options, subject, dataset.train)
    train, validation = held_out(made, dataset.train)
    if made.course.class_weights:
        train = _weighted(made, train)
    built = build(made, input_scaling(made, train["x"]))
    folder = new_folder(options.output.out, f"{subject.name}-{made.network.model}")
    _announce(made, built, {"training": train, "validation": validation, "test": dataset.test})
    run = _trained(made, built, train, validation, folder, options.output.log)
    opened = Opened(folder, {**run.record, "history": run.history}, made, built, run.state)
    named = measures(opened, dataset.test)[0] if len(dataset.test["x"]) else {}
    record.save(folder, run, made.details(), metrics=flat(named, "test/"))
    if named:
        print_tables(tables(named, "Test rows"))
    if options.output.figures:
        _draw(opened, dataset)
    _farewell(folder, run, options)


def _weighted(made: Plan, train: Rows) -> Rows:
    if made.subject.kind not in ("classes", "binary"):
        raise ValueError(f"--class-weights is for classes, and {made.subject.name} has another kind of target")
    return sx.class_weights(train)


def _announce(made: Plan, built: Built, rows: dict[str, Rows | None]) -> None:
    """Says what is trained, before the wait."""
    subject, network, course = made.subject, made.network, made.course
    sizes = ", ".join(f"{len(part['x']):,} {name}" for name, part in rows.items() if part is not None)
    target = f"{len(subject.classes)} classes" if subject.classes else "numbers"
    shape = "×".join(map(str, subject.shape))
    count = sum(leaf.size for leaf in jax.tree.leaves(like(made, built).params))
    say(f"data       {subject.name}: {sizes} rows; inputs {shape}, {target}")
    own = "".join(f", {name} {_shown(value)}" for name, value in network.options.items())
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


def _warmup(course: Course) -> str:
    return f" after {course.warmup:.0%} of warm-up" if course.warmup else ""


def _shown(value: object) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def _options(options: Mapping[str, float]) -> str:
    return "".join(f" {name.replace('_', ' ')} {value:g}" for name, value in options.items())


def _trained(
    made: Plan, built: Built, train: Rows, validation: Rows | None, folder: pathlib.Path, wanted: tuple[str, ...]
) -> sx.Run:
    """The training itself: a generator of reports, with a function around it for each thing that watches."""
    course, compiled = made.course, compile_seconds()
    reports: Iterator[Report] = sx.training(
        built.learner,
        train,
        key=jax.random.key(course.seed),
        epochs=course.epochs,
        batch_size=course.batch_size,
        validation=validation,
        patience=course.patience,
    )
    if "tensorboard" in wanted:
        reports = logs.tensorboard(reports, folder / "tensorboard")
    if "json" in wanted:
        reports = logs.json_lines(reports, folder / "epochs.jsonl")
    reports = progress.table(progress.bar(reports, console=ERR), console=ERR)
    return sx.collected(reports, made.details()["course"], compiled)


def _draw(opened: Opened, dataset: Dataset) -> None:
    from stepax.cli.figures import draw  # Matplotlib takes a second to import

    with ERR.status("drawing figures …"):
        list(draw(opened, dataset.train, dataset.test, opened.folder / "figures"))


def _farewell(folder: pathlib.Path, run: sx.Run, options: Train) -> None:
    """Says where everything is, and what to do with it."""
    seconds = run.record["seconds"]
    say()
    say(f"{seconds['run']:.1f} s of training, {seconds['compile']:.1f} s of compiling before; saved in {folder}:")
    left = {"run.json": "settings, measures, history", "checkpoint": "the trained model"}
    if "tensorboard" in options.output.log:
        left["tensorboard"] = "the curves, step by step"
    if "json" in options.output.log:
        left["epochs.jsonl"] = "the history, a line per epoch"
    if options.output.figures:
        left["figures"] = ", ".join(sorted(path.stem for path in (folder / "figures").iterdir()))
    for name, what in left.items():
        say(f"  {name:<13}{what}")
    say("next:")
    commands = [f"stepax evaluate {folder}", f"stepax predict {folder} FILE"]
    if not options.output.figures:
        commands.append(f"stepax plot {folder}")
    if "tensorboard" in options.output.log:
        commands.append(f"tensorboard --logdir {folder.parent}")
    for command in commands:
        say(f"  {command}")
