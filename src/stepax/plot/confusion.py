"""The confusion matrix as a picture: which classes are taken for which."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from stepax.plot.style import styled

__all__ = ["confusion"]

# Beyond so many classes numbers in cells cannot be read.
ANNOTATED = 20


@styled
def confusion(matrix: Any, classes: Sequence[str]) -> Figure:
    """Counts, and their share of each true class as the colour and in per cent.

    Args:
        matrix: ``[classes, classes]``, rows true and columns predicted, as
            :func:`stepax.metrics.confusion_matrix` counts them.
        classes: Their names. Above 20 classes the cells carry no numbers.

    Returns:
        The figure; its title holds the accuracy.

    Raises:
        ValueError: The matrix does not fit the names.
    """
    matrix = np.asarray(matrix)
    if matrix.shape != (len(classes), len(classes)):
        raise ValueError(f"matrix: expected the shape {(len(classes),) * 2} of the classes, got {matrix.shape}")
    totals = matrix.sum(axis=1, keepdims=True)
    shares = matrix / np.where(totals == 0, 1, totals)
    size = float(np.clip(0.62 * len(classes), 3.2, 12))
    figure = Figure(figsize=(size + 1.9, size + 1.2), layout="constrained")
    axes = figure.subplots()
    # Errors are rare: on a linear scale they would look like none.
    image = axes.imshow(100 * shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=100))
    bar = figure.colorbar(image, ax=axes, shrink=0.8, ticks=[0, 1, 5, 10, 25, 50, 100])
    bar.set_label("share of the true class (%)")
    accuracy = np.trace(matrix) / max(matrix.sum(), 1)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(f"Confusion matrix: {100 * accuracy:.1f} % of {matrix.sum():,.0f} right")
    _label_ticks(axes, classes)
    if len(classes) <= ANNOTATED:
        _annotate(axes, matrix, shares)
    return figure


def _label_ticks(axes: Axes, classes: Sequence[str]) -> None:
    """Names at the axes: all where they fit, else every so many."""
    every = -(-len(classes) // 40)
    places = list(range(0, len(classes), every))
    names = [str(classes[i])[:24] for i in places]
    # Names that would run into each other stand aslant.
    tilted = max(map(len, names)) > 3 and len(names) > 3
    axes.set_xticks(places, names, rotation=45 if tilted else 0, ha="right" if tilted else "center")
    axes.set_yticks(places, names)
    if len(classes) > ANNOTATED:
        axes.tick_params(labelsize=7)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _annotate(axes: Axes, matrix: np.ndarray, shares: np.ndarray) -> None:
    """The count and the percentage in every cell that is not empty."""
    for row, column in np.argwhere(matrix).tolist():
        share, count = shares[row, column], matrix[row, column]
        text = f"{count:,.0f}" if float(count).is_integer() else f"{count:.1f}"
        color = "white" if share > 0.3 else "black"
        axes.text(column, row, f"{text}\n{100 * share:.0f} %", ha="center", va="center", color=color, fontsize=8)
