"""``stepax train``: a training from options to a folder with all that is left of it."""

import pathlib
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

import stepax as sx
from stepax import processes, record
from stepax.cli.announcing import Part, announce, farewell
from stepax.cli.console import ERR, print_tables, program
from stepax.cli.finite import outcome
from stepax.cli.interruption import interruptible
from stepax.cli.learners import Built, build, input_scaling
from stepax.cli.measures import flat, loss_name, measures, tables, told
from stepax.cli.needs import note_compiled, worth_watching
from stepax.cli.options import Optimization, Output, Train
from stepax.cli.plan import Plan
from stepax.cli.planning import FEWEST, STEPS, held_out, plan, read
from stepax.cli.reading import fingerprint
from stepax.cli.runs import Opened, check_idle, new_folder, read_again
from stepax.cli.tokens import Encoded, as_rows, batch_of, encoded
from stepax.cli.unfinished import CHECKPOINTS, Unfinished, begin, finish, unfinished
from stepax.cli.watching import watched
from stepax.compile import compile_seconds
from stepax.data.dataset import Dataset, Rows
from stepax.reports import Report

__all__ = ["main"]


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
    if options.agent.env is not None:
        from stepax.cli.agents import train  # what is for agents is imported only for them

        return train.main(options)
    _check_no_agent(options)
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
    with interruptible(folder):
        if processes.first():
            begin(folder, run)
        return _whole(folder, run, dataset, ready, few=few)


def _check_no_agent(options: Train) -> None:
    """Refuse options of agents where data are learnt from."""
    for field in fields(options.agent):
        if getattr(options.agent, field.name) != field.default:
            raise ValueError(f"--{field.name} is for agents: pass --env NAME (`{program()} info` lists environments)")


def _resume(options: Train, folder: pathlib.Path) -> int:
    """Goes on with a run that was cut short."""
    count = replace(Optimization(), processes=options.optimization.processes)
    if options != replace(Train(), output=replace(Output(), resume=folder), optimization=count):
        raise ValueError("--resume goes on with what the run was begun with: no other option can be given beside it")
    run = unfinished(folder)
    if jax.process_count() == 1:
        check_idle("--resume", folder)
    if not isinstance(run.plan, Plan):
        from stepax.cli.agents import train

        return train.resume(folder, run)
    dataset = read_again(folder, run.plan.subject, run.file)
    with interruptible(folder):
        return _whole(folder, run, dataset, _prepared(run.plan, dataset))


class _Ready(NamedTuple):
    """What a training takes, and what it will need.

    Attributes:
        train: The rows to learn from, or of a text a source of pieces at random places.
        validation: The rows held out, or ``None``; of a text a source.
        test: The test rows.
        parts: How many there are of each, for people.
        built: The learner.
        needed: Its needs.
    """

    train: Any
    validation: Any
    test: Rows
    parts: dict[str, Part | None]
    built: Built
    needed: sx.Estimate


def _prepared(made: Plan, dataset: Dataset) -> _Ready:
    found = dict(zip(("training", "validation"), _rows(made, dataset.train), strict=True))
    rows: dict[str, Any] = {**found, "test": dataset.test}
    parts = {name: part and Part(len(part["x"])) for name, part in rows.items()}
    if made.subject.form != "rows":
        texts = {name: _in_tokens(made, name, part) for name, part in rows.items() if part and len(part["x"])}
        parts |= {name: Part(_count(text), text.cut, text.unknown / text.total) for name, text in texts.items()}
        rows |= {name: text.rows for name, text in texts.items()}
        if made.subject.form == "text":
            rows |= _sources(made, texts)
    built = build(made, input_scaling(made, rows["training"]["x"]) if made.network.standardize else None)
    needed = sx.estimate(built.learner, rows["training"], made.course.batch_size)
    return _Ready(rows["training"], rows["validation"], rows["test"], parts, built, needed)


def _in_tokens(made: Plan, name: str, part: Rows) -> Encoded:
    """A part of the texts; where it is too short the message names the option that says how long it is."""
    option = {"validation": "--validation", "test": "--test-fraction"}.get(name)
    advice = f"; a larger {option} makes it longer, and {option} 0 goes without it" if option else ""
    return encoded(made.subject, part, f"the {name} part of {made.subject.name}", advice)


def _count(text: Encoded) -> int:
    """What there is of texts: tokens of one text, or texts."""
    return len(text.rows["x"]) if text.stream is None else text.total


def _sources(made: Plan, texts: dict[str, Encoded]) -> dict[str, sx.Source]:
    """The pieces of a text to learn from, at random places, and those to measure."""
    from stepax.text import random_windows

    (context,), course = made.subject.shape, made.course
    key = jax.random.split(jax.random.key(course.seed))[1]  # as a training splits it for its data
    stream, size = texts["training"].stream, course.batch_size or 1
    sources = {"training": random_windows(stream, context, size, STEPS, key)}
    if "validation" in texts:
        sources["validation"] = sx.in_order(texts["validation"].rows, batch_of(made.subject, made.network.outputs))
    return sources


def _whole(folder: pathlib.Path, run: Unfinished, dataset: Dataset, ready: _Ready, *, few: bool = False) -> int:
    """A run from its first step, or from where it was cut short, to its end. Returns the exit status."""
    made, built, test = run.plan, ready.built, ready.test
    assert isinstance(made, Plan)
    announce(made, built, ready.parts, ready.needed, run.watch, few=few)
    learner = sx.watch(built.learner) if run.watch else built.learner
    if jax.process_count() > 1:
        learner = sx.shard(learner, sx.mesh())
    done = _trained(made, built._replace(learner=learner), ready.train, ready.validation, folder, run.log)
    if jax.process_count() > 1:
        done = done._replace(state=processes.here(done.state))
    if not processes.first():
        return 0
    note_compiled(made, run.watch, done.record["seconds"]["compile"])
    opened = Opened(folder, {**done.record, "history": done.history}, made, built, done.state)
    named = measures(opened, test)[0] if len(test["x"]) else {}
    record.save(folder, done, {**made.details(), "file": run.file}, metrics=flat(named, "test/"))
    finish(folder)
    status = outcome(done.history, record.load(folder)["metrics"], done.state)
    if named:
        title = "Test part" if made.subject.form == "text" else "Test rows"
        print_tables(tables(named, title, loss_name(made)))
    if run.figures:
        _draw(opened, dataset.train, test)
    farewell(folder, done, run)
    return status


def _rows(made: Plan, rows: Rows) -> tuple[Rows, Rows | None]:
    """The rows to learn from and those held out."""
    train, validation = held_out(made, rows)
    if not made.course.class_weights:
        return train, validation
    if made.subject.kind not in ("classes", "binary"):
        raise ValueError(f"--class-weights is for classes, and {made.subject.name} has another kind of target")
    return sx.class_weights(train), validation


def _trained(
    made: Plan, built: Built, train: Any, validation: Any, folder: pathlib.Path, wanted: tuple[str, ...]
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
        reports = watched(reports, folder, wanted, partial(told, made))
    settings = {**made.details()["course"], "key": np.asarray(jax.random.key_data(key)).tolist()}
    return sx.collected(reports, settings, compiled)


def _draw(opened: Opened, train: Rows, test: Rows) -> None:
    from stepax.cli.figures import draw  # Matplotlib takes a second to import

    if not ERR.is_terminal:
        ERR.print("drawing figures …")
    with ERR.status("drawing figures …") as status:
        for path in draw(opened, as_rows(opened.plan.subject, train), test, opened.folder / "figures"):
            status.update(f"drawing figures … {path.stem} done")
