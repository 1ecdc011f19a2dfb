"""The representation figure: what each layer makes of one example, and what can be read from it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stepax.plot.style import BLUE, GREY, VERMILION, show_image, styled, tiled

__all__ = ["representation"]

# Maps of a convolution that are shown, and their number in a row.
MAPS, COLUMNS = 16, 4
# The most values of a vector that are shown as bars.
BARS = 32


@styled
def representation(
    layers: Mapping[str, Any],
    accuracy: Mapping[str, float],
    *,
    classes: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    chance: float | None = None,
    rows: tuple[int, int] | None = None,
    title: str = "From input to answer",
) -> Figure:
    """What each layer makes of one example, above how well a linear probe on that layer tells the classes apart.

    Args:
        layers: By name, in the order of execution: first the input, then each layer's activations for one example. An
            image ``[height, width, 1 or 3]`` is shown as it is, further maps ``[height, width, channels]`` as tiles, a
            vector as a grid of its values, and one of at most 32 as bars; the last entry, the scores of the classes,
            as bars, of which the highest is marked. A single score speaks for the first class below 0, and for the
            second above.
        accuracy: For each of these names, the test accuracy of its probe in [0, 1], as :func:`probe_accuracy` measures
            it; the first is the baseline that the network has to beat.
        classes: The names of the classes.
        columns: The names of the values in an input that is a vector.
        chance: The accuracy of guessing, drawn as a line.
        rows: On how many examples the probes were fitted, and on how many tested, to be told in the legend.
        title: The figure's title.

    Returns:
        The figure: one column per layer.

    Raises:
        ValueError: The two mappings do not hold the same names in the same order, or fewer than two.
    """
    if list(layers) != list(accuracy) or len(layers) < 2:
        raise ValueError(f"layers, accuracy: expected the same layers, got {list(layers)} and {list(accuracy)}")
    figure = Figure(figsize=(max(2.1 * len(layers) + 0.6, 6.5), 5.9), layout="constrained")
    grid = figure.add_gridspec(2, len(layers), height_ratios=[1, 1.15])
    for column, (name, values) in enumerate(layers.items()):
        axes = figure.add_subplot(grid[0, column])
        values = np.asarray(values)
        if column == len(layers) - 1:
            _scores(axes, values.ravel(), classes)
        elif values.ndim == 1 and len(values) <= BARS:
            _bars(axes, values, columns if column == 0 else None)
        else:
            _activations(axes, values, is_input=column == 0)
            axes.set_anchor("N")  # titles on one line, whatever the shapes
        axes.set_title(f"{name}\n{'×'.join(map(str, values.shape))}", fontsize=10)
    told = f", fitted on {rows[0]:,} rows, tested on {rows[1]:,}" if rows else ""
    _probes(figure.add_subplot(grid[1, :]), accuracy, chance, f"linear probe on this layer{told}")
    figure.suptitle(title)
    return figure


def _activations(axes: Axes, values: np.ndarray, *, is_input: bool) -> None:
    """An image, tiles of maps, or a vector folded into a grid, from dark (its smallest value) to bright."""
    if values.ndim == 3 and is_input and values.shape[-1] in (1, 3):
        return show_image(axes, values)
    if values.ndim == 3:
        return show_image(axes, np.ma.masked_invalid(tiled(np.moveaxis(values[..., :MAPS], -1, 0), COLUMNS)))
    vector = values.ravel().astype(np.float64)
    width = int(np.ceil(np.sqrt(len(vector))))
    folded = np.full(width * -(-len(vector) // width), np.nan)
    folded[: len(vector)] = vector
    return show_image(axes, np.ma.masked_invalid(folded.reshape(-1, width)))


def _scores(axes: Axes, scores: np.ndarray, classes: Sequence[str] | None) -> None:
    """The scores of the classes as bars, the highest in another colour."""
    if len(scores) > 1:
        _bars(axes, scores, classes, marked=int(scores.argmax()))
        axes.set_xlabel("score", fontsize=9)
        return
    _bars(axes, scores, None, marked=0)
    largest = 1.2 * float(abs(scores[0])) or 1.0
    axes.set(xlim=(-largest, largest), ylim=(2, -2))
    low, high = (_short(name) for name in classes) if classes is not None and len(classes) == 2 else ("0", "1")
    axes.set_xlabel(f"← {low}   score   {high} →", fontsize=9)


def _short(name: object) -> str:
    text = str(name)
    return text if len(text) <= 18 else f"{text[:17]}…"


def _bars(axes: Axes, values: np.ndarray, names: Sequence[str] | None, marked: int | None = None) -> None:
    """A vector as bars from top to bottom."""
    places = np.arange(len(values))
    axes.barh(places, values, color=[VERMILION if i == marked else BLUE for i in places])
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.invert_yaxis()
    if names is not None and len(names) == len(values) <= BARS:
        axes.set_yticks(places, [_short(name) for name in names], fontsize=8 if len(names) <= 16 else 6)
    else:
        axes.set_yticks([])


def _probes(axes: Axes, accuracy: Mapping[str, float], chance: float | None, label: str) -> None:
    """The probes' accuracy, a point under each column."""
    values = 100 * np.array(list(accuracy.values()))
    places = np.arange(len(values))
    axes.plot(places, values, color=BLUE, marker="o", markersize=7, label=label)
    axes.axhline(values[0], color=GREY, linestyle="--", linewidth=1.2, label=f"on the {next(iter(accuracy))} alone")
    if chance is not None and 100 * chance > values.min() - 15:
        axes.axhline(100 * chance, color=VERMILION, linestyle=":", linewidth=1.2, label="guessing")
    for place, value in zip(places, values, strict=True):
        axes.annotate(f"{value:.1f}", (place, value), xytext=(0, 8), textcoords="offset points", ha="center")
    _limit(axes, float(values.min()), float(values.max()))
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.set_xticks(places, list(accuracy))
    axes.set(xlabel="layer, in the order of execution", ylabel="test accuracy (%)")
    axes.grid(visible=True, axis="y")
    axes.legend(loc="best")


def _limit(axes: Axes, low: float, high: float) -> None:
    """An axis that does not magnify differences of a few examples, with room for labels and no mark beyond 100 %."""
    span = max(1.7 * (high - low), 6.0)
    bottom = min(low - 0.15 * span, 100 - span)
    top = max(high + 0.2 * span, bottom + span)
    axes.set_ylim(bottom, top)
    axes.set_yticks([tick for tick in axes.get_yticks() if max(bottom, 0) <= tick <= min(top, 100)])
    axes.set_ylim(bottom, top)
