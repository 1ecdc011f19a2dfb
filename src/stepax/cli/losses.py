"""The losses of the command line by name, and which targets each is for."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stepax import losses
from stepax.cli.choices import chosen
from stepax.data import Dataset
from stepax.typing import Loss

__all__ = ["LOSSES", "Choice", "Kind", "default_loss", "kind_of", "loss_for", "probabilities", "width"]

Kind = Literal["classes", "binary", "labels", "numbers", "tokens"]
"""What a target is: one of several classes, one of two, several labels that are each true or not, numbers, or of every
token of a text the next one."""


class Choice(NamedTuple):
    """A loss, the kinds of target that it is for, and the function from outputs to probabilities, if there is one."""

    function: Loss
    kinds: tuple[Kind, ...]
    link: Literal["softmax", "sigmoid"] | None = None


LOSSES: dict[str, Choice] = {
    "cross-entropy": Choice(losses.cross_entropy, ("classes", "binary", "tokens"), "softmax"),
    "multiclass-hinge": Choice(losses.multiclass_hinge, ("classes", "binary")),
    "binary-cross-entropy": Choice(losses.binary_cross_entropy, ("binary", "labels"), "sigmoid"),
    "hinge": Choice(losses.hinge, ("binary", "labels")),
    "mean-squared-error": Choice(losses.mean_squared_error, ("numbers",)),
    "mean-absolute-error": Choice(losses.mean_absolute_error, ("numbers",)),
    "huber": Choice(losses.huber, ("numbers",)),
}

DEFAULTS: dict[Kind, str] = {
    "classes": "cross-entropy",
    "binary": "binary-cross-entropy",
    "labels": "binary-cross-entropy",
    "numbers": "mean-squared-error",
    "tokens": "cross-entropy",
}

NAMES: dict[Kind, str] = {
    "classes": "several classes",
    "binary": "two classes",
    "labels": "labels that are each true or not",
    "numbers": "numbers",
    "tokens": "tokens of a text",
}


def kind_of(dataset: Dataset) -> Kind:
    """What the target of a data set is.

    Raises:
        ValueError: It has fewer than two classes, more than two axes, or several columns that are not all 0 or 1.
    """
    y = dataset.train["y"]
    if y.ndim > 2:
        raise ValueError(f"{dataset.name}: expected targets of shape [n] or [n, columns], got {list(y.shape)}")
    if dataset.task == "regression":
        return "numbers"
    if y.ndim == 2:
        if not np.isin(y, (0, 1)).all():
            raise ValueError(f"{dataset.name}: expected 0 or 1 in targets of several columns, got other numbers")
        return "labels"
    count = len(dataset.classes or ())
    if count < 2:
        raise ValueError(f"{dataset.name}: expected at least two classes to tell apart, got {count}")
    return "binary" if count == 2 else "classes"


def default_loss(kind: Kind) -> str:
    """The name of the usual loss for a kind of target."""
    return DEFAULTS[kind]


def loss_for(name: str, kind: Kind) -> Loss:
    """The loss of a name.

    Raises:
        ValueError: There is no such loss, or it is not for this kind of target.
    """
    choice = chosen("loss", LOSSES, name)
    if kind not in choice.kinds:
        fitting = ", ".join(other for other, entry in LOSSES.items() if kind in entry.kinds)
        raise ValueError(f"--loss {name} is not for {NAMES[kind]}; there are {fitting}")
    return choice.function


def width(name: str, kind: Kind, columns: int, classes: int) -> int:
    """The width of the output that a loss needs.

    Args:
        name: The loss.
        kind: The kind of target.
        columns: The columns of the target.
        classes: The number of classes, for ``classes``, ``binary`` and ``tokens``.
    """
    return classes if "classes" in LOSSES[name].kinds else 1 if kind == "binary" else columns


def probabilities(name: str, output: np.ndarray) -> np.ndarray | None:
    """The probabilities that an output stands for.

    Args:
        name: The loss that the model was trained with.
        output: ``[n, width]``.

    Returns:
        ``[n, classes]`` that sum to 1, or ``[n, labels]`` each for itself; one logit becomes two classes. ``None``
        where the loss gives scores without such a meaning.
    """
    link = LOSSES[name].link if name in LOSSES else None
    if link == "softmax":
        return np.asarray(jax.nn.softmax(jnp.asarray(output), axis=-1))
    if link == "sigmoid":
        positive = np.asarray(jax.nn.sigmoid(jnp.asarray(output)))
        return positive if output.shape[-1] > 1 else np.concatenate([1 - positive, positive], axis=-1)
    return None
