"""What the convolutions make of one image."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from stepax.plot.style import show_image, styled, tiled

__all__ = ["feature_maps"]

# Tiles in a row.
COLUMNS = 16


@styled
def feature_maps(image: Any, maps: Mapping[str, Any], *, limit: int = 32, title: str = "Feature maps") -> Figure:
    """One image through every convolution: a band of maps for each layer.

    Every map has its own scale, from its smallest value (dark) to its largest (bright): what counts is where it
    answers. A map that is the same everywhere is dark.

    Args:
        image: ``[height, width, channels]``, in [0, 1].
        maps: The layers' activations for this image, ``[height, width, channels]`` each, in order; an entry with
            another number of axes is no map and is left out.
        limit: The most maps of a layer.
        title: The figure's title.

    Returns:
        The figure.

    Raises:
        ValueError: No entry is a map.
    """
    layers = {name: np.asarray(values) for name, values in maps.items() if np.ndim(values) == 3}
    if not layers:
        raise ValueError(f"maps: expected activations of shape [height, width, channels], got {sorted(maps)}")
    bands = [-(-min(values.shape[-1], limit) // COLUMNS) for values in layers.values()]
    figure = Figure(figsize=(10, max(2.3, 0.5 + 0.32 * len(bands) + 0.54 * sum(bands))), layout="constrained")
    left, right = np.ravel(np.array(figure.subfigures(1, 2, width_ratios=[1.6, 8.4])))
    axes = left.subplots()
    show_image(axes, image)
    axes.set_title(f"input\n{'×'.join(map(str, np.shape(image)))}")
    panels = right.subplots(len(layers), 1, squeeze=False, height_ratios=bands).ravel()
    for axes, (name, values) in zip(panels, layers.items(), strict=True):
        shown = values[..., :limit]
        canvas = tiled(_stretched(np.moveaxis(shown, -1, 0)), COLUMNS)
        axes.set_facecolor("white")
        show_image(axes, np.ma.masked_invalid(canvas), 0, 1)
        size = "×".join(map(str, values.shape[:2]))
        axes.set_title(f"{name}: {shown.shape[-1]} of {values.shape[-1]} maps, {size}", loc="left")
    figure.suptitle(title)
    return figure


def _stretched(images: np.ndarray) -> np.ndarray:
    """Each image of ``[n, height, width]`` brought to the interval from 0 to 1."""
    low = images.min(axis=(1, 2), keepdims=True)
    span = images.max(axis=(1, 2), keepdims=True) - low
    return (images - low) / np.where(span == 0, 1, span)
