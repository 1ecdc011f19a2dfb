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


@styled
def representation(
    layers: Mapping[str, Any],
    accuracy: Mapping[str, float],
    *,
    classes: Sequence[str] | None = None,
    chance: float | None = None,
    title: str = "From input to answer",
) -> Figure:
    """What each layer makes of one example, above how well a linear probe on that layer tells the classes apart.

    Args:
        layers: By name, in the order of execution: first the input, then each layer's activations for one example. An
            image ``[height, width, 1 or 3]`` is shown as it is, further maps ``[height, width, channels]`` as tiles, a
            vector as a grid of its values; the last entry, the scores of the classes, as bars.
        accuracy: For each of these names, the test accuracy of its probe in [0, 1], as :func:`probe_accuracy` measures
            it; the first is the baseline that the network has to beat.
        classes: The names of the scores in the last layer.
        chance: The accuracy of guessing, drawn as a line.
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
        else:
            _activations(axes, values, is_input=column == 0)
            axes.set_anchor("N")  # titles on one line, whatever the shapes
        axes.set_title(f"{name}\n{'×'.join(map(str, values.shape))}", fontsize=10)
    _probes(figure.add_subplot(grid[1, :]), accuracy, chance)
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
    highest = int(scores.argmax())
    colors = [VERMILION if i == highest else BLUE for i in range(len(scores))]
    axes.barh(np.arange(len(scores)), scores, color=colors)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.invert_yaxis()
    names = [str(name)[:12] for name in (classes if classes is not None else range(len(scores)))]
    if len(names) == len(scores) <= 20:
        axes.set_yticks(np.arange(len(scores)), names, fontsize=8)
    else:
        axes.set_yticks([])
    axes.set_xlabel("score", fontsize=9)


def _probes(axes: Axes, accuracy: Mapping[str, float], chance: float | None) -> None:
    """The probes' accuracy, a point under each column."""
    values = 100 * np.array(list(accuracy.values()))
    places = np.arange(len(values))
    axes.plot(places, values, color=BLUE, marker="o", markersize=7, label="linear probe on this layer")
    axes.axhline(values[0], color=GREY, linestyle="--", linewidth=1.2, label=f"on the {next(iter(accuracy))} alone")
    if chance is not None and 100 * chance > values.min() - 15:
        axes.axhline(100 * chance, color=VERMILION, linestyle=":", linewidth=1.2, label="guessing")
    for place, value in zip(places, values, strict=True):
        axes.annotate(f"{value:.1f}", (place, value), xytext=(0, 8), textcoords="offset points", ha="center")
    low, high = values.min(), values.max()
    margin = max(0.35 * (high - low), 1.0)
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.set_xticks(places, list(accuracy))
    axes.set(xlabel="layer, in the order of execution", ylabel="test accuracy (%)")
    axes.grid(visible=True, axis="y")
    axes.legend(loc="best")
