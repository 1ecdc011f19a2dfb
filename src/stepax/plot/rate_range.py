"""The losses of a learning-rate range test over the rates."""

import numpy as np
from matplotlib.figure import Figure

from stepax.learning_rate import RateRange
from stepax.plot.style import BLUE, GREEN, GREY, VERMILION, styled

__all__ = ["rate_range"]


@styled
def rate_range(result: RateRange) -> Figure:
    """Loss over learning rate, with the suggestion and where the loss diverged.

    Args:
        result: What :func:`stepax.rate_range` found.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(result.rates, result.losses, color=GREY, alpha=0.5, linewidth=1, label="loss of a step")
    axes.plot(result.rates, result.smoothed, color=BLUE, label="smoothed")
    if result.suggestion is not None:
        label = f"suggestion: {_rate(result.suggestion)}"
        axes.axvline(result.suggestion, color=GREEN, linestyle="--", label=label)
    if result.diverged is not None:
        axes.axvline(result.diverged, color=VERMILION, linestyle=":", label=f"diverged: {_rate(result.diverged)}")
    axes.set_xscale("log")
    # What diverges would flatten all the rest.
    lowest = float(np.nanmin(np.where(np.isfinite(result.losses), result.losses, np.nan)))
    highest = float(np.max(result.losses[: max(5, len(result.losses) // 4)]))
    room = 0.1 * (highest - lowest) or 0.5
    axes.set_ylim(lowest - room, highest + 3 * room)
    axes.set(xlabel="learning rate", ylabel="loss", title="Learning-rate range test")
    axes.grid(visible=True)
    axes.legend(loc="lower left")
    return figure


def _rate(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-3 else f"{value:.1e}"
