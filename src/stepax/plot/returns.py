"""How the returns of an agent, and the lengths of its episodes, changed as it learnt."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stepax.plot.style import BLUE, ORANGE, show_thousands, styled

__all__ = ["return_curves"]

KINDS = {"as it learns": ("", BLUE, "-"), "with the actions thought best": ("validation/", ORANGE, "--")}


@styled
def return_curves(
    history: Mapping[str, Sequence[Any]], made: int, *, before: int = 0, unit: str = "steps", title: str = ""
) -> Figure:
    """Return and length of episodes over what the agent has done.

    Of a population the mean is drawn, and around it a band of one standard deviation to either side.

    Args:
        history: As ``fit`` returns it: ``step``, ``return`` and ``length``, one entry per epoch, a number or a list of
            one per lane; where episodes were played to measure, ``validation/return`` and ``validation/length``.
        made: How many steps of the environment, or episodes, a step of the learner makes.
        before: How many steps the learner makes first in which it does nothing, as ``rl.dqfd`` does.
        unit: What these are.
        title: The figure's title.

    Returns:
        The figure.

    Raises:
        ValueError: The history has none of these, or no entries.
    """
    if not len(history.get("step", ())) or not {"return", "length"} <= history.keys():
        raise ValueError(f"history: expected step, return and length of at least one epoch, got {sorted(history)}")
    figure = Figure(figsize=(9.2, 3.9), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(1, 2)
    along = made * np.maximum(0, np.asarray(history["step"]) - before)
    acted = along > 0
    for axes, name, what in zip(panels, ("return", "length"), ("return", "steps of an episode"), strict=True):
        for label, (prefix, color, line) in KINDS.items():
            if prefix + name in history:
                drawn = np.asarray(history[prefix + name], float)
                known = acted if not prefix else np.ones(len(along), bool)  # without a step there is no return
                _curve(axes, along[known], drawn[known], label, color, line)
        axes.set(xlabel="steps of the environment" if unit == "steps" else unit, ylabel=what, title=what)
        axes.set_xlim(0, along[-1] * 1.02)
        axes.grid(visible=True)
        axes.legend()
        show_thousands(axes.xaxis)
    if title:
        figure.suptitle(title)
    return figure


def _curve(axes: Axes, along: np.ndarray, lanes: np.ndarray, label: str, color: str, line: str) -> None:
    if lanes.ndim > 1:
        lanes = np.ma.masked_invalid(lanes.reshape(len(lanes), -1))
        mean, spread = lanes.mean(1).filled(np.nan), lanes.std(1).filled(np.nan)
        axes.fill_between(along, mean - spread, mean + spread, color=color, alpha=0.2, linewidth=0)
        label, lanes = f"{label}: mean ± sd of {lanes.shape[1]}", mean
    axes.plot(along, lanes, line, color=color, label=label, marker="." if len(along) <= 40 else None)
