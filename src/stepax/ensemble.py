"""What many models say together, and how far they differ."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from stepax.evaluation import BATCH, predict
from stepax.learner import Learner, State, check_learner

__all__ = ["Ensemble", "ensemble"]


class Ensemble(NamedTuple):
    """Predictions of several models for the same inputs.

    Attributes:
        mean: Their mean, ``[n, …]``.
        spread: Their standard deviation over the models, ``[n, …]``.
    """

    mean: Any
    spread: Any


def ensemble(
    learner: Learner,
    state: State,
    x: Any,
    *,
    link: Callable[[Any], Any] | None = None,
    batch_size: int = BATCH,
) -> Ensemble:
    """The mean and the spread of what the lanes of a population predict.

    Classifiers are averaged in probabilities: pass ``link=jax.nn.softmax``, since the mean of logits is another thing.

    Args:
        learner: A :func:`stepax.population` or a :func:`stepax.sweep`.
        state: Its state.
        x: Inputs, ``[n, …]``, or a tree of them.
        link: Applied to every model's output ``[n, …]`` before it is averaged; ``None``: nothing is.
        batch_size: Inputs that go through the models at once.

    Returns:
        Mean and spread, as NumPy arrays.

    Raises:
        TypeError: As :func:`stepax.predict`.
        ValueError: Likewise; or the state is that of a single model.

    Reference:
        Lakshminarayanan, Pritzel and Blundell, Simple and scalable predictive uncertainty estimation using deep
        ensembles, 2017. arXiv:1612.01474
    """
    check_learner(learner, state)
    if not state.key.shape:
        raise ValueError("state: expected that of a population, with an axis of lanes, got that of a single model")
    outputs = predict(_linked(learner, link), state, x, batch_size=batch_size)
    # NumPy would add up half precision in half precision.
    outputs = jax.tree.map(lambda leaf: leaf.astype(np.promote_types(leaf.dtype, np.float32)), outputs)
    mean = jax.tree.map(lambda leaf: leaf.mean(axis=1), outputs)
    return Ensemble(mean, jax.tree.map(lambda leaf: leaf.std(axis=1), outputs))


@lru_cache(maxsize=16)
def _linked(learner: Learner, link: Callable[[Any], Any] | None) -> Learner:
    """One learner for one link, so that a second call compiles nothing."""
    if link is None:
        return learner

    def linked(state: State, x: Any) -> Any:
        return jax.vmap(link, 1, 1)(learner.predict(state, x))

    return learner._replace(predict=linked)
