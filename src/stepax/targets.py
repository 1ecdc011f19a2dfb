"""What losses and metrics compare with: ``batch["y"]``, fitted to a model's output and checked.

Shapes and dtypes are always checked. Values are checked wherever they are concrete, also while the output beside them
is traced: on the host, with NumPy, since an operation of JAX would become part of the traced program.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stepax.typing import Array, Batch

__all__ = [
    "aligned",
    "at_least_float32",
    "binary_labels",
    "check_in_classes",
    "class_labels",
    "classes_noted",
    "host_values",
    "is_binary",
    "pick",
    "probabilities",
    "target",
]


def target(batch: Batch) -> Any:
    """The target ``batch["y"]``, as it is: an array of JAX or NumPy.

    Raises:
        KeyError: The batch has no ``y``.
    """
    if batch is None or "y" not in batch:
        found = "None" if batch is None else f"one with {sorted(batch)}"
        raise KeyError(f'batch: expected a target under the name "y", got {found}')
    y = batch["y"]
    return y if isinstance(y, jax.Array | np.ndarray) else np.asarray(y)


def at_least_float32(output: Any) -> Array:
    """An output as float32, or float64 where it is that: sums of exponentials and squares need more than 16 bits.

    Raises:
        TypeError: The output is a tree, not an array, or complex.
    """
    if not hasattr(output, "dtype"):
        raise TypeError(
            f"output: expected one array, got {type(output).__name__}; "
            "a model with several outputs needs a loss that picks one"
        )
    output = jnp.asarray(output)
    _check_real("output", output)
    return output.astype(jnp.promote_types(output.dtype, jnp.float32))


def _check_real(name: str, array: Any) -> None:
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError(f"{name}: expected real numbers, got {array.dtype}; take real parts or magnitudes first")


def host_values(array: Any) -> np.ndarray | None:
    """The values of a concrete array on the host; ``None`` for a tracer or an array spread over several processes."""
    if isinstance(array, jax.core.Tracer) or (isinstance(array, jax.Array) and not array.is_fully_addressable):
        return None
    return np.asarray(jax.device_get(array))


def aligned(output: Array, y: Array) -> tuple[Array, Array]:
    """Output and target with one shape and one dtype, for a comparison element by element.

    Args:
        output: ``[batch, …]``, or ``[batch, …, 1]`` for a ``y`` without the last axis, which is then dropped.
        y: ``[batch, …]``, numbers of any kind.

    Returns:
        Both in the shape of ``y``, in float32 at least.

    Raises:
        TypeError: One of them is complex.
        ValueError: The shapes differ otherwise; nothing is broadcast.
    """
    output = at_least_float32(output)
    _check_real("y", y)
    if output.shape == (*y.shape, 1):
        output = output[..., 0]
    if output.shape != y.shape:
        raise ValueError(
            f"y: its shape {y.shape} does not match the output's shape {output.shape}; "
            "expected the same shape, or an output with a last axis of 1 more"
        )
    return output, jnp.asarray(y, output.dtype)


def probabilities(output: Array, y: Array) -> tuple[Array, Array]:
    """As :func:`aligned`, for targets that are probabilities or binary labels.

    Raises:
        ValueError: The shapes differ, or a target lies outside [0, 1].
    """
    output, aligned_y = aligned(output, y)
    values = host_values(y)
    if values is not None:
        _refuse(~((values >= 0) & (values <= 1)), values, "targets", "[0, 1]", "")
    return output, aligned_y


def binary_labels(output: Array, y: Array) -> tuple[Array, Array]:
    """As :func:`aligned`, with the label as a bool: 1 and ``True`` are true; 0, −1 and ``False`` are not.

    Raises:
        ValueError: The shapes differ, a label is none of these, or 0 and −1 both occur.
    """
    output, _ = aligned(output, y)
    values = host_values(y)
    if values is not None:
        values = values.astype(np.float64)
        _refuse(~np.isin(values, (-1, 0, 1)), values, "labels", "{0, 1} or {-1, 1}", "")
        if (values == 0).any() and (values == -1).any():
            raise ValueError("y: expected labels in {0, 1} or in {-1, 1}, got both 0 and -1")
    return output, jnp.asarray(y) > 0


def is_binary(output: Array, y: Array) -> bool:
    """Whether an output is one logit per example: ``[batch]``, or ``[…, 1]`` with or without the last axis in ``y``."""
    if y.shape == output.shape:
        return output.ndim == 1 or output.shape[-1:] == (1,)
    return output.shape == (*y.shape, 1)


def class_labels(scores: Array, y: Array) -> Array:
    """Integer labels that fit the scores of classes; those of one-hot or soft targets are their largest entries.

    Args:
        scores: ``[…, classes]``.
        y: ``[…]`` integers, or ``[…, classes]`` one-hot or soft.

    Returns:
        ``[…]`` int32.

    Raises:
        TypeError: ``y`` has the shape of labels and no integer dtype.
        ValueError: The shapes do not match, or a value is out of range.
    """
    _check_classes(scores, y)
    if y.shape == scores.shape:
        return jnp.argmax(jnp.asarray(y), axis=-1).astype(jnp.int32)
    return jnp.asarray(y).astype(jnp.int32)


def pick(scores: Array, y: Array) -> Array:
    """The scores of the target class, or their mean under soft targets.

    Args:
        scores: ``[…, classes]``.
        y: ``[…]`` integers, or ``[…, classes]`` one-hot or soft.

    Returns:
        ``[…]``. Where values cannot be checked (inside jit), a label out of range gives nan.

    Raises:
        TypeError: ``y`` has the shape of labels and no integer dtype.
        ValueError: The shapes do not match, or a value is out of range.
    """
    _check_classes(scores, y)
    if y.shape == scores.shape:
        y = jnp.asarray(y, scores.dtype)
        # A class of probability 0 counts nothing, even at a score of -inf.
        return jnp.sum(jnp.where(y == 0, 0, y * scores), axis=-1)
    labels = jnp.asarray(y).astype(jnp.int32)[..., None]
    # A mask fuses into the neighbouring loops, and its gradient is no scatter.
    hit = jax.lax.broadcasted_iota(jnp.int32, scores.shape, scores.ndim - 1) == labels
    picked = jnp.sum(jnp.where(hit, scores, 0), axis=-1)
    in_range = (labels >= 0) & (labels < scores.shape[-1])
    return jnp.where(in_range[..., 0], picked, jnp.nan)


def _check_classes(scores: Array, y: Array) -> None:
    """Refuses a ``y`` that is neither integer labels nor one-hot or soft targets for the scores."""
    if scores.ndim == 0 or scores.shape[-1] < 2:
        raise ValueError(
            "output: expected the scores of two classes or more in the last axis, "
            f"got the shape {scores.shape}; for one score per example take a binary loss"
        )
    if y.shape == scores.shape:
        _check_distribution(y)
    elif y.shape == scores.shape[:-1]:
        _check_labels(y, scores.shape[-1])
    else:
        raise ValueError(
            f"y: its shape {y.shape} does not match the output's shape {scores.shape}; "
            f"expected integer labels {scores.shape[:-1]} or one-hot targets {scores.shape}"
        )


def _check_labels(y: Array, classes: int) -> None:
    """Refuses labels that are no integers in [0, classes)."""
    if not jnp.issubdtype(y.dtype, jnp.integer):
        hint = "; for two classes and one logit take binary_cross_entropy" if y.dtype == bool else ""
        raise TypeError(f"y: expected labels of an integer dtype, got {y.dtype}{hint}")
    values = host_values(y)
    if values is not None:
        check_in_classes(values, classes)


_noted: ContextVar[list[tuple[np.ndarray, int]] | None] = ContextVar("noted", default=None)


@contextlib.contextmanager
def classes_noted() -> Iterator[list[tuple[np.ndarray, int]]]:
    """Within it every concrete array of integer labels that is checked is noted, with the number of its classes."""
    noted: list[tuple[np.ndarray, int]] = []
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)


def check_in_classes(values: np.ndarray, classes: int) -> None:
    """Refuses labels outside ``[0, classes)``.

    Raises:
        ValueError: There are some; the message counts them and shows the first.
    """
    noted = _noted.get()
    if noted is not None:
        noted.append((values, classes))
    hint = "; a row to be left out takes any label in range and weight 0"
    _refuse((values < 0) | (values >= classes), values, "labels", f"[0, {classes})", hint)


def _check_distribution(y: Array) -> None:
    """Refuses rows that are no probabilities of classes."""
    values = host_values(y)
    if values is None:
        return
    values = values.astype(np.float64)
    _refuse(~((values >= 0) & (values <= 1)), values, "entries", "[0, 1]", "")
    totals = values.sum(axis=-1)
    hint = "; for several true classes in one row take binary_cross_entropy or binary_accuracy"
    # Room for probabilities that were rounded to 16 bits.
    _refuse(np.abs(totals - 1) > 1e-2, totals, "rows", "rows that sum to 1", hint)


def _refuse(wrong: np.ndarray, values: np.ndarray, what: str, expected: str, hint: str) -> None:
    """Raises a ValueError that counts the wrong values and shows the first."""
    if not wrong.any():
        return
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    where = f"row {index[0]}" if len(index) == 1 else f"position {index}"
    raise ValueError(
        f"y: {int(wrong.sum())} of {wrong.size} {what} are not in {expected}: "
        f"the first is {values[index].item()}, in {where}{hint}"
    )
