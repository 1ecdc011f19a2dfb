"""Metrics, in two forms.

Per example, ``metric(output, batch) -> [batch, …]``, for ``supervised(metrics={"accuracy": accuracy})``, which reports
their weighted mean: ``accuracy``, ``binary_accuracy``, ``top_k``, ``absolute_error``, ``squared_error``.

Of whole outputs, after ``predict``, since they are no means of batches: ``confusion_matrix``, ``precision``,
``recall``, ``f1``, ``roc_auc``, ``root_mean_squared_error``, ``r_squared``. They honour ``batch["weight"]``, whose
shape is a prefix of the target's; weight 0 is the same as absence. They equal scikit-learn's functions of these names,
zero divisions included, but for :func:`macro` where a class occurs only at weight 0: scikit-learn counts it, as 0.

Every function is pure, and works under jit and vmap.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from stepax.targets import aligned, at_least_float32, binary_labels, class_labels, is_binary, target
from stepax.typing import Array, Batch

__all__ = [
    "Average",
    "absolute_error",
    "accuracy",
    "binary_accuracy",
    "confusion_matrix",
    "f1",
    "macro",
    "micro",
    "precision",
    "r_squared",
    "recall",
    "roc_auc",
    "root_mean_squared_error",
    "squared_error",
    "top_k",
    "weighted",
]

Average = Callable[[Array, Array], Array]
"""``(values [classes], confusion matrix [classes, classes]) -> scalar``: how the values of the classes become one."""


def accuracy(output: Array, batch: Batch) -> Array:
    """1 where the predicted class is the true one, else 0.

    Args:
        output: Scores ``[…, classes]``, of which the largest is the prediction (the first of equal ones); or one logit,
            ``[batch]`` or ``[…, 1]``, which predicts class 1 above 0.
        batch: ``y``, integer labels ``[…]``, or one-hot ``[…, classes]``; for one logit in {0, 1} or in {−1, 1}.

    Returns:
        ``[…]`` float32.

    Raises:
        TypeError: Labels are no integers.
        ValueError: The shapes do not match, or a label is out of range.
    """
    predicted, true, _ = _predictions(output, batch)
    return (predicted == true).astype(jnp.float32)


def binary_accuracy(output: Array, batch: Batch) -> Array:
    """1 where a logit is on the right side of 0, else 0: for several labels in one row that are each true or not.

    Args:
        output: Logits ``[batch, k]``, or any other shape.
        batch: ``y``, of the same shape, in {0, 1} or in {−1, 1}, or bools.

    Returns:
        The shape of ``y``, float32.

    Raises:
        ValueError: The shapes do not match, or a label is none of these.
    """
    output, true = binary_labels(output, target(batch))
    return ((output > 0) == true).astype(jnp.float32)


def top_k(output: Array, batch: Batch, *, k: int = 5) -> Array:
    """1 where the true class is among the ``k`` largest scores, else 0; for ``functools.partial(top_k, k=3)``.

    Args:
        output: Scores ``[…, classes]``. Of equal scores the first classes go first, so that ``k=1`` is
            :func:`accuracy`.
        batch: ``y``, integer labels ``[…]``, or one-hot ``[…, classes]``.
        k: From 1 to the number of classes.

    Returns:
        ``[…]`` float32.

    Raises:
        TypeError: Labels are no integers.
        ValueError: ``k`` is out of range, the shapes do not match, or a label is out of range.
    """
    scores = at_least_float32(output)
    labels = class_labels(scores, target(batch))
    if not 1 <= k <= scores.shape[-1]:
        raise ValueError(
            f"k: expected a number from 1 to {scores.shape[-1]}, the classes of the output {scores.shape}, got {k}"
        )
    # In the order of top_k, -0 comes below 0.
    _, best = jax.lax.top_k(jnp.where(scores == 0, 0, scores), k)
    return (best == labels[..., None]).any(axis=-1).astype(jnp.float32)


def absolute_error(output: Array, batch: Batch) -> Array:
    r"""Absolute errors :math:`|\hat y - y|`; their mean is the mean absolute error.

    Args:
        output: ``[batch, …]``, or ``[batch, 1]`` for a ``y`` of ``[batch]``.
        batch: ``y``, numbers ``[batch, …]``.

    Returns:
        The shape of ``y``, in its unit.

    Raises:
        ValueError: The shapes do not match.
    """
    output, y = aligned(output, target(batch))
    return jnp.abs(output - y)


def squared_error(output: Array, batch: Batch) -> Array:
    r"""Squared errors :math:`(\hat y - y)^2`; their mean is the mean squared error.

    Args:
        output: ``[batch, …]``, or ``[batch, 1]`` for a ``y`` of ``[batch]``.
        batch: ``y``, numbers ``[batch, …]``.

    Returns:
        The shape of ``y``, in its squared unit.

    Raises:
        ValueError: The shapes do not match.
    """
    output, y = aligned(output, target(batch))
    return jnp.square(output - y)


def confusion_matrix(output: Array, batch: Batch) -> Array:
    """How many examples of each class are predicted as which: row the true class, column the predicted one.

    Args:
        output: As for :func:`accuracy`.
        batch: ``y`` as for :func:`accuracy`; optionally ``weight``, a prefix of the shape of the labels.

    Returns:
        ``[classes, classes]``; int32 counts, or float32 sums of the weights. One logit makes two classes. Where labels
        cannot be checked (inside jit), one out of range counts nowhere.

    Raises:
        TypeError: Labels are no integers.
        ValueError: The shapes do not match, or a label is out of range.
    """
    predicted, true, classes = _predictions(output, batch)
    weight = _weight(batch, true, jnp.int32)
    # A negative index would count from the end.
    rows = jnp.where(true < 0, classes, true)
    return jnp.zeros((classes, classes), weight.dtype).at[rows, predicted].add(weight, mode="drop")


def precision(output: Array, batch: Batch, *, average: Average | None = None) -> Array:
    """The share of the predictions of a class that are right: true positives / (true positives + false positives).

    Args:
        output: As for :func:`accuracy`.
        batch: ``y`` as for :func:`accuracy`; optionally ``weight``.
        average: :func:`macro`, :func:`micro`, :func:`weighted`, or ``None`` for every class by itself.

    Returns:
        ``[classes]``, or a scalar with an ``average``; 0 for a class that is never predicted. With one logit, entry 1
        is the positive class.

    Raises:
        TypeError: Labels are no integers, or ``average`` is no function.
        ValueError: The shapes do not match, or a label is out of range.
    """
    matrix = confusion_matrix(output, batch)
    return _averaged(_ratio(jnp.diag(matrix), matrix.sum(axis=0)), matrix, average)


def recall(output: Array, batch: Batch, *, average: Average | None = None) -> Array:
    """The share of a class that is found: true positives / (true positives + false negatives).

    Args:
        output: As for :func:`accuracy`.
        batch: ``y`` as for :func:`accuracy`; optionally ``weight``.
        average: :func:`macro`, :func:`micro`, :func:`weighted`, or ``None`` for every class by itself.

    Returns:
        ``[classes]``, or a scalar with an ``average``; 0 for a class that does not occur. With one logit, entry 1 is
        the positive class.

    Raises:
        TypeError: Labels are no integers, or ``average`` is no function.
        ValueError: The shapes do not match, or a label is out of range.
    """
    matrix = confusion_matrix(output, batch)
    return _averaged(_ratio(jnp.diag(matrix), matrix.sum(axis=1)), matrix, average)


def f1(output: Array, batch: Batch, *, average: Average | None = None) -> Array:
    r"""The harmonic mean of precision and recall, :math:`2 TP / (2 TP + FP + FN)`.

    Args:
        output: As for :func:`accuracy`.
        batch: ``y`` as for :func:`accuracy`; optionally ``weight``.
        average: :func:`macro`, :func:`micro`, :func:`weighted`, or ``None`` for every class by itself.

    Returns:
        ``[classes]``, or a scalar with an ``average``; 0 for a class that is never right. With one logit, entry 1 is
        the positive class.

    Raises:
        TypeError: Labels are no integers, or ``average`` is no function.
        ValueError: The shapes do not match, or a label is out of range.
    """
    matrix = confusion_matrix(output, batch)
    return _averaged(_ratio(2 * jnp.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1)), matrix, average)


def macro(values: Array, matrix: Array) -> Array:
    """The plain mean over the classes that occur as a label or as a prediction.

    Args:
        values: One value per class, ``[classes]``.
        matrix: The confusion matrix, ``[classes, classes]``.

    Returns:
        A scalar; 0 where there is no example.
    """
    occurs = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    return _ratio(jnp.sum(values * occurs), occurs.sum())


def weighted(values: Array, matrix: Array) -> Array:
    """The mean over classes, each by its weight among the labels.

    Args:
        values: One value per class, ``[classes]``.
        matrix: The confusion matrix, ``[classes, classes]``.

    Returns:
        A scalar; 0 where there is no example.
    """
    support = matrix.sum(axis=1)
    return _ratio(jnp.sum(values * support), support.sum())


def micro(values: Array, matrix: Array) -> Array:
    """The ratio over all classes together: with one class per example, precision, recall and F1 are all the accuracy.

    Args:
        values: One value per class, ``[classes]``; not needed, and there for the form.
        matrix: The confusion matrix, ``[classes, classes]``.

    Returns:
        A scalar; 0 where there is no example.
    """
    del values
    return _ratio(jnp.trace(matrix), matrix.sum())


def roc_auc(output: Array, batch: Batch) -> Array:
    """The area under the ROC curve: how likely a positive example scores above a negative one; a tie counts half.

    Args:
        output: One score per example, ``[batch]`` or ``[batch, 1]``; the larger, the more positive.
        batch: ``y`` in {0, 1} or in {−1, 1}, or bools; optionally ``weight``.

    Returns:
        A scalar in [0, 1]; nan where one of the two classes is absent.

    Raises:
        ValueError: The shapes do not match, or a label is none of these.

    Reference:
        Hanley and McNeil, "The Meaning and Use of the Area under a Receiver Operating Characteristic (ROC) Curve",
        1982.
    """
    scores, positive = binary_labels(output, target(batch))
    weight = _weight(batch, positive).ravel()
    positive = positive.ravel()
    order = jnp.argsort(scores.ravel())
    scores, gains, losses = (
        scores.ravel()[order],
        jnp.where(positive, weight, 0)[order],
        jnp.where(positive, 0, weight)[order],
    )
    passed = jnp.concatenate([jnp.zeros(1), jnp.cumsum(losses)])
    below, up_to = (
        passed[jnp.searchsorted(scores, scores, side="left")],
        passed[jnp.searchsorted(scores, scores, side="right")],
    )
    return jnp.sum(gains * (below + up_to)) / (2 * gains.sum() * losses.sum())


def root_mean_squared_error(output: Array, batch: Batch) -> Array:
    r"""The root of the mean squared error, :math:`\sqrt{\sum_i w_i (\hat y_i - y_i)^2 / \sum_i w_i}`.

    Args:
        output: ``[batch, …]``, or ``[batch, 1]`` for a ``y`` of ``[batch]``.
        batch: ``y``, numbers ``[batch, …]``; optionally ``weight``.

    Returns:
        A scalar, in the unit of ``y``; of several outputs the mean of their roots. nan where there is no example.

    Raises:
        ValueError: The shapes do not match.
    """
    output, y = aligned(output, target(batch))
    return jnp.sqrt(_mean(jnp.square(output - y), _weight(batch, y))).mean()


def r_squared(output: Array, batch: Batch) -> Array:
    r"""The coefficient of determination, :math:`R^2 = 1 - \sum_i w_i (\hat y_i - y_i)^2 / \sum_i w_i (y_i - \bar y)^2`.

    Args:
        output: ``[batch, …]``, or ``[batch, 1]`` for a ``y`` of ``[batch]``.
        batch: ``y``, numbers ``[batch, …]``; optionally ``weight``.

    Returns:
        A scalar, at most 1; of several outputs the mean. Where ``y`` is constant, 1 for exact predictions and 0 for
        others. nan for fewer than two examples.

    Raises:
        ValueError: The shapes do not match.
    """
    output, y = aligned(output, target(batch))
    weight = _weight(batch, y)
    # Differences to a target that occurs are exactly 0 where the target is constant; rounding in its mean would leave
    # a spread.
    offset = y - jnp.max(jnp.where(weight > 0, y, -jnp.inf), axis=0, keepdims=True)
    spread = _mean(jnp.square(offset - _mean(offset, weight)[None]), weight)
    error = _mean(jnp.square(output - y), weight)
    values = jnp.where(spread > 0, 1 - error / jnp.where(spread > 0, spread, 1), (error == 0).astype(error.dtype))
    return jnp.where((weight > 0).sum(axis=0) < 2, jnp.nan, values).mean()


def _predictions(output: Array, batch: Batch) -> tuple[Array, Array, int]:
    """The predicted and the true class of every example, ``[…]`` int32, and the number of classes."""
    scores, y = at_least_float32(output), target(batch)
    if is_binary(scores, y):
        scores, true = binary_labels(scores, y)
        return (scores > 0).astype(jnp.int32), true.astype(jnp.int32), 2
    labels = class_labels(scores, y)
    return jnp.argmax(scores, axis=-1).astype(jnp.int32), labels, scores.shape[-1]


def _weight(batch: Batch, values: Array, dtype: Any = jnp.float32) -> Array:
    """The weight of every value, ``values.shape``; where the batch has none, ones of the given dtype."""
    weight = (batch or {}).get("weight")
    if weight is None:
        return jnp.ones(values.shape, dtype)
    weight = at_least_float32(weight)
    if weight.shape != values.shape[: weight.ndim]:
        raise ValueError(
            f"weight: its shape {weight.shape} must be a prefix of the shape {values.shape} of the labels or targets"
        )
    return jnp.broadcast_to(weight.reshape(weight.shape + (1,) * (values.ndim - weight.ndim)), values.shape)


def _mean(values: Array, weight: Array) -> Array:
    """The weighted mean over the first axis; values of weight 0 may be anything."""
    return jnp.sum(jnp.where(weight == 0, 0, values) * weight, axis=0) / weight.sum(axis=0)


def _ratio(part: Array, whole: Array) -> Array:
    """``part / whole``, 0 where the whole is 0."""
    return jnp.where(whole == 0, 0, part / jnp.where(whole == 0, 1, whole))


def _averaged(values: Array, matrix: Array, average: Average | None) -> Array:
    """The values themselves, or their average."""
    if average is None:
        return values
    if not callable(average):
        raise TypeError(f"average: expected None or a function such as stepax.metrics.macro, got {average!r}")
    return average(values, matrix)
