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
from stepax.learner import Learner, State, check_learner
from stepax.loop import epochs
from stepax.placement import placement
from stepax.processes import is_shared, place
from stepax.program import digest, equations
from stepax.record import parameter_hash
from stepax.saving import LEARNER, Checkpoints, Interrupted, Saver, fingerprint
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
    checks.check_patience(patience, validation)
    learner_key, data_key = jax.random.split(key)
    source = data if isinstance(data, Source | Stream) else _shuffled(data, batch_size, data_key)
    watched = validation
    if validation is not None and not isinstance(validation, Source | Stream):
        watched = in_order(validation, BATCH, name="validation")
    # All the data stand for a batch here: a permutation would have to be compiled.
    batch = data if isinstance(data, Mapping) else example(source)
    try:
        like = state or jax.eval_shape(learner.init, learner_key, batch)
    except KeyError as error:
        raise missing("data", data, error) from error
    rehearse(learner, like, data)
    measured = rehearse(learner, like, validation, "validation")
    if patience is not None:
        if isinstance(watched, Source | Stream) and not measured:
            measured = jax.eval_shape(learner.evaluate, like, example(watched), like.key)
        _check_monitor(monitor, learner, like, source, measured)
        better = better or _better(monitor)
    _rehearse_step(learner, like, source)
    if state is not None:
        _check_left("the state", int(state.step), epochs, source, least=1)
    best, settings = Best(patience, monitor, better), None
    if checkpoints is not None:
        settings = checkpoints if isinstance(checkpoints, Checkpoints) else Checkpoints(checkpoints)
        if settings.best:
            named = settings.monitor or ("loss" if watched is None else "validation/loss")
            if watched is not None and not measured:
                measured = jax.eval_shape(learner.evaluate, like, example(watched), like.key)
            _check_monitor(named, learner, like, source, measured)
            settings = dataclasses.replace(settings, monitor=named, better=settings.better or _better(named))
    given = state
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
        LEARNER: _checksum(learner, like, source),
    }
    saver = Saver(settings, same, shared=is_shared(like))
    try:
        found = saver.find(like)
        if found is None:
            state = _initial(learner)(learner_key, example(source)) if state is None else state
        else:
            _check_left("the checkpoint", found.about["step"], epochs, source, least=0)
            state = found.state
            if found.best is not None:
                best.go_on(found.best, found.about["best"])
    except BaseException:
        saver.close()  # or a notebook's traceback would keep the folder locked
        raise
    return _reports(learner, source, state, epochs, evaluation, best, saver, {} if found is None else found.about)


def _check_left(what: str, step: int, epochs: int, source: Source | Stream, least: int) -> None:
    if epochs * source.length - step < least:
        raise ValueError(
            f"epochs: {what} has made {step} steps already, and {epochs} epochs are {epochs * source.length}"
        )


def _shapes(source: Source | Stream) -> Any:
    """Those of a batch; nothing is computed."""
    return jax.eval_shape(lambda: example(source))


def _rehearse_step(learner: Learner, like: State, source: Source | Stream) -> None:
    """Traces a step, so that what it refuses is an error before anything is compiled."""
    jax.eval_shape(learner.step, like, _shapes(source))


def _checksum(learner: Learner, like: State, source: Source | Stream) -> str | None:
    """Of what a step computes; ``None`` where it says on which devices, since a training may go on on others."""
    program = jax.make_jaxpr(learner.step)(like, _shapes(source))
    if any(equation.primitive.name == "sharding_constraint" for equation in equations(program.jaxpr)):
        return None
    return digest(program)


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


def _check_monitor(monitor: str, learner: Learner, state: State, source: Source | Stream, measured: Metrics) -> None:
    """Refuses a measure that the history will not have, before an epoch is spent on it."""
    known = [f"validation/{name}" for name in measured if name != "weight"]
    if monitor in known:
        return
    known += [name for name in jax.eval_shape(learner.step, state, _shapes(source))[1] if name != "weight"]
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
                    measured = jax.device_get(evaluation(current))
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
