"""A regression at a glance: predictions against the truth."""

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stepax.plot.style import BLUE, GREY, show_thousands, styled

__all__ = ["predicted_against_true"]


@styled
def predicted_against_true(predicted: Any, true: Any, *, name: str = "target", unit: str = "") -> Figure:
    """Every prediction over its true value with the line of perfect answers, and the distribution of the errors.

    Args:
        predicted: ``[n]``.
        true: ``[n]``, in the same unit.
        name: What is predicted.
        unit: Its unit.

    Returns:
        The figure; titles hold R², the mean absolute error and the mean error.

    Raises:
        ValueError: The shapes are not both ``[n]``.
    """
    predicted, true = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if predicted.shape != true.shape or true.ndim != 1:
        raise ValueError(f"predicted, true: expected the same shape [n], got {predicted.shape} and {true.shape}")
    errors = predicted - true
    spread = np.square(true - true.mean()).sum()
    r_squared = 1 - np.square(errors).sum() / spread if spread else float("nan")
    suffix = f" ({unit})" if unit else ""
    figure = Figure(figsize=(9.2, 4.4), layout="constrained")
    points, histogram = figure.subplots(1, 2)
    low, high = (function([*predicted, *true]) for function in (min, max))
    points.plot([low, high], [low, high], color=GREY, linestyle="--", linewidth=1.2, label="perfect")
    # Many points cover each other: the more there are, the fainter each is.
    alpha = float(np.clip(60 / len(true), 0.15, 0.8))
    points.scatter(true, predicted, s=22, color=BLUE, alpha=alpha, linewidths=0, label=f"{len(true):,} examples")
    points.set(xlabel=f"true {name}{suffix}", ylabel=f"predicted {name}{suffix}", title=f"R² = {r_squared:.3f}")
    points.set_aspect("equal", adjustable="datalim")
    points.legend(loc="upper left")
    points.grid(visible=True)
    histogram.hist(errors, bins=min(40, max(8, len(errors) // 6)), color=BLUE, edgecolor="white", linewidth=0.5)
    histogram.axvline(0, color=GREY, linestyle="--", linewidth=1.2)
    histogram.yaxis.set_major_locator(MaxNLocator(integer=True))
    histogram.set(xlabel=f"predicted − true {name}{suffix}", ylabel="examples")
    size, shift = np.abs(errors).mean(), errors.mean()
    decimals = max(0, 3 - math.floor(math.log10(size))) if size else 0  # four digits, of both as many decimals
    histogram.set_title(f"mean absolute error {size:,.{decimals}f}\nmean error {shift:+,.{decimals}f}")
    for axis in (points.xaxis, points.yaxis, histogram.xaxis):
        show_thousands(axis)
    return figure
