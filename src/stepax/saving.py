"""Checkpoints of a training: saved while it goes on, found again when it starts anew, and kept at a signal."""

import dataclasses
import fcntl
import hashlib
import math
import operator
import os
import pathlib
import re
import secrets
import shutil
import signal
import time
import warnings
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from stepax.checks import check_count, nearest
from stepax.processes import agreed, first, told
from stepax.typing import Tree

__all__ = ["Checkpoints", "Found", "Interrupted", "Saver", "fingerprint", "is_locked"]

# ``checkpoint`` is imported where it is used: Orbax takes a second.
NAME = re.compile(r"step-\d{12}")
DAMAGED = "damaged-"
# What a training's learner is called where it is compared.
LEARNER = "learner (a checksum of its step)"
LOCK = ".lock"


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """Where and when ``fit`` saves, so that the same call goes on where it was cut short, to the same bits.

    Attributes:
        folder: The folder of this training's checkpoints; made if it is not there. One that has some is gone on from.
        seconds: About how long from one to the next; 0 saves between any two chunks of steps. The end of the training
            and a signal save in any case.
        keep: How many of the newest to keep.
        best: How many more to keep of those at the ends of epochs with the best ``monitor``, of a population by its
            mean over the lanes. An epoch that is among the best waits until the one before is written.
        monitor: A measure as the history names it; ``None`` is ``validation/loss``, without validation ``loss``.
        better: ``(new, best) -> bool``, as in ``fit``; ``None`` is ``operator.lt`` for what is a loss by its name.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: ``seconds`` is negative, ``keep`` below 1 or ``best`` below 0.
    """

    folder: str | os.PathLike
    seconds: float = 60.0
    keep: int = 2
    best: int = 0
    monitor: str | None = None
    better: Callable[[float, float], bool] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.folder, str | os.PathLike):
            raise TypeError(f"folder: expected the path of a folder, got {self.folder!r}")
        if not isinstance(self.monitor, str | None):
            raise TypeError(f"monitor: expected the name of a measure, got {self.monitor!r}")
        if self.better is not None and not callable(self.better):
            raise TypeError(f"better: expected a function (new, best) -> bool, got {self.better!r}")
        if not self.seconds >= 0:
            raise ValueError(f"seconds: expected 0 or more, got {self.seconds}")
        check_count("keep", self.keep)
        check_count("best", self.best, 0)


class Interrupted(KeyboardInterrupt):
    """A training that a signal has ended between two chunks of steps, after it was saved.

    Attributes:
        signal: Its number, such as ``signal.SIGTERM``.
        step: Steps made.
        folder: The folder of the checkpoints.
        saved: The step of the last checkpoint there: ``step``, unless it could not be saved; -1 if there is none.
    """

    def __init__(self, number: int, step: int, folder: pathlib.Path, saved: int) -> None:
        kept = f"saved in {folder}; the same call goes on from there"
        if saved != step:
            kept = f"not saved; {f'{folder} has step {saved}' if saved >= 0 else f'nothing is saved in {folder}'}"
        super().__init__(f"stopped by {signal.Signals(number).name} after step {step}, {kept}")
        self.signal, self.step, self.folder, self.saved = number, step, folder, saved


class Found(NamedTuple):
    """A checkpoint to go on from.

    Attributes:
        state: The training's state.
        best: With patience the best state so far, or ``None``.
        about: What was told beside it: history, sums, settings.
    """

    state: Tree
    best: Tree | None
    about: dict[str, Any]


class Saver:
    """Saves one training into its folder, in a thread of its own, and finds what an earlier process has saved there.

    Of a training in several processes the first one alone reads and writes, and tells the others.

    Args:
        settings: Where and when.
        training: What must be the same for a training to go on, as JSON can hold it.
        shared: Whether the training's state lies on devices of several processes.

    Raises:
        CheckpointError: The folder cannot be made or written, or another process saves there.
    """

    def __init__(self, settings: Checkpoints, training: Mapping[str, Any], *, shared: bool = False) -> None:
        self.settings, self.folder, self._training = settings, pathlib.Path(settings.folder), dict(training)
        self._shared, self._writes = shared, not shared or first()
        lock = self._by_first(lambda: _locked(self.folder))
        # Given back by the system at the end of the process, whatever that is.
        self._unlock = weakref.finalize(self, os.close, lock) if self._writes else lambda: None
        self._thread = ThreadPoolExecutor(1, "stepax-checkpoint")
        self._pending: Future | None = None
        self._last, self.saved, self._asked = time.monotonic(), -1, -1
        self._values: dict[int, float] = {}  # by step, of the epochs that ``best`` may keep

    def find(self, like: Tree) -> Found | None:
        """The newest checkpoint that is whole; what was cut short is removed, and what is damaged passed over.

        Args:
            like: A state of the training's shapes, with the places where it is to lie.

        Raises:
            Mismatch: The checkpoint is of another training: another model, other data or settings, another version.
            CheckpointError: There are checkpoints, and all of them are damaged.
        """
        if not self._shared:
            return self._find(like)
        from stepax import checkpoint

        bare = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), like)
        found = self._by_first(lambda: self._find(bare))
        about = told(None if found is None else found.about)
        if about is None:
            return None
        target = {"state": like, "best": like if about["best"] else {}}
        own = None if found is None else {"state": found.state, "best": found.best or {}}
        tree = checkpoint.sent(own, target)
        self._go_on(about)
        return Found(tree["state"], tree["best"] or None, about)

    def _by_first(self, function: Callable[[], Any]) -> Any:
        """What the first process finds there, ``None`` in the others; its error is one in all."""
        if not self._shared:
            return function()
        from stepax import checkpoint

        result, problem = None, None
        if self._writes:
            try:
                result = function()
            except checkpoint.CheckpointError as error:
                problem = [isinstance(error, checkpoint.Mismatch), str(error)]
        problem = told(problem)
        if problem:
            raise (checkpoint.Mismatch if problem[0] else checkpoint.CheckpointError)(problem[1])
        return result

    def _find(self, like: Tree) -> Found | None:
        from stepax import checkpoint

        for entry in self._entries():
            if not (entry / checkpoint.INDEX).exists():
                shutil.rmtree(entry)
        faults: dict[pathlib.Path, str] = {}
        for entry in self._entries():
            try:
                about = checkpoint.about(entry)
                self._check_same(entry, about, but=LEARNER)  # of another model the arrays tell more than a checksum
                tree = checkpoint.load(entry, {"state": like, "best": like if about["best"] else {}})
                self._check_same(entry, about)
            except checkpoint.Mismatch:
                raise
            except checkpoint.CheckpointError as error:
                faults[entry] = str(error)
                continue
            if faults:
                warnings.warn(f"{'; '.join(faults.values())}: going on from {entry.name}", stacklevel=2)
            for damaged in faults:  # out of the way of the steps to come, and kept for a look at it
                damaged.replace(damaged.with_name(f"{DAMAGED}{damaged.name}-{secrets.token_hex(2)}"))
            self._go_on(about)
            return Found(tree["state"], tree["best"] or None, about)
        if faults:
            raise checkpoint.CheckpointError("; ".join(faults.values()) + "; there is no other to go on from")
        return None

    def _go_on(self, about: dict[str, Any]) -> None:
        self.saved = self._asked = about["step"]
        for row in about["rows"]:
            self._rank(row["step"], self.value(row))

    def _check_same(self, entry: pathlib.Path, about: dict[str, Any], but: str = "") -> None:
        from stepax.checkpoint import Mismatch

        was, now = _flat(about.get("training", {})), _flat(self._training)
        changes = [
            f"{name} was {was.get(name)!r} and is {now.get(name)!r}"
            for name in {**was, **now}
            if was.get(name) != now.get(name)
            and name != but
            # On several devices there is no checksum.
            and not (name == LEARNER and None in (was.get(name), now.get(name)))
        ]
        if changes:
            raise Mismatch(
                f"checkpoint {entry}: it is of another training: {'; '.join(changes)}. "
                "Name another folder, or make the call as it was made then"
            )

    def value(self, row: dict[str, Any] | None) -> float | None:
        """What ``best`` goes by, at the end of an epoch that is to be ranked; of a population the mean."""
        if row is None or not self.settings.best:
            return None
        monitor = self.settings.monitor or ("validation/loss" if "validation/loss" in row else "loss")
        if monitor not in row:
            raise ValueError(f"monitor: unknown measure {nearest(monitor, list(row))}")
        return float(np.mean(row[monitor]))

    def due(self, value: float | None) -> bool:
        """Whether it is time to save again, or the epoch is among the best."""
        if value is not None and self._place(value) < self.settings.best:
            return True
        writing = self._pending is not None and not self._pending.done()
        return not (writing and self.settings.seconds) and time.monotonic() - self._last >= self.settings.seconds

    def agreed(self, number: int) -> int:
        """A signal that one process has noted, or the time that has come for one, holds for all."""
        return agreed(number)[0] if self._shared else number

    def _place(self, value: float) -> float:
        """How many of the epochs that were saved are at least as good."""
        better = self.settings.better or operator.lt
        return math.inf if math.isnan(value) else sum(not better(value, other) for other in self._values.values())

    def _rank(self, step: int, value: float | None) -> None:
        """Takes an epoch in, if it is among the best."""
        if value is not None and self._place(value) < self.settings.best:
            better, values = self.settings.better or operator.lt, {**self._values, step: value}
            ranked = sorted(values, key=lambda one: sum(better(other, values[one]) for other in values.values()))
            self._values = {one: values[one] for one in ranked[: self.settings.best]}

    def save(self, state: Tree, best: Tree | None, about: Mapping[str, Any]) -> None:
        """Copies the state and saves it in the background; waits for the one before. What is saved already stays.

        A failure is a warning: the training goes on, the last good checkpoint stays, and the next one is tried.
        """
        from stepax import checkpoint

        if about["step"] == self._asked:
            return
        self.wait()
        self._asked = about["step"]
        self._rank(about["step"], about["value"])
        hosts = checkpoint.to_host({"state": state, "best": best or {}})
        self._last = time.monotonic()
        if self._writes:
            self._pending = self._thread.submit(self._write, hosts, {**about, "training": self._training})
        else:
            self.saved = about["step"]

    def wait(self) -> int:
        """Waits until nothing is being saved; the step of the last checkpoint, or -1."""
        if self._pending is None:
            return self.saved
        pending, self._pending = self._pending, None
        try:
            self.saved = pending.result()
        except Exception as error:  # Orbax and its file system have errors of their own
            kept = f"the last one is of step {self.saved}" if self.saved >= 0 else "there is none yet"
            warnings.warn(f"checkpoint not saved in {self.folder}: {error}; {kept}", stacklevel=3)
            self._asked = -1
        return self.saved

    def close(self) -> None:
        """Waits, and lets other processes save here."""
        self.wait()
        self._thread.shutdown()
        self._unlock()

    def _write(self, hosts: Any, about: dict[str, Any]) -> int:
        from stepax import checkpoint

        path = self.folder / f"step-{about['step']:012d}"
        try:
            checkpoint.write(path, hosts, about)
        except BaseException:
            if not (path / checkpoint.INDEX).exists():
                shutil.rmtree(path, ignore_errors=True)
            raise
        self._forget(path)
        return about["step"]

    def _forget(self, newest: pathlib.Path) -> None:
        """Removes the checkpoints that are neither among the newest nor among the best."""
        from stepax import checkpoint

        best = {f"step-{step:012d}" for step in self._values}
        for entry in self._entries()[self.settings.keep :]:
            if entry != newest and entry.name not in best:
                (entry / checkpoint.INDEX).unlink(missing_ok=True)  # from here on it is none
                shutil.rmtree(entry, ignore_errors=True)

    def _entries(self) -> list[pathlib.Path]:
        return sorted((path for path in self.folder.iterdir() if NAME.fullmatch(path.name)), reverse=True)


def _locked(folder: pathlib.Path) -> int:
    """A lock on a folder, which the system takes back when the process ends in any way."""
    from stepax.checkpoint import CheckpointError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise CheckpointError(f"checkpoints {folder}: the folder cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise CheckpointError(f"checkpoints {folder}: another training saves there; name another folder") from error
    return lock


def is_locked(folder: pathlib.Path) -> bool:
    """Whether a training saves in a folder at this moment."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def _flat(training: Mapping[str, Any]) -> dict[str, Any]:
    """With an entry for everything in a dict, so that a message shows what differs alone."""
    flat: dict[str, Any] = {}
    for name, value in training.items():
        flat |= {f"{name}{key}": item for key, item in value.items()} if isinstance(value, Mapping) else {name: value}
    return flat


def fingerprint(data: Any) -> dict[str, Any]:
    """What tells one data set from another, at little cost: shapes, dtypes, and a checksum of a thousand rows."""
    digest = hashlib.sha256()
    described = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(data)[0]:
        described[jax.tree_util.keystr(path)] = f"{leaf.dtype}{list(leaf.shape)}"
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        if np.ndim(leaf):
            leaf = leaf[np.unique(np.linspace(0, len(leaf) - 1, 1000, dtype=int))]
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return {**described, " (SHA-256 of rows)": digest.hexdigest()}
