"""``fit``: a whole training, and what remains of it."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from stepax.compile import compile_seconds
from stepax.learner import Learner, State
from stepax.processes import first
from stepax.record import parameter_hash
from stepax.reports import Report, closing, training
from stepax.saving import Checkpoints
from stepax.typing import Key

__all__ = ["Run", "collected", "fit"]


class Run(NamedTuple):
    """A finished training.

    Attributes:
        state: The last state; with ``patience`` the best one.
        history: One list per measure, one entry per epoch: ``epoch``, ``step`` (steps made so far), ``seconds`` (so
            far, without compiling), the weighted means of the training metrics, and those of the validation data under
            ``validation/…``. In a population a measure's entry is a list of one number per lane.
        record: How the run was made: settings (the ``key`` as its raw data among them), steps, seconds, why it ended,
            with ``patience`` the ``best`` epoch and its measure, and a hash of the parameters. Learner and data are
            objects of Python and not in it: tell what they were in the ``details`` of ``stepax.record.save``.
    """

    state: State
    history: dict[str, list[Any]]
    record: dict[str, Any]


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
    checkpoints: Checkpoints | str | os.PathLike | None = None,
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
        monitor: The measure that ``patience`` watches, as the history names it: one of the validation data
            (``validation/…``), or of the training itself, such as ``loss``, which needs no validation data.
        better: ``(new, best) -> bool``: ``operator.lt`` for an error, ``operator.gt`` for an accuracy. ``None`` is
            ``operator.lt`` for a ``monitor`` whose name ends with ``loss``; others need one. NaN is never better.
        state: Where to go on; ``None`` starts afresh.
        checkpoints: A folder, or a :class:`stepax.Checkpoints` with one. The training saves there as it goes; the same
            call after an interruption of any kind goes on from the last checkpoint and ends in the same bits, and after
            the end returns at once. SIGTERM and Ctrl-C end it between two steps, saved.
        progress: Whether to show a progress bar where there is a terminal or a notebook.

    Returns:
        The run: state, history, record.

    Raises:
        TypeError: Before anything is compiled: a learner, a state, a key, data or labels of the wrong kind.
        ValueError: Likewise: data that are empty, ragged or not finite, or have negative weights; labels outside the
            classes; settings out of range; a ``monitor`` that the history will not have, or of which nothing says what
            is ``better``; a loss or a metric with a wrong shape; the state of a population for a single learner, or
            the other way round.
        NotFinite: During the training, with :func:`stepax.guard`: too many steps in a row were not finite.
        stepax.checkpoint.CheckpointError: The folder of ``checkpoints`` cannot be used; what it holds is of another
            training, or all of it is damaged.
        Interrupted: A KeyboardInterrupt with ``checkpoints``: a signal has ended the training, and it is saved.
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
        checkpoints=checkpoints,
    )
    if progress and first():
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
    with closing(reports):
        (last,) = deque(reports, maxlen=1)
    history: dict[str, list[Any]] = {}
    for row in last.rows:
        for name, value in row.items():
            history.setdefault(name, []).append(value)
    state = last.state if last.best is None else last.best
    record = {
        "settings": settings,
        "steps": last.step,
        "stopped": last.stopped,
        "seconds": {"compile": compile_seconds() - compiled, "run": history["seconds"][-1]},
        **({} if last.found is None else {"best": last.found}),
        "parameters": parameter_hash(state.params),
    }
    return Run(state, history, record)
