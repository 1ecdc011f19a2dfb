"""What a run was made of and what came out: the record that makes it repeatable, and the folder that keeps it."""

import datetime
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from stepax.files import one_line, read_json, write_json
from stepax.processes import whole
from stepax.typing import Tree

if TYPE_CHECKING:
    from stepax.fit import Run
    from stepax.learner import State

__all__ = ["RunError", "environment", "load", "parameter_hash", "restore", "save"]

# A run's folder holds ``run.json``, which is written last and makes it one, and ``checkpoint``.
RECORD = "run.json"
CHECKPOINT = "checkpoint"
FORMAT = "stepax.run/1"
FIELDS = {
    "settings": dict,
    "steps": int,
    "stopped": str,
    "seconds": dict,
    "metrics": dict,
    "parameters": str,
    "finished": str,
    "environment": dict,
    "details": dict,
    "history": dict,
}


class RunError(ValueError):
    """A folder that holds no run, or a damaged one."""


def parameter_hash(params: Tree) -> str:
    """SHA-256 over a tree's paths, dtypes, shapes and bytes: equal for equal bits on machines of one byte order."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        array = whole(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def environment() -> dict[str, Any]:
    """What this process runs on: enough to make a run again or to explain a difference, and nothing about who ran it.

    Returns:
        ``versions`` of Python and of the packages that compute; ``system``; ``processor`` with its model and the
        ``cores`` that this process may use; ``device`` with its platform, kind and count; ``git``: the commit of the
        repository around the current folder, and whether its tracked files were changed (``dirty``), or ``None``
        outside one.
    """
    packages = {
        name: importlib.metadata.version(name) for name in ("stepax", "jax", "jaxlib", "flax", "optax", "numpy")
    }
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "versions": {"python": platform.python_version(), **packages},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": {"model": _processor(), "cores": cores},
        "device": {
            "platform": jax.default_backend(),
            "kind": jax.devices()[0].device_kind,
            "count": jax.device_count(),
        },
        "git": _commit(),
    }


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model", "Hardware")))
    return next(names, platform.processor())


def _commit() -> dict[str, Any] | None:
    commit = _output("git", "rev-parse", "--verify", "HEAD")
    if not commit:
        return None
    # Files that are not tracked are results as often as source; like `git describe --dirty`, this leaves them out.
    return {
        "commit": commit,
        "dirty": _output("git", "--no-optional-locks", "status", "--porcelain", "--untracked-files=no") != "",
    }


def _output(*command: str) -> str | None:
    """What a command prints, or ``None`` where there is no such command or it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def save(
    folder: str | os.PathLike,
    run: "Run",
    details: Mapping[str, Any] | None = None,
    *,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Keeps a run: ``run.json`` with its record, environment and history, and ``checkpoint`` with its state.

    Other files in the folder stay as they are; a run that is there already is replaced.

    Args:
        folder: The run's folder; made if it is not there.
        run: What ``fit`` returned.
        details: What else is needed to use or repeat it (data set, model with its arguments, classes, shape of the
            inputs): anything that JSON can hold, and arrays.
        metrics: Final measures beside those of the history, such as ``{"test/accuracy": 0.98}``.

    Raises:
        TypeError: ``details`` hold what JSON cannot; the message says where. Nothing is written then.
    """
    from stepax import checkpoint

    record = {
        "format": FORMAT,
        **run.record,
        "metrics": {**_final(run), **(metrics or {})},
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "environment": environment(),
        "details": dict(details or {}),
        "history": run.history,
    }
    folder = pathlib.Path(folder)
    one_line(record)  # fails before anything is written
    checkpoint.save(folder / CHECKPOINT, run.state)
    write_json(folder / RECORD, record)


def _final(run: "Run") -> dict[str, Any]:
    """The history's measures at the step of the run's state, which early stopping may have taken from the middle."""
    measures = {name: values for name, values in run.history.items() if name not in ("epoch", "step", "seconds")}
    if "best" not in run.record or not np.ndim(run.record["best"]["epoch"]):
        steps, step = run.history["step"], int(run.state.step)
        at = steps.index(step) if step in steps else -1
        return {name: values[at] for name, values in measures.items()}
    at = np.searchsorted(run.history["epoch"], run.record["best"]["epoch"])  # every lane has its own
    return {name: np.take_along_axis(np.asarray(values), at[None], 0)[0].tolist() for name, values in measures.items()}


def load(folder: str | os.PathLike) -> dict[str, Any]:
    """The record of a saved run.

    Args:
        folder: The run's folder.

    Returns:
        What ``run.json`` holds: ``settings`` (with the ``key``), ``steps``, why it ``stopped``, ``seconds``
        (``compile`` and ``run`` apart), the final ``metrics``, ``parameters`` (the SHA-256 of :func:`parameter_hash`),
        when it was ``finished``, ``environment``, ``details`` and ``history``.

    Raises:
        RunError: The folder is missing or holds no run; the file is damaged, cut short, or of another version.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise RunError(f"run {folder}: {'it is a file, not a folder' if folder.exists() else 'no such folder'}")
    try:
        record = read_json(folder / RECORD)
    except FileNotFoundError:
        raise RunError(
            f"run {folder}: there is no {RECORD} in it: it is no run of stepax, or one that was cut short"
        ) from None
    except ValueError as error:
        raise RunError(f"run {folder}: {RECORD} is damaged or cut short: {error}") from error
    kind = record.get("format") if isinstance(record, dict) else None
    if kind != FORMAT:
        raise RunError(f"run {folder}: {RECORD} has the format {kind!r}; this version of stepax reads {FORMAT!r}")
    wrong = [name for name, expected in FIELDS.items() if not isinstance(record.get(name), expected)]
    if wrong:
        raise RunError(f"run {folder}: {RECORD} is damaged: {', '.join(wrong)} missing or of the wrong kind")
    if not _is_history(record["history"]):
        raise RunError(f"run {folder}: {RECORD} is damaged: history holds no lists of one length, epoch and step among")
    return record


def _is_history(measures: dict[str, Any]) -> bool:
    """Whether there is a list for each measure, with one entry per epoch."""
    lengths = {len(values) if isinstance(values, list) else None for values in measures.values()}
    return {"epoch", "step"} <= measures.keys() and len(lengths) == 1 and None not in lengths


def restore(folder: str | os.PathLike, like: "State") -> "State":
    """The state of a saved run.

    Args:
        folder: The run's folder.
        like: A state of the same structure: ``jax.eval_shape(learner.init, key, batch)``.

    Returns:
        The state, bit for bit.

    Raises:
        RunError: As :func:`load`; or the state is not the one that the record tells of.
        stepax.checkpoint.CheckpointError: The checkpoint is missing, damaged, or of another structure than ``like``.
    """
    from stepax import checkpoint

    record = load(folder)
    state = checkpoint.load(pathlib.Path(folder) / CHECKPOINT, like)
    if parameter_hash(state.params) != record["parameters"]:
        raise RunError(f"run {folder}: the parameters in {CHECKPOINT} are not those that {RECORD} tells of")
    return state
