"""A run that has begun: what it takes to go on with it after an interruption of any kind."""

import pathlib
import shutil
from collections.abc import Mapping
from typing import Any, NamedTuple

from stepax.cli.kinds import AnyPlan, plan_of
from stepax.files import read_json, write_json
from stepax.record import RECORD, RunError

__all__ = ["CHECKPOINTS", "PLAN", "Unfinished", "begin", "finish", "unfinished"]

# In the folder of a run, until ``run.json`` is there.
PLAN, CHECKPOINTS = "plan.json", "checkpoints"
FORMAT = "stepax.plan/1"


class Unfinished(NamedTuple):
    """What a run was begun with.

    Attributes:
        plan: Data, model, course; or an agent, where it acts, and how it learns.
        file: What tells whether the data have changed, or ``None``.
        log: Which logs it writes beside that of epochs.
        watch: Whether it measures gradients and updates.
        figures: Whether it draws figures at the end.
        processes: How many share every batch.
    """

    plan: AnyPlan
    file: dict[str, Any] | None
    log: tuple[str, ...]
    watch: bool
    figures: bool
    processes: int = 1


def begin(folder: pathlib.Path, run: Unfinished) -> None:
    """Writes down what a run is begun with."""
    begun = {"details": run.plan.details(), **run._asdict()}
    del begun["plan"]
    write_json(folder / PLAN, {"format": FORMAT, **begun})


def finish(folder: pathlib.Path) -> None:
    """Removes what only an unfinished run needs."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    (folder / PLAN).unlink(missing_ok=True)


def unfinished(folder: pathlib.Path) -> Unfinished:
    """What a run was begun with.

    Args:
        folder: Its folder.

    Raises:
        RunError: There is no such folder; the run is finished, or was never begun; ``plan.json`` is damaged.
    """
    if not folder.is_dir():
        raise RunError(f"--resume {folder}: no such folder")
    if (folder / RECORD).exists():
        raise RunError(f"--resume {folder}: the run is finished")
    try:
        begun = read_json(folder / PLAN)
    except FileNotFoundError:
        raise RunError(f"--resume {folder}: there is no {PLAN} in it: no run has been begun there") from None
    except ValueError as error:
        raise RunError(f"--resume {folder}: {PLAN} is damaged: {error}") from error
    kinds: dict[str, Any] = {"details": Mapping, "file": Mapping | None, "log": list}
    kinds |= {"watch": bool, "figures": bool, "processes": int}
    if not isinstance(begun, dict) or begun.get("format") != FORMAT:
        raise RunError(f"--resume {folder}: {PLAN} is not of the format {FORMAT}, which this version of stepax reads")
    if wrong := [name for name, kind in kinds.items() if not isinstance(begun.get(name), kind)]:
        raise RunError(f"--resume {folder}: {PLAN} is damaged: {', '.join(wrong)} missing or of the wrong kind")
    try:
        plan = plan_of(begun["details"])
    except RunError as error:
        raise RunError(f"--resume {folder}: {error}") from error
    return Unfinished(plan, begun["file"], tuple(begun["log"]), begun["watch"], begun["figures"], begun["processes"])
