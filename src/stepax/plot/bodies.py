"""Pictures of poles, links, cars and pendulums, drawn from what is observed of them."""

import math
from typing import Any

import numpy as np
from PIL import Image

from stepax.plot.canvas import INK, PALE, Canvas
from stepax.plot.style import BLUE, GREEN, GREY, ORANGE, VERMILION

__all__ = ["acrobot", "cart_pole", "mountain_car", "pendulum"]

WIDTH, HEIGHT = 400, 280
POLE = 1.0
"""The length of CartPole's pole, in metres."""


def cart_pole(observation: Any, action: Any = None, caption: str = "") -> Image.Image:
    """A pole on a cart, which fails where it passes the marks.

    Args:
        observation: Position in metres, velocity, angle in radians from upright, spin.
        action: 0 pushes to the left and 1 to the right, drawn as an arrow; ``None``: none.
        caption: Text in the upper corner.

    Returns:
        The picture, 400 × 200 pixels.
    """
    x, _, angle, _ = map(float, np.asarray(observation).reshape(-1))
    canvas = Canvas(WIDTH, 200, (0, 0.85), 70)
    canvas.line([(-2.7, 0), (2.7, 0)], GREY, 2)
    for mark in (-2.4, 2.4):
        canvas.line([(mark, -0.12), (mark, 0.12)], VERMILION, 3)
    for side in (-0.15, 0.15):
        canvas.disk((x + side, 0.06), 0.06, INK)
    canvas.box((x - 0.28, 0.09), (x + 0.28, 0.33), BLUE)
    axle, tip = (x, 0.33), (x + POLE * math.sin(angle), 0.33 + POLE * math.cos(angle))
    canvas.line([axle, tip], ORANGE, 8)
    canvas.disk(axle, 0.05, INK)
    if action is not None:
        side = 1 if int(action) == 1 else -1
        canvas.arrow((x + side * 0.32, 0.21), (x + side * 0.75, 0.21), VERMILION, 3, 10)
    canvas.caption(caption)
    return canvas.image()


def acrobot(observation: Any, action: Any = None, caption: str = "") -> Image.Image:
    """Two links, whose end is to come above the line.

    Args:
        observation: Cosine and sine of the first angle, from hanging, and of the second, to the first link; the spins.
        action: 0, 1 or 2: the torque −1, 0 or 1 at the joint between the links, drawn as an arrow.
        caption: Text in the upper corner.

    Returns:
        The picture, 400 × 280 pixels.
    """
    first_cosine, first_sine, second_cosine, second_sine = map(float, np.asarray(observation).reshape(-1)[:4])
    first, second = math.atan2(first_sine, first_cosine), math.atan2(second_sine, second_cosine)
    canvas = Canvas(WIDTH, HEIGHT, (0, 0.1), 58)
    canvas.line([(-2.6, 1), (2.6, 1)], GREEN, 2)
    canvas.text((2.6, 1.14), "goal", GREEN, 11, "rm")
    joint = np.array([math.sin(first), -math.cos(first)])
    tip = joint + np.array([math.sin(first + second), -math.cos(first + second)])
    canvas.line([(0, 0), joint], BLUE, 10)
    canvas.line([joint, tip], ORANGE, 10)
    for place in ((0, 0), joint):
        canvas.disk(place, 0.09, INK)
    canvas.disk(tip, 0.07, VERMILION)
    if action is not None and int(action) != 1:
        _turn(canvas, joint, 0.32, 1 if int(action) == 2 else -1)
    canvas.caption(caption)
    return canvas.image()


def mountain_car(observation: Any, action: Any = None, caption: str = "") -> Image.Image:
    """A car in a valley, with the goal at its right.

    Args:
        observation: Position, from −1.2 to .6, and velocity.
        action: 0, 1 or 2 pushes to the left, not at all, to the right; a number of a floating dtype as strongly as it
            says, from −1 to 1. Drawn as an arrow.
        caption: Text in the upper corner.

    Returns:
        The picture, 400 × 280 pixels.
    """
    x = float(np.asarray(observation).reshape(-1)[0])
    canvas = Canvas(WIDTH, HEIGHT, (-0.3, 0.62), 205)
    along = np.linspace(-1.35, 0.75, 120)
    canvas.polygon([*zip(along, _hill(along), strict=True), (0.75, -0.3), (-1.35, -0.3)], PALE)
    canvas.line(list(zip(along, _hill(along), strict=True)), GREY, 2)
    canvas.line([(0.5, _hill(0.5)), (0.5, _hill(0.5) + 0.2)], INK, 2)
    canvas.polygon([(0.5, _hill(0.5) + 0.2), (0.5, _hill(0.5) + 0.12), (0.59, _hill(0.5) + 0.16)], GREEN)
    slope = math.atan(0.45 * 3 * math.cos(3 * x))
    tangent = np.array([math.cos(slope), math.sin(slope)])
    normal = np.array([-tangent[1], tangent[0]])
    ground = np.array([x, _hill(x)])
    body = [ground + a * tangent + b * normal for a, b in ((-0.07, 0.03), (0.07, 0.03), (0.05, 0.1), (-0.05, 0.1))]
    canvas.polygon(body, BLUE)
    for side in (-0.04, 0.04):
        canvas.disk(ground + side * tangent + 0.025 * normal, 0.025, INK)
    push = _push(action)
    if abs(push) > 0.02:
        start = ground + 0.065 * normal + math.copysign(0.08, push) * tangent
        canvas.arrow(start, start + (math.copysign(0.06, push) + 0.1 * push) * tangent, VERMILION, 3, 9)
    canvas.caption(caption)
    return canvas.image()


def pendulum(observation: Any, action: Any = None, caption: str = "") -> Image.Image:
    """A pendulum, to be held upright.

    Args:
        observation: Cosine and sine of the angle from upright, and the spin.
        action: The torque, from −2 to 2, drawn as an arrow around the joint.
        caption: Text in the upper corner.

    Returns:
        The picture, 400 × 280 pixels.
    """
    cosine, sine = map(float, np.asarray(observation).reshape(-1)[:2])
    canvas = Canvas(WIDTH, HEIGHT, (0, -0.05), 100)
    canvas.line([(0, 0.9), (0, 1.02)], GREEN, 3)
    # Angles count against the clock, as Gymnasium has them.
    tip = (-sine, cosine)
    canvas.line([(0, 0), tip], BLUE, 14)
    canvas.disk((0, 0), 0.06, INK)
    torque = 0.0 if action is None else float(np.clip(np.asarray(action).reshape(-1)[0], -2, 2))
    if abs(torque) > 0.05:
        _turn(canvas, (0, 0), 0.3, math.copysign(1, torque), 0.4 + 0.6 * abs(torque) / 2)
    canvas.caption(caption)
    return canvas.image()


def _hill(x: Any) -> Any:
    return np.sin(3 * np.asarray(x)) * 0.45 + 0.55


def _push(action: Any) -> float:
    """From −1 to 1."""
    if action is None:
        return 0.0
    given = np.asarray(action)
    number = float(given.reshape(-1)[0])
    return number - 1 if np.issubdtype(given.dtype, np.integer) else float(np.clip(number, -1, 1))


def _turn(canvas: Canvas, center: Any, radius: float, sense: float, share: float = 1.0) -> None:
    """An arc of an arrow around a point: against the clock where ``sense`` is positive."""
    angles = math.pi / 2 + sense * np.linspace(-1.3, 1.3, 24) * share
    points = np.asarray(center, float) + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    canvas.line(points[:-2], VERMILION, 3)
    canvas.arrow(points[-3], points[-1] + (points[-1] - points[-3]), VERMILION, 3, 10)
