"""A picture to draw on in units of what is drawn, such as metres, with smooth edges."""

import pathlib
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["INK", "PALE", "SAND", "WATER", "Canvas"]

INK, PALE, WATER, SAND = "#2B2B2B", "#D9D9D9", "#C9E3F2", "#EFE6D2"

FINER = 3
"""How much finer it is drawn than it is shown, which makes edges smooth."""

Point = Sequence[float] | np.ndarray


class Canvas:
    """A picture of ``width × height`` pixels that shows the part of a plane around a point; y points up.

    Args:
        width: In pixels.
        height: In pixels.
        center: The point in the middle.
        scale: Pixels for a unit.
    """

    def __init__(self, width: int, height: int, center: Point = (0.0, 0.0), scale: float = 1.0) -> None:
        self.size = (width, height)
        self._center, self._scale = np.asarray(center, float), scale * FINER
        self._image = Image.new("RGB", (width * FINER, height * FINER), "white")
        self._draw = ImageDraw.Draw(self._image)

    def polygon(self, points: Iterable[Point], fill: str, outline: str | None = None, width: float = 1) -> None:
        """An area; ``width``, that of its outline, is in pixels, and so it is below."""
        at = self._at(points)
        self._draw.polygon(at, fill=fill)
        if outline:
            self._line([*at, at[0], at[1]], outline, width)

    def box(self, low: Point, high: Point, fill: str, outline: str | None = None, width: float = 1) -> None:
        """A rectangle between two corners."""
        (x0, y0), (x1, y1) = low, high
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill, outline, width)

    def line(self, points: Iterable[Point], color: str, width: float = 1) -> None:
        """A line through points, with round ends."""
        at = self._at(points)
        self._line(at, color, width)
        for x, y in (at[0], at[-1]):
            half = width * FINER / 2
            self._draw.ellipse([x - half, y - half, x + half, y + half], fill=color)

    def disk(self, center: Point, radius: float, fill: str, outline: str | None = None, width: float = 1) -> None:
        """A disk, its radius in units."""
        ((x, y),) = self._at([center])
        half = radius * self._scale
        edge = max(1, round(width * FINER)) if outline else 0
        self._draw.ellipse([x - half, y - half, x + half, y + half], fill=fill, outline=outline, width=edge)

    def arrow(self, start: Point, end: Point, color: str, width: float = 2, head: float = 7) -> None:
        """A line with a head of so many pixels at its end."""
        first, last = np.array(self._at([start])[0]), np.array(self._at([end])[0])
        length = float(np.hypot(*(last - first)))
        if length < 1:
            return
        along = (last - first) / length
        aside = np.array([-along[1], along[0]])
        size = min(head * FINER, length)
        neck = last - size * along
        self._line([tuple(first), tuple(neck + along)], color, width)
        corners = [tuple(last), tuple(neck + size * 0.55 * aside), tuple(neck - size * 0.55 * aside)]
        self._draw.polygon(corners, fill=color)

    def text(self, at: Point, text: str, color: str = INK, size: int = 12, anchor: str = "mm") -> None:
        """Text at a point; ``anchor`` as Pillow has it, ``mm`` for its middle."""
        ((x, y),) = self._at([at])
        self._draw.text((x, y), text, fill=color, font=_font(size * FINER), anchor=anchor)

    def caption(self, text: str, size: int = 12) -> None:
        """Text in the upper left corner."""
        self._draw.text((8 * FINER, 6 * FINER), text, fill=INK, font=_font(size * FINER), anchor="la")

    def image(self) -> Image.Image:
        """The picture."""
        return self._image.resize(self.size, Image.Resampling.LANCZOS)

    def _at(self, points: Iterable[Point]) -> list[tuple[float, float]]:
        """Where points lie in the fine picture."""
        size = np.array(self._image.size) / 2
        moved = (np.asarray(list(points), float) - self._center) * self._scale * np.array([1, -1]) + size
        return [(float(x), float(y)) for x, y in moved]

    def _line(self, at: Sequence[Any], color: str, width: float) -> None:
        self._draw.line(at, fill=color, width=max(1, round(width * FINER)), joint="curve")


@cache
def _font(size: int) -> Any:
    # Matplotlib's, which has a minus sign, wherever it is installed.
    return ImageFont.truetype(pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
