"""Learning curves: how loss and metrics changed from epoch to epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stepax.plot.style import BLUE, GREY, ORANGE, show_thousands, styled

__all__ = ["learning_curves"]

VALIDATION = "validation/"
# Columns of a history that are no measure of learning.
BOOKKEEPING = ("epoch", "step", "seconds", "learning_rate", "weight")


@styled
def learning_curves(
    history: Mapping[str, Sequence[Any]], *, best: int | None = None, units: Mapping[str, str] | None = None
) -> Figure:
    """Training and validation side by side, one panel for each measure.

    A measure of positive values that spans more than two powers of ten is drawn on a logarithmic axis. Of a population
    the mean is drawn, and around it a band of one standard deviation to either side, over the lanes that are finite.

    Args:
        history: As ``fit`` returns it: lists with one entry per epoch, a number or a list of one per lane, ``epoch``
            among them; validation measures are called ``validation/<name>``.
        best: The epoch (as counted in ``history["epoch"]``) whose parameters were kept by early stopping; it is
            marked.
        units: The unit of a measure, by its name.

    Returns:
        The figure.

    Raises:
        ValueError: There is no measure, or ``best`` is no epoch of the history.
    """
    names = list(dict.fromkeys(name.removeprefix(VALIDATION) for name in history))
    # The loss first: it is what was minimised, and every training has one.
    names = sorted((name for name in names if name not in BOOKKEEPING), key=lambda name: name != "loss")
    if not names or not len(history.get("epoch", ())):
        raise ValueError(f"history: expected epochs and at least one measure, got {sorted(history)}")
    if best is not None and best not in history["epoch"]:
        raise ValueError(f"best: {best} is not among the epochs of the history")
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(0.4 + 4.3 * columns, 0.3 + 3.3 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        _panel(axes, history, name, best, (units or {}).get(name, ""))
    for axes in panels[len(names) :]:
        axes.remove()
    return figure


def _panel(axes: Axes, history: Mapping[str, Sequence[Any]], name: str, best: int | None, unit: str) -> None:
    """One measure over the epochs."""
    epochs = history["epoch"]
    series = {"training": (name, BLUE, "-"), "validation": (f"{VALIDATION}{name}", ORANGE, "--")}
    drawn = []
    for label, (key, color, line) in series.items():
        if key in history:
            middle, low, high = _over_lanes(history[key])
            if low is not high:
                axes.fill_between(epochs, low, high, color=color, alpha=0.2, linewidth=0)
                label = f"{label}: mean ± sd of {np.asarray(history[key])[0].size}"
            axes.plot(epochs, middle, line, color=color, label=label, marker="." if len(epochs) <= 40 else None)
            drawn += [*low, *middle, *high]
    if best is not None:
        axes.axvline(best, color=GREY, linestyle=":", label=f"best epoch: {best}")
    title = name.replace("_", " ")
    axes.set(title=title, xlabel="epoch", ylabel=f"{title} ({unit})" if unit else title)
    _epoch_axis(axes, int(epochs[0]), int(epochs[-1]))
    finite = np.array([value for value in drawn if np.isfinite(value)])
    if finite.size and finite.min() > 0 and finite.max() > 100 * finite.min():
        axes.set_yscale("log")
    elif finite.size and np.abs(finite).max() >= 1000:
        show_thousands(axes.yaxis)
    axes.grid(visible=True)
    axes.legend()


def _over_lanes(values: Sequence[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, and a standard deviation below and above; of a single model three times the same."""
    lanes = np.asarray(values, float)
    if lanes.ndim == 1:
        return lanes, lanes, lanes
    lanes = np.ma.masked_invalid(lanes.reshape(len(lanes), -1))
    mean, spread = lanes.mean(1).filled(np.nan), lanes.std(1).filled(np.nan)
    return mean, mean - spread, mean + spread


def _epoch_axis(axes: Axes, first: int, last: int) -> None:
    """Whole epochs from the first to the last, both with a tick, and room for their marks."""
    span = last - first
    room = 0.03 * span or 0.5
    axes.set_xlim(first - room, last + room)
    between = MaxNLocator(5, integer=True).tick_values(first, last)
    axes.set_xticks(sorted({first, last, *(int(t) for t in between if min(t - first, last - t) > 0.1 * span)}))
