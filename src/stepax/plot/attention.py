"""Attention as a picture: where a translation looks while it is written."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stepax.plot.style import styled

__all__ = ["attention_map"]

# Beyond so many tokens their names would be too small to read.
NAMED = 60
# Names of so many characters fit side by side; longer ones stand aslant.
LEVEL = 3
# So many heads stand side by side, the others below.
BESIDE = 4


@styled
def attention_map(
    weights: Any, source_tokens: Sequence[str], target_tokens: Sequence[str], *, title: str = "Attention"
) -> Figure:
    """One row for each token of the target: the darker, the more a place of the source counts for it.

    Args:
        weights: ``[target, source]``, or ``[heads, target, source]`` for a panel each, rows that sum to 1: one
            example's of ``text.LSTMTranslator.attention_weights`` or ``nn.Transformer.attention_weights``, without
            padding.
        source_tokens: What stands at each place of the source.
        target_tokens: The token that each row predicts.
        title: The figure's title.

    Returns:
        The figure. Above 60 tokens an axis carries numbers instead of names.

    Raises:
        ValueError: The weights do not fit the tokens, there are none, or they lie outside [0, 1].
    """
    heads = _checked(weights, (len(target_tokens), len(source_tokens)))
    rows, columns = -(-len(heads) // BESIDE), min(len(heads), BESIDE)
    names = [list(map(_shown, tokens)) for tokens in (target_tokens, source_tokens)]
    figure = Figure(figsize=_size(names, rows, columns), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat[len(heads) :]:
        axes.set_visible(False)
    for i, (axes, head) in enumerate(zip(panels.flat, heads, strict=False)):
        axes.imshow(head, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title if len(heads) == 1 else f"head {i + 1}")
        # Below is where no other panel stands.
        _named(axes, names, left=i % columns == 0, below=i + columns >= len(heads))
    figure.colorbar(panels[0, 0].images[0], ax=panels, ticks=[0, 0.5, 1]).set_label("weight")
    if len(heads) > 1:
        figure.suptitle(title)
    return figure


def _checked(weights: Any, shape: tuple[int, int]) -> np.ndarray:
    """The weights ``[heads, target, source]``."""
    weights = np.asarray(weights, np.float64)
    heads = weights[None] if weights.ndim == 2 else weights
    if heads.shape[1:] != shape or 0 in heads.shape:
        raise ValueError(
            f"weights: expected the shape [target, source] of the tokens, {shape}, at least one of each, or one with "
            f"heads before these, got {weights.shape}"
        )
    # Sums of float32 may be beyond 1 by rounding.
    if not ((heads >= 0) & (heads <= 1 + 1e-5)).all():
        raise ValueError(f"weights: expected shares from 0 to 1, got {heads.min():.4g} to {heads.max():.4g}")
    return heads


def _is_aslant(names: Sequence[str]) -> bool:
    return max(map(len, names)) > LEVEL and len(names) <= NAMED


def _size(names: Sequence[Sequence[str]], rows: int, columns: int) -> tuple[float, float]:
    """Width and height in inches, for panels in so many rows and columns."""
    shape = np.array([len(side) for side in names])
    height, width = np.maximum(1.6, min(0.36, 12 / max(shape * [rows, columns])) * shape)
    longest = [max(map(len, side)) for side in names]
    margins = 1.0 + 0.08 * longest[0], 1.2 + 0.06 * longest[1] * _is_aslant(names[1])
    return columns * width + margins[0] + 1.2, rows * (height + 0.3 * (rows * columns > 1)) + margins[1]


def _named(axes: Axes, names: Sequence[Sequence[str]], left: bool, below: bool) -> None:
    """The tokens at the left and below of a panel."""
    target, source = names
    aslant = _is_aslant(source)
    if len(source) <= NAMED:
        axes.set_xticks(range(len(source)), source, rotation=45 if aslant else 0, ha="right" if aslant else "center")
    if len(target) <= NAMED:
        axes.set_yticks(range(len(target)), target)
    axes.tick_params(length=0, labelleft=left, labelbottom=below)
    axes.set(xlabel="source" if below else "", ylabel="target" if left else "")
    axes.spines[:].set_visible(False)


def _shown(token: Any) -> str:
    """A token as a label: a blank is seen, a long word cut, and ``$`` is no formula."""
    text = str(token).replace("\n", "↵")
    text = text if len(text) <= 16 else text[:15] + "…"
    return text.replace(" ", "␣").replace("$", r"\$")
