"""Pictures of places that are squares: a lake, a cliff, streets with a taxi, a falling ball, a dive."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from stepax.plot.canvas import INK, PALE, SAND, WATER, Canvas
from stepax.plot.style import BLUE, GREEN, GREY, ORANGE, VERMILION

__all__ = ["catch", "cliff_walking", "deep_sea", "frozen_lake", "taxi"]

HEAD = 30
"""Pixels above the squares, for a caption."""

ACROSS = 400
"""About how wide a picture is, in pixels."""

Arrows = Sequence[tuple[float, float]]
"""Where actions point to, (right, up)."""

LEFT, DOWN, RIGHT, UP = (-1, 0), (0, -1), (1, 0), (0, 1)


def frozen_lake(
    observation: Any, action: Any = None, caption: str = "", *, rows: Sequence[str] = ("SFFF", "FHFH", "FFFH", "HFFG")
) -> Image.Image:
    """Someone on the ice, with holes and a goal.

    Args:
        observation: The place, counted row by row.
        action: 0 to 3: left, down, right, up; drawn as an arrow.
        caption: Text above.
        rows: The map, of ``S``, ``F``, ``H`` and ``G``.

    Returns:
        The picture.
    """
    canvas = _squares(len(rows), len(rows[0]), lambda row, column: "#E8F4FA")
    for row, letters in enumerate(rows):
        for column, letter in enumerate(letters):
            if letter == "H":
                canvas.disk(_middle(row, column), 0.36, "#1F4E6B")
            elif letter in "SG":
                _name(canvas, row, column, {"S": "start", "G": "goal"}[letter], GREEN if letter == "G" else GREY)
    _walker(canvas, divmod(int(np.asarray(observation)), len(rows[0])), action, (LEFT, DOWN, RIGHT, UP))
    return _done(canvas, len(rows), caption)


def cliff_walking(observation: Any, action: Any = None, caption: str = "") -> Image.Image:
    """Someone along a cliff, which is below.

    Args:
        observation: The place of ``4 × 12``, counted row by row.
        action: 0 to 3: up, right, down, left; drawn as an arrow.
        caption: Text above.

    Returns:
        The picture.
    """
    canvas = _squares(4, 12, lambda row, column: "#1F4E6B" if row == 3 and 0 < column < 11 else SAND)
    _name(canvas, 3, 0, "start", GREY)
    _name(canvas, 3, 11, "goal", GREEN)
    _walker(canvas, divmod(int(np.asarray(observation)), 12), action, (UP, RIGHT, DOWN, LEFT))
    return _done(canvas, 4, caption)


STOPS = (("R", 0, 0, VERMILION), ("G", 0, 4, GREEN), ("Y", 4, 0, ORANGE), ("B", 4, 3, BLUE))
# Walls to the east of squares: (row, column).
WALLS = ((0, 1), (1, 1), (3, 0), (3, 2), (4, 0), (4, 2))


def taxi(observation: Any, action: Any = None, caption: str = "") -> Image.Image:
    """A taxi in streets with walls; a passenger, who waits or is in it; and where the passenger wants to go, framed.

    Args:
        observation: ``((row · 5 + column) · 5 + passenger) · 4 + destination``.
        action: 0 to 3: south, north, east, west, drawn as an arrow; 4 picks up and 5 drops off, written.
        caption: Text above.

    Returns:
        The picture.
    """
    row, column, passenger, destination = map(int, np.unravel_index(int(np.asarray(observation)), (5, 5, 5, 4)))
    canvas = _squares(5, 5, lambda row, column: "#F4F4F4")
    for number, (letter, at, across, color) in enumerate(STOPS):
        x, y = _middle(at, across)
        canvas.box((x - 0.5, y - 0.5), (x + 0.5, y + 0.5), "#F4F4F4", color, 6 if number == destination else 1.5)
        canvas.text((x - 0.36, y + 0.34), letter, color, 13)
    for at, across in WALLS:
        x, y = _middle(at, across)
        canvas.line([(x + 0.5, y - 0.5), (x + 0.5, y + 0.5)], INK, 5)
    x, y = _middle(row, column)
    canvas.box((x - 0.3, y - 0.2), (x + 0.3, y + 0.14), ORANGE, INK, 1.5)
    for side in (-0.17, 0.17):
        canvas.disk((x + side, y - 0.2), 0.08, INK)
    if passenger < len(STOPS):
        waits = _middle(*STOPS[passenger][1:3])
        canvas.disk((waits[0] + 0.28, waits[1] + 0.22), 0.13, VERMILION, INK, 1)
    else:
        canvas.disk((x, y + 0.02), 0.13, VERMILION, INK, 1)
    if action is not None and int(action) < 4:
        _arrow(canvas, (row, column), (DOWN, UP, RIGHT, LEFT)[int(action)])
    elif action is not None:
        canvas.text((x, y - 0.38), ("pick up", "drop off")[int(action) - 4], VERMILION, 11)
    return _done(canvas, 5, caption)


def catch(observation: Any, action: Any = None, caption: str = "") -> Image.Image:
    """A ball that falls and a paddle below.

    Args:
        observation: The board ``[rows, columns]``, 1 at the ball and the paddle.
        action: 0, 1 or 2: the paddle goes to the left, stays, goes to the right; drawn as an arrow.
        caption: Text above.

    Returns:
        The picture.
    """
    board = np.asarray(observation) > 0.5
    rows, columns = board.shape
    canvas = _squares(rows, columns, lambda row, column: WATER, width=200)
    last = np.flatnonzero(board[-1])
    falling = np.argwhere(board[:-1])
    paddle = int(last[0]) if len(last) else 0
    x, y = _middle(rows - 1, paddle)
    canvas.box((x - 0.45, y - 0.3), (x + 0.45, y - 0.05), BLUE)
    # In the last row a ball that was caught is where the paddle is, and one that was not beside it; which of two is the
    # ball a board does not say.
    for place in falling if len(falling) else [(rows - 1, column) for column in last]:
        at = _middle(*place)
        canvas.disk((at[0], at[1] + (0 if len(falling) else 0.2)), 0.22, VERMILION)
    if len(last) > 1:
        x, y = _middle(rows - 1, int(last[1]))
        canvas.box((x - 0.45, y - 0.3), (x + 0.45, y - 0.05), BLUE)
    if action is not None and int(action) != 1:
        _arrow(canvas, (rows - 1, paddle), (LEFT, LEFT, RIGHT)[int(action)])
    return _done(canvas, rows, caption)


def deep_sea(observation: Any, action: Any = None, caption: str = "") -> Image.Image:
    """A diver, and a treasure in the lower right corner.

    Args:
        observation: ``[depth, depth]``, 1 at the diver; without one after the last row.
        action: Is not drawn: where it leads to is another matter in every place.
        caption: Text above.

    Returns:
        The picture.
    """
    board = np.asarray(observation) > 0.5
    depth = len(board)

    def water(row: int, column: int) -> str:
        if column > row:  # nobody comes here
            return "#F2F2F2"
        light = 1 - row / max(1, depth)
        return f"#{int(60 + 140 * light):02x}{int(120 + 105 * light):02x}{int(165 + 75 * light):02x}"

    canvas = _squares(depth, depth, water, lines=depth <= 15)
    x, y = _middle(depth - 1, depth - 1)
    canvas.box((x - 0.32, y - 0.28), (x + 0.32, y + 0.2), ORANGE, INK, 1)
    for place in np.argwhere(board):
        canvas.disk(_middle(*place), 0.34, VERMILION, INK, 1)
    return _done(canvas, depth, caption)


def _squares(rows: int, columns: int, color: Any, *, width: int = ACROSS, lines: bool = True) -> Canvas:
    """A board: the square in row r and column c has its middle at (c, −r)."""
    side = max(8, min(width // columns, 340 // rows))
    middle = ((columns - 1) / 2, -(rows - 1) / 2 + HEAD / side / 2)
    canvas = Canvas(max(columns * side, 240) + 4, rows * side + HEAD + 4, middle, side)
    for row in range(rows):
        for column in range(columns):
            x, y = _middle(row, column)
            line = PALE if lines else None
            canvas.box((x - 0.5, y - 0.5), (x + 0.5, y + 0.5), color(row, column), line, 1)
    return canvas


def _middle(row: Any, column: Any) -> tuple[float, float]:
    return float(column), -float(row)


def _name(canvas: Canvas, row: int, column: int, text: str, color: str) -> None:
    x, y = _middle(row, column)
    canvas.text((x, y - 0.37), text, color, 9)


def _walker(canvas: Canvas, place: tuple[int, int], action: Any, arrows: Arrows) -> None:
    x, y = _middle(*place)
    canvas.disk((x, y + 0.03), 0.25, VERMILION, INK, 1)
    if action is not None:
        _arrow(canvas, place, arrows[int(action)])


def _arrow(canvas: Canvas, place: tuple[int, int], to: tuple[float, float]) -> None:
    x, y = _middle(*place)
    canvas.arrow((x + 0.3 * to[0], y + 0.3 * to[1]), (x + 0.7 * to[0], y + 0.7 * to[1]), INK, 3, 9)


def _done(canvas: Canvas, rows: int, caption: str) -> Image.Image:
    canvas.caption(caption)
    return canvas.image()
