"""What the first layer looks for: its weights as images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from stepax.plot.style import show_image, show_signed, styled

__all__ = ["filters"]


@styled
def filters(kernel: Any, *, titles: Sequence[str] | None = None, limit: int = 64, layer: str = "first layer") -> Figure:
    """The weights of a layer on images, one tile for each unit.

    Weights on one channel share one scale about 0, blue below and red above. Those on three channels are shown in
    colour, with grey for 0. Any other number of channels gives one row of tiles per unit, one tile per channel.

    Args:
        kernel: ``[height, width, channels, units]``.
        titles: A title for each unit.
        limit: The most tiles.
        layer: What the layer is called in the figure's title.

    Returns:
        The figure.

    Raises:
        ValueError: The kernel has other axes, or ``titles`` another length than the units.
    """
    kernel = np.asarray(kernel, np.float64)
    if kernel.ndim != 4:
        raise ValueError(f"kernel: expected the shape [height, width, channels, units], got {kernel.shape}")
    height, width, channels, units = kernel.shape
    if titles is not None and len(titles) != units:
        raise ValueError(f"titles: expected one for each of {units} units, got {len(titles)}")
    largest = float(np.abs(kernel).max()) or 1.0
    tiles, columns = _tiles(kernel, limit)
    figure, panels = _grid(len(tiles), columns, titled=titles is not None)
    for axes, tile in zip(panels, tiles, strict=False):
        if channels == 3:
            show_image(axes, 0.5 + tile / (2 * largest))
        else:
            show_signed(axes, tile, largest)
    for axes, title in zip(panels, titles or (), strict=False):
        axes.set_title(title, fontsize=9)
    if channels != 3:
        figure.colorbar(panels[0].images[0], ax=panels.tolist(), shrink=0.7, label="weight")
    each = f"{height}×{width}×{channels}"
    shown_units = min(units, len(tiles) if channels in (1, 3) else len(tiles) // columns)
    figure.suptitle(f"Weights of the {layer}: {shown_units} of {units} units, {each} each")
    return figure


def _tiles(kernel: np.ndarray, limit: int) -> tuple[np.ndarray, int]:
    """The tiles ``[n, height, width]`` or ``[n, height, width, 3]``, and how many stand in a row."""
    channels = kernel.shape[2]
    if channels in (1, 3):
        tiles = np.moveaxis(kernel, -1, 0)[:limit]
        rows = -(-len(tiles) // 8)
        return (tiles[..., 0] if channels == 1 else tiles), -(-len(tiles) // rows)
    columns = min(channels, 16)
    chosen = kernel[:, :, :columns, : max(1, limit // columns)]
    return chosen.transpose(3, 2, 0, 1).reshape(-1, *kernel.shape[:2]), columns


def _grid(number: int, columns: int, *, titled: bool) -> tuple[Figure, np.ndarray]:
    """A figure with a panel per tile, and the panels ``[rows * columns]``; what is beyond the tiles stays empty."""
    rows = -(-number // columns)
    size = (max(0.8 * columns + 1.2, 5.5), max((1.0 if titled else 0.8) * rows + 0.7, 2.0))
    figure = Figure(figsize=size, layout="constrained")
    panels: np.ndarray = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[number:]:
        axes.axis("off")
    return figure, panels
