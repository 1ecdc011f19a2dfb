"""What tests read off pictures."""

import numpy as np
from PIL import Image, ImageColor

from stepax.plot.style import BLUE, GREEN, ORANGE, VERMILION

__all__ = ["BLUE", "GREEN", "ORANGE", "VERMILION", "count", "middle"]


def where(image: Image.Image, color: str) -> np.ndarray:
    """The pixels of a colour, ``[n, 2]``, as (column, row)."""
    near = np.abs(np.asarray(image, int) - np.array(ImageColor.getrgb(color))).max(-1) < 12
    return np.argwhere(near)[:, ::-1]


def count(image: Image.Image, color: str) -> int:
    """How many pixels have a colour."""
    return len(where(image, color))


def middle(image: Image.Image, color: str) -> np.ndarray:
    """Where the pixels of a colour are in the mean, (column, row)."""
    return where(image, color).mean(0)
