"""One look for every figure, and how a figure becomes a file."""

import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "VERMILION",
    "save",
    "show_image",
    "show_signed",
    "show_thousands",
    "styled",
    "tiled",
]

# Okabe and Ito's palette: told apart with every kind of colour blindness, and in grey by their lightness.
BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6E6E6E"

DPI = 150
STYLE: Any = {
    "axes.axisbelow": True,
    "axes.grid": False,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.dpi": DPI,
    "figure.titlesize": 13,
    "font.size": 10,
    "grid.alpha": 0.3,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draws in the house style, and leaves the caller's settings of Matplotlib as they are."""

    @functools.wraps(draw)
    def styled_draw(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled_draw


def save(figure: Figure, path: str | os.PathLike[str]) -> pathlib.Path:
    """Writes a figure as a file, at 150 dots per inch.

    Args:
        figure: The figure.
        path: Where to; its ending says the format, such as ``.png`` or ``.pdf``. Missing folders are made.

    Returns:
        The path.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)  # a figure that is not pyplot's may have been drawn with any canvas before
    figure.savefig(path, dpi=DPI)
    return path


def show_image(axes: Axes, image: Any, low: float | None = None, high: float | None = None) -> None:
    """Shows an image ``[height, width]`` or ``[height, width, channels]``, without ticks.

    Three channels are colours in [0, 1]; of any other number the mean is shown in grey, from ``low`` (black) to
    ``high`` (white); ``None`` takes the image's own smallest and largest value.
    """
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[-1] == 3:
        axes.imshow(np.clip(image, 0, 1), interpolation="nearest")
    else:
        plane = image if image.ndim == 2 else image.mean(axis=-1)
        axes.imshow(plane, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    _without_ticks(axes)


def show_signed(axes: Axes, image: Any, largest: float) -> Any:
    """Shows values ``[height, width]`` between ±``largest``: blue below 0, white at 0, red above; returns the image."""
    shown = axes.imshow(image, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")
    _without_ticks(axes)
    return shown


def _without_ticks(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def show_thousands(axis: Axis) -> None:
    """Writes the numbers at an axis as ``1,200,000``, and few of them, as such are long."""
    axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}".replace("-", "−")))


def tiled(images: Any, columns: int, fill: float = np.nan) -> np.ndarray:
    """Puts images side by side, row by row, with lines of one pixel between them.

    Args:
        images: ``[n, height, width]``.
        columns: How many stand in a row.
        fill: What is between and after them.

    Returns:
        One image, ``[rows * (height + 1) - 1, columns * (width + 1) - 1]``.
    """
    images = np.asarray(images, np.float64)
    number, height, width = images.shape
    rows = -(-number // columns)
    canvas = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), fill)
    for i, image in enumerate(images):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        canvas[top : top + height, left : left + width] = image
    return canvas
