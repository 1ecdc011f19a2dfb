"""The folder of a run: made new, and opened again."""

import itertools
import pathlib
from typing import Any, NamedTuple

from stepax import record
from stepax.cli.learners import Built, build, like
from stepax.cli.plan import Plan
from stepax.data import Dataset, load
from stepax.learner import State

__all__ = ["RUNS", "Opened", "dataset_of", "new_folder", "open_run"]

RUNS = pathlib.Path("runs")


class Opened(NamedTuple):
    """A trained model with all that is known about it."""

    folder: pathlib.Path
    record: dict[str, Any]
    plan: Plan
    built: Built
    state: State


def new_folder(asked: pathlib.Path | None, name: str) -> pathlib.Path:
    """Makes the folder of a run.

    Args:
        asked: The folder that was asked for; ``None`` takes the next free ``runs/<name>-<number>``.
        name: What is run.

    Returns:
        The folder, empty.

    Raises:
        ValueError: The folder is there and holds something, or is a file.
    """
    if asked is None:
        for number in itertools.count(1):
            folder = RUNS / f"{name}-{number}"
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            return folder
        raise AssertionError("there is always a next number")
    if asked.exists() and (not asked.is_dir() or any(asked.iterdir())):
        what = "holds something already" if asked.is_dir() else "is a file"
        raise ValueError(f"--out: {asked} {what}; name a new or an empty folder")
    asked.mkdir(parents=True, exist_ok=True)
    return asked


def open_run(folder: pathlib.Path) -> Opened:
    """Opens the folder of a run made by ``stepax train``.

    Raises:
        stepax.record.RunError: It is missing, damaged, or another kind of run.
        stepax.checkpoint.CheckpointError: Its checkpoint is missing or damaged.
    """
    kept = record.load(folder)
    plan = Plan.of(kept["details"])
    built = build(plan)
    return Opened(folder, kept, plan, built, record.restore(folder, like(plan, built)))


def dataset_of(run: Opened) -> Dataset:
    """The data that a run was trained on, read again.

    Raises:
        FileNotFoundError: They are no longer there.
        ValueError: They are no longer of the shape, or of the classes, that the run was trained on.
    """
    subject = run.plan.subject
    dataset = load(subject.data, **subject.reading)
    found = dataset.train["x"].shape[1:], dataset.classes, dataset.features
    expected = subject.shape, subject.classes, subject.columns
    for what, now, was in zip(("shape of one input", "classes", "columns"), found, expected, strict=True):
        if now != was:
            raise ValueError(f"{subject.data} has changed since the training: its {what} was {was} and is {now}")
    return dataset
