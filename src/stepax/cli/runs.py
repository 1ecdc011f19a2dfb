"""The folder of a run: made new, and opened again."""

import itertools
import pathlib
import re
import shutil
from collections.abc import Iterator
from typing import Any, NamedTuple

from stepax import record
from stepax.cli.console import program, warn
from stepax.cli.kinds import AGENT
from stepax.cli.learners import Built, build, like
from stepax.cli.plan import Plan, Subject
from stepax.cli.reading import fingerprint, load
from stepax.cli.unfinished import CHECKPOINTS
from stepax.data import Dataset
from stepax.learner import State
from stepax.saving import is_locked

__all__ = ["RUNS", "Opened", "dataset_of", "new_folder", "open_run", "read_again"]

RUNS = pathlib.Path("runs")

# What a run leaves in its folder, in these folders and beside them; anything else is somebody else's.
PARTS = ("checkpoint", "checkpoints", "tensorboard", "figures")
OURS = re.compile(
    r"\.?(run|plan)\.json(\.\d+)?|epochs\.jsonl|tensorboard/events\.out\.tfevents\.\d+|"
    r"checkpoints/(\.lock|(damaged-)?step-\d{12}(-[0-9a-f]{4})?)|"
    r"checkpoint/(\.?index\.json(\.\d+)?|arrays-[0-9a-f]{8}(\.orbax-checkpoint-tmp.*)?)|"
    r"figures/((learning_curves|confusion_matrix|predictions|filters|feature_maps|representation|returns|episode)\.png|"
    r"episode\.gif)"
)


class Opened(NamedTuple):
    """A trained model with all that is known about it."""

    folder: pathlib.Path
    record: dict[str, Any]
    plan: Plan
    built: Built
    state: State


def new_folder(asked: pathlib.Path | None, name: str, *, overwrite: bool = False) -> pathlib.Path:
    """Makes the folder of a run.

    What a training that was cut short has left in it is removed.

    Args:
        asked: The folder that was asked for; ``None`` takes the next free ``runs/<name>-<number>``.
        name: What is run.
        overwrite: Whether a run may be removed too. Files of other kinds stay.

    Returns:
        The folder, without a run.

    Raises:
        ValueError: It is a file, or holds something else, or a run without leave to overwrite it.
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
    if asked.exists():
        _clear(asked, overwrite)
    asked.mkdir(parents=True, exist_ok=True)
    return asked


def _clear(folder: pathlib.Path, overwrite: bool) -> None:
    """Removes a run, and nothing else, from a folder."""
    if not folder.is_dir():
        raise ValueError(f"--out: {folder} is a file; name a new or an empty folder")
    check_idle("--out", folder)
    entries = list(_entries(folder))
    others = [path for path, ours in entries if not ours]
    if (folder / record.RECORD).exists():
        record.load(folder)  # refuses a run.json of another kind
        if not overwrite:
            raise ValueError(f"--out: {folder} holds a finished run; --overwrite replaces it")
    elif others:
        what = f"--out: {folder} holds something already, such as {others[0].relative_to(folder)}"
        raise ValueError(f"{what}; name a new or an empty folder")
    elif any((folder / CHECKPOINTS).glob("step-*")) and not overwrite:
        raise ValueError(
            f"--out: {folder} holds an unfinished run; `{program()} train --resume {folder}` goes on with it, "
            "--overwrite replaces it"
        )
    for path, _ in [entry for entry in entries if entry[1]]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in PARTS:
        if (folder / name).is_dir() and not any((folder / name).iterdir()):
            (folder / name).rmdir()


def check_idle(option: str, folder: pathlib.Path) -> None:
    """Refuses a folder in which a training is under way.

    Raises:
        ValueError: There is one.
    """
    if is_locked(folder / CHECKPOINTS):
        raise ValueError(f"{option}: a training is under way in {folder}")


def _entries(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, bool]]:
    """What a folder holds, and whether a run has left it there."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink() and path.name in PARTS:
            yield from ((inner, _is_ours(inner, folder)) for inner in sorted(path.iterdir()))
        else:
            yield path, _is_ours(path, folder)


def _is_ours(path: pathlib.Path, folder: pathlib.Path) -> bool:
    return not path.is_symlink() and OURS.fullmatch(path.relative_to(folder).as_posix()) is not None


def open_run(folder: pathlib.Path) -> Opened:
    """Opens the folder of a model's run made by ``stepax train``.

    Raises:
        stepax.record.RunError: It is missing, damaged, or another kind of run.
        stepax.checkpoint.CheckpointError: Its checkpoint is missing or damaged.
    """
    kept = record.load(folder)
    if AGENT in kept["details"]:
        use = ", ".join(f"`{program()} {command} {folder}`" for command in ("evaluate", "plot", "record"))
        raise record.RunError(f"run {folder}: it is an agent's, which acts in an environment and reads no data: {use}")
    try:
        plan = Plan.of(kept["details"])
    except record.RunError as error:
        raise record.RunError(f"run {folder}: {error}") from error
    try:
        built = build(plan)
        expected = like(plan, built)
    except Exception as error:  # numbers out of range end in errors of Flax's and JAX's own
        raise record.RunError(f"run {folder}: no model can be made of what {record.RECORD} tells: {error}") from error
    return Opened(folder, kept, plan, built, record.restore(folder, expected))


def dataset_of(run: Opened) -> Dataset:
    """The data that a run was trained on, read again.

    Raises:
        FileNotFoundError: They are no longer there.
        ValueError: They are no longer of the shape, or of the classes, that the run was trained on.
    """
    return read_again(run.folder, run.plan.subject, run.record["details"].get("file"))


def read_again(folder: pathlib.Path, subject: Subject, known: dict[str, Any] | None) -> Dataset:
    """Data as they were read for a run; arguments and errors as of :func:`dataset_of`."""
    try:
        dataset = load(subject.data, subject.reading)
    except FileNotFoundError:
        gone = f"{subject.data}, which {folder} was trained on, is no longer there"
        raise FileNotFoundError(f"{gone}; to evaluate on other data pass --data FILE") from None
    shape = dataset.train["x"].shape[1:] if subject.form == "rows" else subject.shape
    found = shape, dataset.classes, dataset.features
    expected = subject.shape, subject.classes, subject.columns
    for what, now, was in zip(("shape of one input", "classes", "columns"), found, expected, strict=True):
        if now != was:
            raise ValueError(f"{subject.data} has changed since the training: its {what} was {was} and is {now}")
    if known is not None and known != fingerprint(subject.data):
        warn(f"{subject.data} has changed since the training; its test rows may be rows that the model has learnt from")
    return dataset
