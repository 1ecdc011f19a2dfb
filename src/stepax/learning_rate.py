"""The range of learning rates that a training bears, found in one short run."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stepax.checks import check_count, check_key
from stepax.compile import jit
from stepax.learner import Learner, check_learner
from stepax.loop import epochs
from stepax.source import Source, Stream, example, shuffled
from stepax.typing import Array, Key

__all__ = ["RateRange", "rate_range"]

FEWEST = 10
# The width of the bell that smooths the losses, as a part of all steps.
WIDTH = 1 / 40
# How many standard deviations of a step's loss a fall must have.
NOISE = 2.0
# About how many seconds of steps are made between two looks at the loss.
PACE = 0.5


class RateRange(NamedTuple):
    """What a learning-rate range test finds.

    Attributes:
        rates: The rate of each step, rising by equal factors, ``[steps]``; to where the loss diverged.
        losses: The loss of each step before it was made, ``[steps]``.
        smoothed: The same, each step averaged with its neighbours, ``[steps]``.
        steepest: The rate at which the smoothed loss falls most for each doubling, or ``None`` where it falls nowhere.
        diverged: The rate at which the loss diverged, or ``None`` where no rate was too high.
        suggestion: The lower one of ``steepest`` and a tenth of ``diverged``, or ``None`` where the loss falls nowhere.
        rule: Which of the two it is, in words.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    steepest: float | None
    diverged: float | None
    suggestion: float | None
    rule: str


def rate_range(
    make: Callable[[Callable[[Array], Array]], Learner],
    data: Any,
    *,
    key: Key,
    batch_size: int | None,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 100,
) -> RateRange:
    r"""Trains while the learning rate rises from ``low`` to ``high``, and reads a good rate off the losses.

    Step ``i`` has the rate :math:`low \cdot (high / low)^{i / (steps - 1)}`. The run ends where the loss diverges:
    where it is not finite, or its running mean has climbed over its lowest value so far by twice what it had fallen
    before, and by no less than the loss of the first steps. The suggestion is a start, not an optimum: a rate that
    falls over a training bears a higher beginning, and a large batch a higher rate.

    Args:
        make: From a schedule (``step -> rate``, as every Optax optimizer takes it) to a learner:
            ``lambda rate: sx.supervised(model, loss, optax.adam(rate))``.
        data: Training data: a dict of arrays, a source or a stream.
        key: The root of all randomness.
        batch_size: Examples a step, as in the training to come; ``None`` takes all. Ignored for a source or a stream.
        low: The first rate.
        high: The last one.
        steps: How many there are.

    Returns:
        Rates, losses and the suggestion; :func:`stepax.plot.rate_range` draws them.

    Raises:
        TypeError: ``make`` is no function, or makes no learner of a schedule; ``key`` or data are of the wrong kind.
        ValueError: Not ``0 < low < high``; fewer than ten steps; data that cannot be learnt from.

    Reference:
        Smith, Cyclical learning rates for training neural networks, 2017, arXiv:1506.01186.
    """
    check_key(key)
    check_count("steps", steps, FEWEST)
    if not 0 < low < high < np.inf:
        raise ValueError(f"low: expected 0 < low < high, got low={low} and high={high}")
    if not callable(make):
        raise TypeError(f"make: expected a function from a schedule to a learner, got {type(make).__name__}")
    learner = make(_rising(low, high, steps))
    check_learner(learner)
    learner_key, data_key = jax.random.split(key)
    source = data if isinstance(data, Source | Stream) else shuffled(data, batch_size, data_key)
    losses = _losses(learner, source, learner_key, steps)
    rates = low * (high / low) ** (np.arange(steps) / (steps - 1))
    end = _diverged(losses)
    diverged = None if end is None else float(rates[end])
    kept = losses[: len(losses) if end is None else end + 1]
    finite = np.where(np.isfinite(kept), kept, np.nan)
    smoothed = _smoothed(finite, steps)
    rates = rates[: len(kept)]
    return RateRange(rates, kept, smoothed, *_advice(rates, finite, smoothed, diverged))


def _rising(low: float, high: float, steps: int) -> Callable[[Array], Array]:
    def rate(step: Array) -> Array:
        share = jnp.asarray(step, jnp.float32) / (steps - 1)
        return jnp.float32(low) * jnp.float32(high / low) ** share

    return rate


def _losses(learner: Learner, source: Source | Stream, key: Key, steps: int) -> np.ndarray:
    """The loss of every step until it has diverged, or a few more."""
    state = jit(learner.init)(key, example(source))
    losses = np.zeros(0)
    for _, metrics in epochs(learner, source, state, seconds=PACE):
        if "loss" not in metrics:
            raise ValueError(f"make: expected a learner that reports a 'loss', and it reports {sorted(metrics)}")
        losses = np.concatenate([losses, np.asarray(metrics["loss"], np.float64)])[:steps]
        if len(losses) == steps or _diverged(losses) is not None:
            break
    return losses


def _diverged(losses: np.ndarray) -> int | None:
    """The first step whose running mean says so; the steps to come do not matter."""
    first = losses[: FEWEST // 2].mean()
    mean = lowest = losses[0]
    for i, loss in enumerate(losses):
        mean += (loss - mean) / min(i + 1, FEWEST // 2)
        lowest = min(lowest, mean)
        if not np.isfinite(mean) or mean - lowest > max(2 * (first - lowest), abs(first)):
            return i
    return None


def _smoothed(losses: np.ndarray, steps: int) -> np.ndarray:
    """Each loss averaged with those around it, by a bell; what is not a number does not count."""
    places = np.arange(len(losses))
    bell = np.exp(-0.5 * ((places[:, None] - places[None]) / (WIDTH * steps)) ** 2) * np.isfinite(losses)
    return bell @ np.nan_to_num(losses) / bell.sum(1)


def _advice(
    rates: np.ndarray, losses: np.ndarray, smoothed: np.ndarray, diverged: float | None
) -> tuple[float | None, float | None, float | None, str]:
    """Of ``RateRange`` the last four fields."""
    slopes = np.gradient(smoothed, np.log(rates))
    bottom = int(np.argmin(smoothed))
    place = int(np.argmin(slopes[: bottom + 1]))
    # The losses of unlike batches at one rate go up and down, too.
    noise = np.nanstd((losses - smoothed)[: bottom + 1])
    if losses[: FEWEST // 2].mean() - smoothed[bottom] <= NOISE * noise or slopes[place] >= 0:
        return None, diverged, None, "the loss falls at none of these rates"
    steepest = float(rates[place])
    if diverged is not None and diverged / 10 < steepest:
        return steepest, diverged, diverged / 10, "a tenth of the rate at which the loss diverged"
    return steepest, diverged, steepest, "the rate at which the loss falls fastest"
