"""An episode as pictures that move, and as a strip of them."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from stepax.plot.style import styled

__all__ = ["episode_frames", "episode_strip", "save_animation"]

# ``(observation, action, caption) -> picture``.
Draw = Callable[[Any, Any, str], Image.Image]


def episode_frames(
    draw: Draw, episode: Mapping[str, Any], *, actions: Sequence[str] = (), most: int = 200
) -> list[Image.Image]:
    """A picture of every step of an episode, and one of where it has led.

    Args:
        draw: Draws one, such as :func:`stepax.plot.bodies.cart_pole`.
        episode: ``observation``, ``action``, ``reward`` and ``next_observation`` of its steps, ``[steps, …]`` each.
        actions: What single actions are called.
        most: Of a longer episode so many pictures, spread evenly over it.

    Returns:
        The pictures, with the number of the step, the action, and the sum of rewards so far.

    Raises:
        ValueError: There are no steps.
    """
    rewards = np.asarray(episode["reward"], float)
    count = len(rewards)
    if not count:
        raise ValueError("episode: expected at least one step, got none")
    before = np.concatenate([[0.0], np.cumsum(rewards)])
    frames = []
    for step in np.unique(np.linspace(0, count, min(count + 1, most)).round().astype(int)):
        last = step == count
        action = None if last else np.asarray(episode["action"])[step]
        seen = episode["next_observation"][-1] if last else episode["observation"][step]
        frames.append(draw(seen, action, _caption(int(step), action, float(before[step]), actions, last=bool(last))))
    return frames


def _caption(step: int, action: Any, total: float, actions: Sequence[str], *, last: bool) -> str:
    given = f"return {total:.4g}".replace("-", "−")
    if last:
        return f"after {step} steps   {given}"
    if actions:
        return f"step {step}   {actions[int(action)]}   {given}"
    number = f"{float(np.asarray(action).reshape(-1)[0]):.2f}".replace("-", "−")
    return f"step {step}   action {number}   {given}"


@styled
def episode_strip(frames: Sequence[Image.Image], *, panels: int = 8, title: str = "One episode") -> Figure:
    """Some pictures of an episode side by side, from the first to the last.

    Args:
        frames: The pictures.
        panels: How many at most.
        title: The figure's title.

    Returns:
        The figure.
    """
    places = np.unique(np.linspace(0, len(frames) - 1, panels).round().astype(int))
    columns = min(4, len(places))
    rows = -(-len(places) // columns)
    width, height = frames[0].size
    figure = Figure(figsize=(3.2 * columns, 0.5 + 3.2 * rows * height / width), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in axes:
        panel.set_axis_off()
    for panel, place in zip(axes, places, strict=False):
        panel.imshow(np.asarray(frames[place]), interpolation="antialiased")
    figure.suptitle(title)
    return figure


def save_animation(frames: Sequence[Image.Image], path: str | os.PathLike[str], *, rate: float = 25) -> pathlib.Path:
    """Writes pictures as a GIF that goes round, with a pause at the end.

    Args:
        frames: The pictures, of one size.
        path: Where to. Missing folders are made.
        rate: Pictures a second.

    Returns:
        The path.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # One palette for all: else every picture is mapped to colours of its own, which flicker and take time.
    palette = frames[len(frames) // 2].quantize(128)
    few = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    pace = round(1000 / rate)
    times = [pace] * (len(few) - 1) + [1500]
    few[0].save(path, save_all=True, append_images=few[1:], duration=times, loop=0, disposal=1, optimize=False)
    return path
