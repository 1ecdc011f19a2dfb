"""Training and its measures: a loop that is compiled by the epoch and can be stopped and watched between chunks."""

import contextlib
import math
import operator
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stepax import checks
from stepax.compile import compile_seconds, jit
from stepax.evaluation import BATCH, Evaluation, missing, rehearse
from stepax.learner import Learner, State, check_learner
from stepax.loop import copied, epochs
from stepax.record import parameter_hash
from stepax.source import Source, in_order, shuffled
from stepax.transforms.guard import check_guard
from stepax.typing import Key, Metrics

__all__ = ["Report", "Run", "closing", "collected", "fit", "training"]

# Seconds between two reports of ``training``: often enough for a progress bar. A program's memory is new to it at each
# call, which costs a large model a third of a step on a CPU: two seconds are many steps.
PACE = 2.0


class Run(NamedTuple):
    """A finished training.

    Attributes:
        state: The last state; with ``patience`` the best one.
        history: One list per measure, one entry per epoch: ``epoch``, ``step`` (steps made so far), ``seconds`` (so
            far, without compiling), the weighted means of the training metrics, and those of the validation data under
            ``validation/…``.
        record: How the run was made: settings (the ``key`` as its raw data among them), steps, seconds, why it ended,
            and a hash of the parameters. Learner and data are objects of Python and not in it: tell what they were in
            the ``details`` of ``stepax.record.save``.
    """

    state: State
    history: dict[str, list[Any]]
    record: dict[str, Any]


class Report(NamedTuple):
    """What ``training`` tells between two chunks of steps.

    Attributes:
        state: The state now; borrowed until the next turn of the loop.
        step: Steps made, counted from the very first.
        total: Steps that the whole training has.
        length: Steps that an epoch has.
        metrics: The chunk's metrics, each an array ``[steps]``.
        row: At the end of an epoch its entry of the history, else ``None``.
        best: With ``patience`` the best state so far, ``None`` before the first epoch's end; without, ``None``.
        stopped: Why this is the last report, else ``""``.
    """

    state: State
    step: int
    total: int
    length: int
    metrics: dict[str, np.ndarray]
    row: dict[str, Any] | None
    best: State | None
    stopped: str


def training(
    learner: Learner,
    data: Any,
    *,
    key: Key,
    epochs: int,
    batch_size: int | None,
    validation: Any = None,
    patience: int | None = None,
    monitor: str = "validation/loss",
    better: Callable[[float, float], bool] | None = None,
    state: State | None = None,
) -> Iterator[Report]:
    """``fit`` as a generator: progress bars, logs and checkpoints are functions around it.

    Args:
        learner: As in :func:`fit`, and so are all the others.
        data: As in ``fit``.
        key: As in ``fit``.
        epochs: As in ``fit``.
        batch_size: As in ``fit``.
        validation: As in ``fit``.
        patience: As in ``fit``.
        monitor: As in ``fit``.
        better: As in ``fit``.
        state: As in ``fit``.

    Yields:
        A report about every two seconds, and at the end of every epoch one with its ``row``.

    Raises:
        TypeError: As in ``fit``, when called: before anything is compiled.
        ValueError: Likewise.
    """
    check_learner(learner, state)
    checks.check_key(key)
    checks.check_count("epochs", epochs)
    checks.check_patience(patience, validation)
    learner_key, data_key = jax.random.split(key)
    source = data if isinstance(data, Source) else _shuffled(data, batch_size, data_key)
    watched = validation
    if validation is not None and not isinstance(validation, Source):
        watched = in_order(validation, BATCH, name="validation")
    # All the data stand for a batch here: a permutation would have to be compiled.
    batch = data if isinstance(data, Mapping) else _first(source)
    try:
        like = state or jax.eval_shape(learner.init, learner_key, batch)
    except KeyError as error:
        raise missing("data", data, error) from error
    rehearse(learner, like, data)
    measured = rehearse(learner, like, validation, "validation")
    if patience is not None:
        if isinstance(watched, Source) and not measured:
            measured = jax.eval_shape(learner.evaluate, like, _first(watched), like.key)
        _check_monitor(monitor, learner, like, batch, measured)
        better = better or _better(monitor)
    if state is not None and int(state.step) >= epochs * source.length:
        made = f"{int(state.step)} steps already, and {epochs} epochs are {epochs * source.length}"
        raise ValueError(f"epochs: the state has made {made}")
    if state is None:
        state = _initial(learner)(learner_key, _first(source))
    evaluation = None if watched is None else Evaluation(learner, watched)
    return _reports(learner, source, state, epochs, evaluation, _Best(patience, monitor, better or operator.lt))


def _first(source: Source) -> Any:
    return source.take(source.order(0), jnp.int32(0))


@lru_cache(maxsize=16)
def _initial(learner: Learner) -> Callable[[Key, Any], State]:
    return jit(learner.init)


def _shuffled(data: Any, batch_size: int | None, key: Key) -> Source:
    source = shuffled(data, batch_size, key)
    count = jax.tree.leaves(data)[0].shape[0]
    if batch_size is not None and batch_size > count:
        warnings.warn(
            f"batch_size: {batch_size} is more than the {count} examples; every batch takes all of them",
            stacklevel=4,
        )
    return source


def _check_monitor(monitor: str, learner: Learner, state: State, batch: Any, measured: Metrics) -> None:
    """Refuses a measure that the history will not have, before an epoch is spent on it."""
    known = [f"validation/{name}" for name in measured if name != "weight"]
    if monitor in known:
        return
    known += [name for name in jax.eval_shape(learner.step, state, batch)[1] if name != "weight"]
    if monitor not in known:
        raise ValueError(f"monitor: unknown measure {checks.nearest(monitor, known)}")


def _better(monitor: str) -> Callable[[float, float], bool]:
    """The order of what is a loss by its name; nothing is guessed of other names."""
    if monitor.endswith("loss"):
        return operator.lt
    raise ValueError(
        f"better: nothing says whether more or less of {monitor!r} is better; "
        "pass better=operator.gt for more, as of an accuracy, or better=operator.lt for less, as of an error"
    )


class _Best:
    """Early stopping: the best state so far, and how many epochs ago it was."""

    def __init__(self, patience: int | None, monitor: str, better: Callable[[float, float], bool]) -> None:
        self.patience, self.monitor, self.better = patience, monitor, better
        self.state: State | None = None
        self.value, self.age = float("nan"), 0

    def see(self, state: State, row: dict[str, Any]) -> str:
        """Takes an epoch's row in; returns why to stop, or an empty string."""
        if self.patience is None:
            return ""
        value, self.age = row[self.monitor], self.age + 1
        # Nothing compares with NaN: a number is better, and another NaN is not.
        improved = not math.isnan(value) and (math.isnan(self.value) or self.better(value, self.value))
        if self.state is None or improved:
            self.state, self.value, self.age = copied(state), value, 0
        return f"{self.monitor} has not improved for {self.patience} epochs" if self.age >= self.patience else ""


def _reports(
    learner: Learner, source: Source, state: State, epochs_: int, evaluation: Evaluation | None, best: _Best
) -> Iterator[Report]:
    total, compiled, started = epochs_ * source.length, compile_seconds(), time.perf_counter()
    sums: dict[str, float] = {}
    for current, metrics in epochs(learner, source, state, seconds=PACE):
        check_guard(current)
        step = int(current.step)
        _add(sums, metrics)
        row, stopped = None, ""
        if step % source.length == 0:
            row = {"epoch": step // source.length, "step": step, "seconds": 0.0, **_means(sums)}
            sums = {}
            if evaluation is not None:
                measured = jax.device_get(evaluation(current))
                row |= {f"validation/{name}": float(value) for name, value in measured.items() if name != "weight"}
            row["seconds"] = time.perf_counter() - started - (compile_seconds() - compiled)
            stopped = best.see(current, row) or ("all epochs done" if step >= total else "")
        yield Report(current, step, total, source.length, metrics, row, best.state, stopped)
        if stopped:
            return


def _add(sums: dict[str, float], metrics: dict[str, np.ndarray]) -> None:
    """Adds a chunk's metrics to an epoch's sums, each step by its weight."""
    weight = np.asarray(metrics.get("weight", 1.0), np.float64)
    for name, values in metrics.items():
        # A value that does not count may be infinite, and 0 · inf is not 0.
        terms = weight if name == "weight" else np.where(weight == 0, 0, values) * weight
        sums[name] = sums.get(name, 0.0) + float(np.sum(terms))
    sums.setdefault("weight", 0.0)
    if "weight" not in metrics:
        sums["weight"] += len(next(iter(metrics.values()), ()))


def _means(sums: dict[str, float]) -> dict[str, float]:
    return {name: value / (sums["weight"] or 1.0) for name, value in sums.items() if name != "weight"}


@contextlib.contextmanager
def closing(reports: Iterator[Report]) -> Iterator[Iterator[Report]]:
    """Closes reports at the end of a ``with``, if they can be closed: a list's iterator cannot.

    A function around reports that ends early, or fails, so ends those inside it too.
    """
    try:
        yield reports
    finally:
        getattr(reports, "close", lambda: None)()


def fit(
    learner: Learner,
    data: Any,
    *,
    key: Key,
    epochs: int,
    batch_size: int | None,
    validation: Any = None,
    patience: int | None = None,
    monitor: str = "validation/loss",
    better: Callable[[float, float], bool] | None = None,
    state: State | None = None,
    progress: bool = True,
) -> Run:
    """Trains a learner.

    Data live on the device, whole stretches of an epoch run as one compiled program, and a progress bar shows between
    them. The same key gives the same bits on the same machine.

    Args:
        learner: What to train.
        data: A dict of arrays with one leading axis (``x``, ``y``, optionally ``weight``), or a :class:`stepax.Source`.
        key: The root of all randomness, ``jax.random.key(seed)``.
        epochs: How many times to go through the data, counted from the very first step.
        batch_size: Examples a step; ``None`` takes all of them: gradient descent on the full batch. Ignored for a
            source, which has its own.
        validation: Data that are measured after every epoch, and never learnt from.
        patience: Stop after so many epochs without improvement, and return the best state; ``None`` trains to the end
            and returns the last one.
        monitor: The measure that ``patience`` watches, as the history names it.
        better: ``(new, best) -> bool``: ``operator.lt`` for an error, ``operator.gt`` for an accuracy. ``None`` is
            ``operator.lt`` for a ``monitor`` whose name ends with ``loss``; others need one. NaN is never better.
        state: Where to go on; ``None`` starts afresh.
        progress: Whether to show a progress bar where there is a terminal or a notebook.

    Returns:
        The run: state, history, record.

    Raises:
        TypeError: Before anything is compiled: a learner, a state, a key, data or labels of the wrong kind.
        ValueError: Likewise: data that are empty, ragged or not finite, or have negative weights; labels outside the
            classes; settings out of range; a ``monitor`` that the history will not have, or of which nothing says what
            is ``better``; a loss with a wrong shape.
        NotFinite: During the training, with :func:`stepax.guard`: too many steps in a row were not finite.
    """
    compiled = compile_seconds()
    reports = training(
        learner,
        data,
        key=key,
        epochs=epochs,
        batch_size=batch_size,
        validation=validation,
        patience=patience,
        monitor=monitor,
        better=better,
        state=state,
    )
    if progress:
        from stepax.progress import shown

        reports = shown(reports)
    settings = {
        "epochs": epochs,
        "batch_size": batch_size,
        "patience": patience,
        "monitor": monitor if patience is not None else None,
    }
    return collected(reports, {**settings, "key": np.asarray(jax.random.key_data(key)).tolist()}, compiled)


def collected(reports: Iterator[Report], settings: dict[str, Any], compiled: float | None = None) -> Run:
    """Goes through a training's reports to the end and keeps what remains of them.

    Args:
        reports: From :func:`training`, or a function around it.
        settings: What goes into the record as it is.
        compiled: ``stepax.compile.compile_seconds()`` before the training was made; ``None``: now.

    Returns:
        The run.
    """
    compiled = compile_seconds() if compiled is None else compiled
    history: dict[str, list[Any]] = {}
    with closing(reports):
        for report in reports:
            for name, value in (report.row or {}).items():
                history.setdefault(name, []).append(value)
    state = report.state if report.best is None else report.best
    record = {
        "settings": settings,
        "steps": report.step,
        "stopped": report.stopped,
        "seconds": {"compile": compile_seconds() - compiled, "run": history["seconds"][-1]},
        "parameters": parameter_hash(state.params),
    }
    return Run(state, history, record)
