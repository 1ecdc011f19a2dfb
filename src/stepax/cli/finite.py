"""Trainings that have left the finite numbers: when it happened, and what is said about it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from stepax.cli.console import warn
from stepax.learner import State

__all__ = ["lost_since", "note_loss", "note_outputs", "note_texts", "outcome"]


def lost_since(history: Mapping[str, Sequence[Any]]) -> int | None:
    """The epoch since which the loss of a training is not finite; ``None`` where the last one is.

    Args:
        history: The history of a run, with ``epoch``, ``loss`` and, where it validates, ``validation/loss``.
    """
    columns = [history[name] for name in history if _is_loss(name)]
    since = None
    for epoch, *losses in zip(history["epoch"], *columns, strict=True):
        since = (since or epoch) if not all(map(math.isfinite, losses)) else None
    return since


def outcome(history: Mapping[str, Sequence[Any]], metrics: Mapping[str, Any], state: State) -> int:
    """Warns of a training that has diverged.

    Args:
        history: The history of the run.
        metrics: What was measured of the model that is kept: after early stopping that of the best epoch.
        state: The model that is kept.

    Returns:
        The exit status: 1 where the loss or the parameters of the model that is kept are not finite, else 0.
    """
    since = lost_since(history)
    kept = all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(state.params))
    kept = kept and all(math.isfinite(value) for name, value in metrics.items() if _is_loss(name))
    if since is None and kept:
        return 0
    what = f"the loss is not finite since epoch {since}" if since else "the trained model gives no finite loss"
    best = "; the model of the best epoch before is kept" if kept else ""
    warn(f"{what}: a lower --learning-rate may help{best}")
    return 0 if kept else 1


def note_outputs(output: np.ndarray) -> bool:
    """Warns where outputs of a model are not finite, and says whether all of them are.

    Args:
        output: What it says about rows, ``[n, …]``.
    """
    finite = np.isfinite(output.reshape(len(output), -1)).all(axis=1)
    if count := int((~finite).sum()):
        rows = f"{len(output):,} rows" if len(output) > 1 else "1 row"
        warn(f"for {count:,} of {rows} the model has no finite answer: its training may have diverged")
    return not count


def note_texts(lost: int, count: int) -> None:
    """Warns where a model could not go on with texts, so many of all."""
    if lost:
        texts = f"{count:,} texts" if count > 1 else "1 text"
        warn(f"for {lost:,} of {texts} the model has no finite answer: its training may have diverged")


def note_loss(loss: float) -> None:
    """Warns where the loss of a model is not finite."""
    if not math.isfinite(loss):
        warn("the model has no finite loss: its training may have diverged")


def _is_loss(name: str) -> bool:
    return name.split("/")[-1] == "loss"
