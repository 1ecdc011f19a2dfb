"""Losses ``loss(output, batch) -> values``: one value per example (or per element), never reduced.

The target is ``batch["y"]``; the mean is taken in one place, :func:`stepax.gradient.weighted_mean`, which honours
``batch["weight"]``. Settings are keyword arguments, meant for :func:`functools.partial`: ``partial(losses.huber,
delta=0.5)``. Values are computed and returned in float32 at least, whatever the output's dtype, and values and
gradients are finite for logits of ±10⁴. Targets are checked: shapes and dtypes always, values wherever they are
concrete.
"""

import jax
import jax.numpy as jnp
import optax

from stepax.targets import (
    aligned,
    at_least_float32,
    binary_labels,
    class_labels,
    host_values,
    pick,
    probabilities,
    target,
)
from stepax.typing import Array, Batch

__all__ = [
    "binary_cross_entropy",
    "cross_entropy",
    "hinge",
    "huber",
    "mean_absolute_error",
    "mean_squared_error",
    "multiclass_hinge",
]


def mean_squared_error(output: Array, batch: Batch) -> Array:
    r"""Squared errors :math:`(\hat y - y)^2`; their mean is the mean squared error.

    Args:
        output: ``[batch, …]``, or ``[batch, 1]`` for a ``y`` of ``[batch]``.
        batch: ``y``, numbers ``[batch, …]``.

    Returns:
        ``[batch, …]``, the shape of ``y``, in the squared unit of ``y``.

    Raises:
        ValueError: The shapes do not match; nothing is broadcast.
    """
    output, y = aligned(output, target(batch))
    return jnp.square(output - y)


def mean_absolute_error(output: Array, batch: Batch) -> Array:
    r"""Absolute errors :math:`|\hat y - y|`; their mean is the mean absolute error.

    Args:
        output: ``[batch, …]``, or ``[batch, 1]`` for a ``y`` of ``[batch]``.
        batch: ``y``, numbers ``[batch, …]``.

    Returns:
        ``[batch, …]``, the shape of ``y``, in the unit of ``y``. The gradient at 0 is 0.

    Raises:
        ValueError: The shapes do not match; nothing is broadcast.
    """
    output, y = aligned(output, target(batch))
    # Not jnp.abs, whose gradient at 0 is 1.
    return (output - y) * jnp.sign(output - y)


def huber(output: Array, batch: Batch, *, delta: float | Array = 1.0) -> Array:
    r"""Huber's loss, quadratic up to an error of ``delta`` and linear beyond.

    .. math:: \ell(e) = e^2 / 2 \text{ for } |e| \le \delta, \quad \delta (|e| - \delta / 2) \text{ otherwise}, \quad e
    = \hat y - y

    Args:
        output: ``[batch, …]``, or ``[batch, 1]`` for a ``y`` of ``[batch]``.
        batch: ``y``, numbers ``[batch, …]``.
        delta: Where the line begins, in the unit of ``y``; positive.

    Returns:
        ``[batch, …]``, the shape of ``y``.

    Raises:
        ValueError: The shapes do not match, or ``delta`` is not one positive number.

    Reference:
        Huber, "Robust Estimation of a Location Parameter", 1964.
    """
    concrete = host_values(delta)
    if jnp.ndim(delta) or (concrete is not None and not concrete > 0):
        raise ValueError(f"delta: expected one positive number, got {delta}")
    output, y = aligned(output, target(batch))
    return optax.losses.huber_loss(output, y, delta=delta)


def cross_entropy(output: Array, batch: Batch, *, smoothing: float | Array = 0.0) -> Array:
    r"""Cross entropy of logits and a class, with label smoothing.

    .. math:: \ell = -\sum_c q_c \log \mathrm{softmax}(z)_c, \quad q = (1 - s)\, y + s / C

    Args:
        output: Logits ``[…, classes]``.
        batch: ``y``, integer labels ``[…]``, or one-hot or soft targets ``[…, classes]`` whose rows sum to 1.
        smoothing: The share ``s`` of every target that is spread over all classes, in [0, 1].

    Returns:
        ``[…]``, in nats. Where labels cannot be checked (inside jit), one out of range gives nan.

    Raises:
        TypeError: Labels are no integers.
        ValueError: The shapes do not match, a label or target is out of range, or ``smoothing`` is.

    Reference:
        Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2015, arXiv:1512.00567 (smoothing).

    >>> import numpy as np
    >>> probabilities = np.array([[0.02, 0.90, 0.05, 0.01, 0.02]], np.float32)
    >>> print(cross_entropy(np.log(probabilities), {"y": np.array([1])}).round(4))
    [0.1054]
    """
    concrete = host_values(smoothing)
    if jnp.ndim(smoothing) or (concrete is not None and not 0 <= concrete <= 1):
        raise ValueError(f"smoothing: expected one number in [0, 1], got {smoothing}")
    log_probabilities = jax.nn.log_softmax(at_least_float32(output))
    values = -pick(log_probabilities, target(batch))
    if concrete == 0:
        return values
    return (1 - smoothing) * values - smoothing * log_probabilities.mean(axis=-1)


def binary_cross_entropy(output: Array, batch: Batch) -> Array:
    r"""Cross entropy of one logit and a binary target, :math:`-y \log \sigma(z) - (1 - y) \log \sigma(-z)`.

    Args:
        output: Logits ``[batch]``, ``[batch, 1]`` for a ``y`` of ``[batch]``, or ``[batch, k]`` for ``k`` labels that
            are each true or not.
        batch: ``y``, of the same shape: 0 or 1, bools, or probabilities.

    Returns:
        The shape of ``y``, in nats.

    Raises:
        ValueError: The shapes do not match, or a target lies outside [0, 1].
    """
    output, y = probabilities(output, target(batch))
    return optax.losses.sigmoid_binary_cross_entropy(output, y)


def hinge(output: Array, batch: Batch) -> Array:
    r"""Hinge loss of one score, :math:`\max(0, 1 - t z)` with :math:`t = 1` where :math:`y > 0`, else :math:`-1`.

    Args:
        output: Scores ``[batch, …]``, or ``[batch, 1]`` for a ``y`` of ``[batch]``.
        batch: ``y``, of the same shape: in {0, 1} or in {−1, 1}, or bools. The rule ``y > 0`` reads all of them alike.

    Returns:
        The shape of ``y``.

    Raises:
        ValueError: The shapes do not match, a label is none of these, or 0 and −1 both occur.

    Reference:
        Cortes and Vapnik, "Support-Vector Networks", 1995.
    """
    output, positive = binary_labels(output, target(batch))
    return jnp.maximum(0, 1 - jnp.where(positive, output, -output))


def multiclass_hinge(output: Array, batch: Batch) -> Array:
    r"""Hinge loss of several classes after Crammer and Singer, :math:`\max(0, 1 + \max_{c \ne y} z_c - z_y)`.

    Args:
        output: Scores ``[…, classes]``.
        batch: ``y``, integer labels ``[…]``, or one-hot ``[…, classes]``.

    Returns:
        ``[…]``. Where labels cannot be checked (inside jit), one out of range gives nan.

    Raises:
        TypeError: Labels are no integers.
        ValueError: The shapes do not match, or a label is out of range.

    Reference:
        Crammer and Singer, "On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines", 2001.
    """
    scores = at_least_float32(output)
    labels = class_labels(scores, target(batch))
    classes = jax.lax.broadcasted_iota(jnp.int32, scores.shape, scores.ndim - 1)
    rivals = jnp.where(classes == labels[..., None], -jnp.inf, scores)
    return jnp.maximum(0, 1 + (rivals.max(axis=-1) - pick(scores, labels)))
