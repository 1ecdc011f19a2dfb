"""The settings of a search: what each hyper-parameter had to do with the measure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from stepax.plot.style import BLUE, GREY, VERMILION, styled
from stepax.searching import Search, Trial

__all__ = ["search"]

# From how many times the smallest measure on its axis is logarithmic.
WIDE = 10
# Values half of which are below this part of the largest are spread over powers of ten, not evenly.
UNEVEN = 0.2


@styled
def search(found: Search) -> Figure:
    """A panel for each hyper-parameter: the measure over its values, with the best setting marked.

    What has no finite measure is left out, and what was given up early is drawn hollow. Bars are standard deviations
    over seeds.

    Args:
        found: What :func:`stepax.search` or :func:`stepax.search_optuna` found.

    Returns:
        The figure.

    Raises:
        ValueError: No setting has a finite measure.
    """
    trials = [trial for trial in found.trials if np.isfinite(trial.mean)]
    if not trials:
        raise ValueError("found: expected a trial with a finite measure, got none")
    names = list(found.best)
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(0.8 + 3.8 * columns, 0.7 + 3.3 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, name in zip(panels, names, strict=False):
        _panel(axes, name, trials)
    for axes in panels[len(names) :]:
        axes.remove()
    for axes in panels[0 : len(names) : columns]:
        axes.set_ylabel(found.monitor.replace("_", " "))
    handles = {label: handle for handle, label in zip(*panels[0].get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper right", ncols=len(handles))
    return figure


def _panel(axes: Axes, name: str, trials: Sequence[Trial]) -> None:
    places = _places(axes, [trial.values[name] for trial in trials])
    whole = [i for i, trial in enumerate(trials) if trial.pruned is None]
    early = [i for i, trial in enumerate(trials) if trial.pruned is not None]
    means, spread = np.array([trial.mean for trial in trials]), np.array([trial.deviation for trial in trials])
    if spread.any():
        axes.errorbar(places, means, spread, fmt="none", ecolor=GREY, elinewidth=1, zorder=1)
    axes.scatter(places[whole], means[whole], color=BLUE, s=26, alpha=0.8, label="a setting")
    if early:
        axes.scatter(places[early], means[early], facecolors="none", edgecolors=BLUE, s=26, label="given up")
    axes.scatter(places[:1], means[:1], marker="*", color=VERMILION, s=170, zorder=3, label="the best")
    if means.min() > 0 and means.max() > WIDE * means.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(name.replace("_", " "))
    axes.grid(visible=True)


def _places(axes: Axes, values: Sequence[Any]) -> np.ndarray:
    """Where values stand: numbers at an axis of numbers, anything else at one of names."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        if min(values) > 0 and np.median(values) < UNEVEN * max(values):
            axes.set_xscale("log")
        elif all(isinstance(value, int) for value in values):
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        return np.array(values, np.float64)
    texts = [str(getattr(value, "__name__", value)) for value in values]
    names = sorted(set(texts))
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    return np.array([names.index(text) for text in texts], np.float64)
