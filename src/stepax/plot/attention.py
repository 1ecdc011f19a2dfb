"""Attention as a picture: where a translation looks while it is written."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from stepax.plot.style import styled

__all__ = ["attention_map"]

# Beyond so many tokens their names would be too small to read.
NAMED = 60
# Names of so many characters fit side by side; longer ones stand aslant.
LEVEL = 3


@styled
def attention_map(
    weights: Any, source_tokens: Sequence[str], target_tokens: Sequence[str], *, title: str = "Attention"
) -> Figure:
    """One row for each token of the target: the darker, the more a place of the source counts for it.

    Args:
        weights: ``[target, source]``, rows that sum to 1, such as one example's of
            ``LSTMTranslator.attention_weights``, without padding.
        source_tokens: What stands at each place of the source.
        target_tokens: The token that each row predicts.
        title: The figure's title.

    Returns:
        The figure. Above 60 tokens an axis carries numbers instead of names.

    Raises:
        ValueError: The weights do not fit the tokens, there are none, or they lie outside [0, 1].
    """
    weights = np.asarray(weights, np.float64)
    shape = len(target_tokens), len(source_tokens)
    if weights.shape != shape or 0 in shape:
        raise ValueError(
            f"weights: expected the shape [target, source] of the tokens, {shape}, at least one of each, got "
            f"{weights.shape}"
        )
    # Sums of float32 may be beyond 1 by rounding.
    if not ((weights >= 0) & (weights <= 1 + 1e-5)).all():
        raise ValueError(f"weights: expected shares from 0 to 1, got {weights.min():.4g} to {weights.max():.4g}")
    size = np.maximum(1.6, min(0.36, 12 / max(shape)) * np.array(shape))
    longest = [max(map(len, map(_shown, tokens))) for tokens in (target_tokens, source_tokens)]
    aslant = longest[1] > LEVEL and shape[1] <= NAMED
    margins = 1.0 + 0.08 * longest[0], 1.2 + 0.06 * longest[1] * aslant
    figure = Figure(figsize=(size[1] + margins[0] + 1.2, size[0] + margins[1]), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    figure.colorbar(image, ax=axes, ticks=[0, 0.5, 1]).set_label("weight")
    axes.set(xlabel="source", ylabel="target", title=title)
    if shape[1] <= NAMED:
        names = list(map(_shown, source_tokens))
        axes.set_xticks(range(shape[1]), names, rotation=45 if aslant else 0, ha="right" if aslant else "center")
    if shape[0] <= NAMED:
        axes.set_yticks(range(shape[0]), list(map(_shown, target_tokens)))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def _shown(token: Any) -> str:
    """A token as a label: a blank is seen, a long word cut, and ``$`` is no formula."""
    text = str(token).replace("\n", "↵")
    text = text if len(text) <= 16 else text[:15] + "…"
    return text.replace(" ", "␣").replace("$", r"\$")
