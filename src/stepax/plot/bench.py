"""Training speeds as a picture: what each workload reaches of the machine's peak, and its examples per second."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from stepax.plot.style import BLUE, GREY, ORANGE, styled

__all__ = ["training_speed"]


@styled
def training_speed(
    rates: Mapping[str, Sequence[float]], shares: Mapping[str, float], *, machine: str, peaks: Mapping[str, float]
) -> Figure:
    """Bars of the share of the machine's peak, and on a logarithmic axis examples per second with their range.

    Args:
        rates: By workload its examples per second, one number per repetition.
        shares: By workload its operations per second as a share of the peak.
        machine: What it ran on, for the title.
        peaks: By dtype the most operations per second that the machine was seen to do.

    Returns:
        The figure.

    Raises:
        ValueError: There is no workload, or the two are not of the same ones.
    """
    names = list(rates)
    if not names or set(shares) != set(names):
        raise ValueError(f"shares: expected one for each of {names}, got {sorted(shares)}")
    figure = Figure(figsize=(9, 1.6 + 0.36 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_shares(left, [100 * shares[name] for name in names], peaks)
    _draw_rates(right, list(rates.values()))
    left.set_yticks(range(len(names)), names)
    left.set_ylim(len(names) - 0.5, -0.5)  # the first on top
    for axes in (left, right):
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
    figure.suptitle(f"Training speed on {machine}")
    return figure


def _draw_shares(axes: Axes, percent: Sequence[float], peaks: Mapping[str, float]) -> None:
    bars = axes.barh(range(len(percent)), percent, height=0.62, color=BLUE)
    texts = axes.bar_label(bars, [f"{value:.0f} %" if value >= 1 else f"{value:.1f} %" for value in percent], padding=3)
    for text in texts:  # over the line at 100 %
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
    # A tenth more, for the numbers; the whole stays in sight.
    axes.set_xlim(0, 1.1 * max(100, *percent))
    axes.axvline(100, color=GREY, linestyle="--", linewidth=1)
    several = len(peaks) > 1
    speeds = [f"{_short(peak / 1e9)} GFLOP/s" + f" in {dtype}" * several for dtype, peak in peaks.items()]
    axes.set_xlabel(f"share of the matrix product's {', '.join(speeds)} (%)")


def _draw_rates(axes: Axes, rates: Sequence[Sequence[float]]) -> None:
    medians = np.array([np.median(values) for values in rates])
    places = np.arange(len(rates))
    # No bars: on a logarithmic axis their length would mean nothing.
    axes.set_xscale("log")
    axes.hlines(places, [min(values) for values in rates], [max(values) for values in rates], color=ORANGE, linewidth=4)
    axes.plot(medians, places, "o", color=ORANGE, markersize=7)
    for place, median in zip(places, medians, strict=True):
        axes.annotate(_short(median), (median, place), (9, 0), textcoords="offset points", va="center")
    # From a round number below the slowest, with room for the numbers beside the dots.
    low, high = math.floor(math.log10(medians.min()) - 0.1), math.log10(medians.max())
    axes.set_xlim(10**low, 10 ** (high + 0.28 * (high - low)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("examples per second (median and range)")


def _short(value: float) -> str:
    """Three digits, of large numbers all that stand before the point."""
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}"
