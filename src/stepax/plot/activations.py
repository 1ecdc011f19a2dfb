"""The activations of a network, layer by layer."""

from typing import Any

import jax
import numpy as np

from stepax import nn
from stepax.typing import Tree

__all__ = ["layer_activations"]


def layer_activations(module: Any, variables: Tree, x: Any) -> dict[str, Any]:
    """What every layer hands on: after normalisation and non-linearity, before pooling; the last one as it is.

    Args:
        module: A :class:`stepax.nn.CNN` or :class:`stepax.nn.MLP`. Of any other Linen module the plain outputs of its
            submodules are given, as :func:`stepax.nn.feature_maps` has them.
        variables: All its collections: ``{"params": …, "batch_stats": …}``.
        x: Inputs of the module, ``[n, …]``.

    Returns:
        The activations ``[n, …]`` by the layer's name, in the order of execution: NumPy arrays, or trees of them where
        a submodule returns one.
    """
    outputs = nn.feature_maps(module, variables, x)
    if not isinstance(module, nn.CNN | nn.MLP):
        return {name: jax.tree.map(np.asarray, output) for name, output in outputs.items()}
    layers: dict[str, Any] = {}
    for name, output in outputs.items():
        if "norm" in name:
            layers[list(layers)[-1]] = output
        elif "dropout" not in name:
            layers[name] = output
    *hidden, last = layers
    return {name: np.asarray(module.activation(layers[name])) for name in hidden} | {last: np.asarray(layers[last])}
