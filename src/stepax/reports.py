"""Training as a generator of reports, compiled by the epoch, that can be stopped, watched and saved between chunks."""

import contextlib
import dataclasses
import operator
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stepax import checks
from stepax.compile import compile_seconds, jit
from stepax.evaluation import BATCH, Evaluation, missing, rehearse
from stepax.history import Best, Sums
from stepax.learner import Learner, State, check_lanes, check_learner
from stepax.loop import epochs
from stepax.placement import placement
from stepax.processes import fetched, is_shared, place
from stepax.program import digest, equations
from stepax.record import parameter_hash
from stepax.saving import LEARNER, Checkpoints, Found, Interrupted, Saver, fingerprint
from stepax.signals import stoppable
from stepax.source import Source, Stream, example, in_order, shuffled
from stepax.transforms.guard import NotFinite, check_guard
from stepax.typing import Key, Metrics

__all__ = ["Report", "closing", "training"]

# Seconds between two reports of ``training``: often enough for a progress bar. A program's memory is new to it at each
# call, which costs a large model a third of a step on a CPU: two seconds are many steps.
PACE = 2.0

DONE = "all epochs done"


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
        found: Of the best state its ``epoch`` and measure, or ``None``.
        rows: The whole history so far, of an earlier process too where a training goes on.
    """

    state: State
    step: int
    total: int
    length: int
    metrics: dict[str, np.ndarray]
    row: dict[str, Any] | None
    best: State | None
    stopped: str
    found: dict[str, Any] | None = None
    rows: Sequence[dict[str, Any]] = ()


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
    checkpoints: Checkpoints | str | os.PathLike | None = None,
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
        checkpoints: As in ``fit``.

    Yields:
        A report about every two seconds, and at the end of every epoch one with its ``row``.

    Raises:
        TypeError: As in ``fit``, when called: before anything is compiled.
        ValueError: Likewise.
        Interrupted: With ``checkpoints``, after a signal.
    """
    check_learner(learner, state)
    checks.check_key(key)
    checks.check_count("epochs", epochs)
    checks.check_patience(patience, validation, monitor)
    learner_key, data_key = jax.random.split(key)
    source = data if isinstance(data, Source | Stream) else _shuffled(data, batch_size, data_key)
    watched = validation
    if validation is not None and not isinstance(validation, Source | Stream):
        watched = in_order(validation, BATCH, name="validation")
    # All the data stand for a batch here: a permutation would have to be compiled.
    batch = data if isinstance(data, Mapping) else example(source)
    try:
        like = jax.eval_shape(learner.init, learner_key, batch)
    except KeyError as error:
        raise missing("data", data, error) from error
    if state is not None:
        check_lanes(like, state)
        like = state
    rehearse(learner, like, data)
    measured = rehearse(learner, like, validation, "validation")
    settings = checkpoints if isinstance(checkpoints, Checkpoints | None) else Checkpoints(checkpoints)
    if patience is not None or (settings is not None and settings.best):
        if watched is not None and not measured:
            measured = jax.eval_shape(learner.evaluate, like, example(watched), like.key)
        known = _measures(learner, like, source, measured)
        if patience is not None:
            better = _order(monitor, better, known)
        if settings is not None and settings.best:
            named = settings.monitor or ("loss" if watched is None else "validation/loss")
            settings = dataclasses.replace(settings, monitor=named, better=_order(named, settings.better, known))
    # What a step refuses is an error before anything is compiled.
    program = jax.make_jaxpr(learner.step)(like, _shapes(source))
    if state is not None:
        _check_left("the state", int(state.step), epochs, source, least=1)
    best, given = Best(patience, monitor, better), state
    if state is not None or settings is not None:
        placed = placement(_initial(learner), learner_key, example(source))
        if placed is not None:
            like = placed
            state = state and jax.tree.map(lambda leaf, target: place(leaf, target.sharding), state, placed)
    evaluation = None if watched is None else Evaluation(learner, watched)
    if settings is None:
        state = _initial(learner)(learner_key, example(source)) if state is None else state
        return _reports(learner, source, state, epochs, evaluation, best, None, {})
    same = {
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "batch_size": batch_size if isinstance(data, Mapping) else None,
        "steps an epoch": source.length,
        "data": fingerprint(data if isinstance(data, Mapping) else _first(source)),
        "validation": fingerprint(validation) if isinstance(validation, Mapping) else validation is not None,
        "patience": patience,
        "monitor": monitor if patience is not None else None,
        "state": None if given is None else [int(given.step), parameter_hash(given.params)],
        LEARNER: _checksum(program),
    }
    saver = Saver(settings, same, shared=is_shared(like))
    try:
        found = _found(saver, like, best, epochs, source)
        if found is not None:
            state = found.state
        elif state is None:
            state = _initial(learner)(learner_key, example(source))
    except BaseException:
        saver.close()  # or a notebook's traceback would keep the folder locked
        raise
    return _reports(learner, source, state, epochs, evaluation, best, saver, {} if found is None else found.about)


def _found(saver: Saver, like: State, best: Best, epochs: int, source: Source | Stream) -> Found | None:
    """What an earlier process has saved; early stopping goes on from there."""
    found = saver.find(like)
    if found is not None:
        _check_left("the checkpoint", found.about["step"], epochs, source, least=0)
        if found.best is not None:
            best.go_on(found.best, found.about["best"])
    return found


def _check_left(what: str, step: int, epochs: int, source: Source | Stream, least: int) -> None:
    if epochs * source.length - step < least:
        raise ValueError(
            f"epochs: {what} has made {step} steps already, and {epochs} epochs are {epochs * source.length}"
        )


def _shapes(source: Source | Stream) -> Any:
    """Those of a batch; nothing is computed."""
    return jax.eval_shape(lambda: example(source))


def _checksum(program: Any) -> str | None:
    """Of what a step computes; ``None`` where it says on which devices, since a training may go on on others."""
    on_devices = any(equation.primitive.name == "sharding_constraint" for equation in equations(program.jaxpr))
    return None if on_devices else digest(program)


def _first(source: Source | Stream) -> Any:
    """The first batch, by which one source is told from another."""
    if isinstance(source, Source):
        return example(source)
    with closing(source.batches(0, 0)) as batches:
        return next(iter(batches))


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


def _measures(learner: Learner, state: State, source: Source | Stream, measured: Metrics) -> list[str]:
    """What the history will have."""
    known = [f"validation/{name}" for name in measured]
    known += jax.eval_shape(learner.step, state, _shapes(source))[1]
    return [name for name in known if name.rpartition("/")[2] != "weight"]


def _order(
    monitor: str, better: Callable[[float, float], bool] | None, known: list[str]
) -> Callable[[float, float], bool]:
    """When a measure is better: as was said, or of a loss by its name; nothing is guessed of other names.

    Raises:
        ValueError: The history will not have the measure, or nothing says what is better.
    """
    if monitor not in known:
        raise ValueError(f"monitor: unknown measure {checks.nearest(monitor, known)}")
    if better is None and not monitor.endswith("loss"):
        raise ValueError(
            f"better: nothing says whether more or less of {monitor!r} is better; "
            "pass better=operator.gt for more, as of an accuracy, or better=operator.lt for less, as of an error"
        )
    return better or operator.lt


def _check_guard(state: State, source: Source | Stream) -> None:
    """As ``check_guard``, with the batch."""
    try:
        check_guard(state)
    except NotFinite as error:
        error.position = epoch, number = divmod(error.step, source.length)
        if isinstance(source, Source):
            error.batch = source.take(source.order(epoch), jnp.int32(number))
        else:
            error.batch = next(source.batches(epoch, number))
        raise


def _reports(
    learner: Learner,
    source: Source | Stream,
    state: State,
    epochs_: int,
    evaluation: Evaluation | None,
    best: Best,
    saver: Saver | None,
    about: dict[str, Any],
) -> Iterator[Report]:
    total, compiled = epochs_ * source.length, compile_seconds()
    started = time.perf_counter() - about.get("seconds", 0.0)
    sums, rows, stopped = Sums(about.get("sums")), list(about.get("rows", [])), ""

    def report(state: State, metrics: dict[str, np.ndarray], row: dict[str, Any] | None) -> Report:
        step = int(state.step)
        return Report(state, step, total, source.length, metrics, row, best.state, stopped, best.found(), rows)

    def seconds() -> float:
        return time.perf_counter() - started - (compile_seconds() - compiled)

    if about and (about["stopped"] not in ("", DONE) or int(state.step) >= total):
        stopped = DONE if about["stopped"] == "" else about["stopped"]
        if saver:
            saver.close()
        yield report(state, {}, None)
        return
    number = 0
    with contextlib.ExitStack() as stack:
        noted = stack.enter_context(stoppable()) if saver else lambda: 0
        if saver:
            stack.callback(saver.close)
        turns = stack.enter_context(contextlib.closing(epochs(learner, source, state, seconds=PACE)))
        del state  # which lives on in a copy
        for current, metrics in turns:
            _check_guard(current, source)
            step, row = int(current.step), None
            sums.add(metrics)
            if step % source.length == 0:
                row = {"epoch": step // source.length, "step": step, "seconds": 0.0, **sums.means()}
                sums = Sums()
                if evaluation is not None:
                    measured = fetched(evaluation(current))
                    row |= {
                        f"validation/{name}": np.asarray(value, np.float64).tolist()
                        for name, value in measured.items()
                        if name != "weight"
                    }
                row["seconds"] = seconds()
                rows.append(row)
                stopped = best.see(current, row) or (DONE if step >= total else "")
            if saver is None:
                yield report(current, metrics, row)
            else:
                told: dict[str, Any] = {"step": step, "stopped": stopped, "value": saver.value(row)}

                def keep(state: State = current, told: dict[str, Any] = told, sums: Sums = sums) -> None:
                    about = {"seconds": seconds(), "sums": sums.kept(), "rows": [*rows], "best": best.kept()}
                    saver.save(state, best.state, {**told, **about})

                if stopped or saver.agreed(saver.due(told["value"])):
                    keep()
                try:
                    yield report(current, metrics, row)
                except GeneratorExit:
                    keep()
                    raise
                if not stopped and (number := saver.agreed(noted())):
                    keep()
                    raise Interrupted(number, step, saver.folder, saver.wait())
            if stopped:
                number = noted()
                break
    if number:  # it came while the last step was made or saved; nothing is left to do but what it always does
        signal.raise_signal(number)


@contextlib.contextmanager
def closing(reports: Iterator[Report]) -> Iterator[Iterator[Report]]:
    """Closes reports at the end of a ``with``, if they can be closed: a list's iterator cannot.

    A function around reports that ends early, or fails, so ends those inside it too.
    """
    try:
        yield reports
    finally:
        getattr(reports, "close", lambda: None)()
