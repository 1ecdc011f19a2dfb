"""From unreduced values to a gradient step: the one place where a loss is averaged."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from stepax.typing import Array, Key, Metrics, Objective, Tree

__all__ = ["gradient", "reduce", "update", "weighted_mean"]


def weighted_mean(values: Array, weight: Array | None = None) -> Array:
    r"""The weighted mean :math:`\sum_i w_i v_i / \sum_i w_i` over all axes.

    Args:
        values: ``[batch, …]``.
        weight: Its shape and that of ``values`` agree in as many leading axes as both have; ``None`` counts every value
            once. A value beyond the weight's axes is averaged, a weight beyond the values' axes is summed.

    Returns:
        A scalar; 0 where all weights are 0, so that an empty batch moves nothing.

    Raises:
        ValueError: The two shapes do not agree.
    """
    # Half precision cannot count: 1,001 is 1,000 in bfloat16.
    values = values.astype(_exact(values.dtype))
    if weight is None:
        return jnp.mean(values)
    shared = min(values.ndim, weight.ndim)
    if values.shape[:shared] != weight.shape[:shared]:
        raise ValueError(
            f"weight: its shape {weight.shape} must be a prefix of the values' shape {values.shape}, "
            f"such as {values.shape[:1]} for one weight per example"
        )
    values = values.mean(tuple(range(shared, values.ndim)))
    weight = weight.astype(values.dtype).sum(tuple(range(shared, weight.ndim)))
    total = weight.sum()
    # A value that does not count may be infinite, and 0 · inf is not 0.
    products = jnp.where(weight == 0, 0, values) * weight
    return products.sum() / jnp.where(total == 0, 1, total)


def _exact(dtype: Any) -> Any:
    return jnp.promote_types(dtype, jnp.float32)


def reduce(values: Array, metrics: Metrics, batch: Any) -> Metrics:
    """The metrics of one batch: ``loss``, the given ones, and ``weight``, by which batches combine exactly.

    Args:
        values: The objective's values, ``[batch, …]``.
        metrics: Named values, ``[batch, …]``.
        batch: Where ``weight`` may be found.

    Returns:
        A dict of scalars.

    Raises:
        ValueError: The loss or a metric has no batch axis, or a name is taken.
    """
    weight = batch.get("weight") if isinstance(batch, Mapping) else None
    if taken := {"loss", "weight"} & set(metrics):
        raise ValueError(f"metrics: the name {sorted(taken)[0]!r} is reserved; give the metric another one")
    for name, value in {"the loss": values, **metrics}.items():
        if jnp.ndim(value) == 0:
            raise ValueError(
                f"{name}: expected one value per example, of shape [batch, …], got a scalar; "
                "leave the mean to the learner"
            )
    means = {name: weighted_mean(value, weight) for name, value in metrics.items()}
    exact = _exact(values.dtype)
    count = jnp.asarray(values.shape[0], exact) if weight is None else weight.astype(exact).sum()
    return {"loss": weighted_mean(values, weight), **means, "weight": count}


def gradient(objective: Objective, params: Tree, variables: Tree, batch: Any, key: Key) -> tuple[Tree, Tree, Metrics]:
    """The gradient of an objective's weighted mean.

    This is the plain form of a ``Gradient``; a learner takes every gradient through one, so that a transformation can
    put its own in place.

    Args:
        objective: ``(params, variables, batch, key) -> (values, (variables, metrics))``.
        params: What to differentiate by.
        variables: The models' own statistics, passed through the objective.
        batch: Any batch; its ``weight`` weighs the mean.
        key: For dropout and other noise.

    Returns:
        The gradient (a tree like ``params``), the new variables, and the metrics with ``loss`` and ``weight``.
    """

    def mean(params: Tree) -> tuple[Array, tuple[Tree, Metrics]]:
        values, (new_variables, metrics) = objective(params, variables, batch, key)
        metrics = reduce(values, metrics, batch)
        return metrics["loss"], (new_variables, metrics)

    grads, (variables, metrics) = jax.grad(mean, has_aux=True)(params)
    return grads, variables, metrics


def update(
    optimizer: optax.GradientTransformation, grads: Tree, opt_state: Tree, params: Tree
) -> tuple[Tree, Tree, Metrics]:
    """One step of an Optax optimizer.

    Args:
        optimizer: Any Optax transformation.
        grads: The gradient, a tree like ``params``.
        opt_state: The optimizer's state.
        params: The parameters before the step.

    Returns:
        The parameters and the optimizer's state after the step, and ``{"learning_rate": …}`` where the optimizer
        exposes it (``optax.inject_hyperparams``), else ``{}``.

    Raises:
        TypeError: The optimizer asks for more than the gradient, as ``optax.lbfgs`` does for its line search.
    """
    try:
        updates, opt_state = optimizer.update(grads, opt_state, params)
    except TypeError as error:
        if "required keyword-only" not in str(error):
            raise
        raise TypeError(
            "optimizer: expected one that needs the gradient alone, such as optax.adam; "
            f"optax.lbfgs and others that read the loss cannot be used ({error})"
        ) from error
    found = optax.tree.get_all_with_path(opt_state, "learning_rate")
    metrics = {"learning_rate": jnp.asarray(found[0][1], jnp.float32)} if found else {}
    return optax.apply_updates(params, updates), opt_state, metrics
