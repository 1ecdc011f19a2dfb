"""What a training step does to the parameters, as metrics: the gradient's norm, and the size of the update."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from stepax.gradient import gradient as plain
from stepax.learner import Learner, State, check_learner
from stepax.typing import Array, Gradient, Key, Metrics, Objective, Tree

__all__ = ["watch"]


def watch(learner: Learner, *, layers: bool = False) -> Learner:
    r"""The same training with more metrics a step.

    ``gradient_norm`` is :math:`\lVert g \rVert_2` over all parameters. ``update_ratio`` is :math:`\lVert \theta' -
    \theta \rVert_2 / \lVert \theta \rVert_2`, about a thousandth in a training that goes well. A step that takes
    several gradients reports what its method makes of their metrics: the mean over a loop, or the last.

    Args:
        learner: What to train.
        layers: Whether both are also told for every array, as ``gradient_norm/dense_0/kernel``.

    Returns:
        A learner with the same state.

    Raises:
        TypeError: No learner.
    """
    check_learner(learner)

    def step(state: State, batch: Any, gradient: Gradient = plain) -> tuple[State, Metrics]:
        after, metrics = learner.step(state, batch, gradient=_with_norms(gradient, layers))
        norms = _norms
        for _ in state.key.shape:  # of a population every lane's own
            norms = jax.vmap(norms)
        moved, whole = norms(jax.tree.map(jnp.subtract, after.params, state.params)), norms(state.params)
        # Parameters of zeros, as biases are at first, have no ratio.
        ratios = {name: moved[name] / jnp.where(whole[name] == 0, 1, whole[name]) for name in whole}
        return after, {**metrics, **_named("update_ratio", ratios, layers)}

    return learner._replace(step=step)


def _with_norms(gradient: Gradient, layers: bool) -> Gradient:
    def watched(
        objective: Objective, params: Tree, variables: Tree, batch: Any, key: Key
    ) -> tuple[Tree, Tree, Metrics]:
        grads, variables, metrics = gradient(objective, params, variables, batch, key)
        return grads, variables, {**metrics, **_named("gradient_norm", _norms(grads), layers)}

    return watched


def _norms(tree: Tree) -> dict[str, Array]:
    """By path the norm of every array, and that of all under the empty path."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    norms = {jax.tree_util.keystr(path, simple=True, separator="/"): optax.tree.norm(leaf) for path, leaf in leaves}
    return {"": optax.tree.norm(tree), **norms}


def _named(metric: str, values: dict[str, Array], layers: bool) -> Metrics:
    chosen = values if layers else {"": values[""]}
    return {f"{metric}/{path}" if path else metric: value for path, value in chosen.items()}
