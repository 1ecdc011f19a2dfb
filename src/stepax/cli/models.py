"""The models of the command line by name."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from stepax import nn
from stepax.cli.choices import chosen

__all__ = ["ACTIVATIONS", "MODELS", "PERCEPTRON", "Choice", "module"]

PERCEPTRON = "perceptron"

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "tanh": nn.tanh,
    "sigmoid": nn.sigmoid,
    "elu": nn.elu,
    "leaky-relu": nn.leaky_relu,
    "gelu": jax.nn.gelu,
}


class Choice(NamedTuple):
    """A kind of model.

    Attributes:
        make: ``(outputs, options) -> module``; of models for texts ``(sizes, options) -> module``.
        options: The options it has, with their defaults.
        about: A line for ``stepax info``.
    """

    make: Callable[[Any, Mapping[str, Any]], Any]
    options: Mapping[str, Any]
    about: str


def _cnn(outputs: int, options: Mapping[str, Any]) -> nn.CNN:
    features, dense, kernel = (options[name] for name in ("features", "dense", "kernel"))
    if len(kernel) != 2:
        raise ValueError(f"--kernel: expected height and width for cnn, got {' '.join(map(str, kernel)) or 'nothing'}")
    return nn.CNN(features, dense, outputs, kernel, **_shared(options))


def _mlp(outputs: int, options: Mapping[str, Any]) -> nn.MLP:
    return nn.MLP((*options["dense"], outputs), **_shared(options))


def _shared(options: Mapping[str, Any]) -> dict[str, Any]:
    if not 0 <= options["dropout"] < 1:
        raise ValueError(f"--dropout: expected a number from 0 to below 1, got {options['dropout']}")
    return {
        "dropout": options["dropout"],
        "normalize": options["normalize"] == "yes",
        "activation": chosen("activation", ACTIVATIONS, options["activation"]),
    }


MODELS: dict[str, Choice] = {
    "cnn": Choice(
        _cnn,
        {
            "features": (32, 64),
            "dense": (128,),
            "kernel": (3, 3),
            "dropout": 0.3,
            "normalize": "yes",
            "activation": "relu",
        },
        "convolutions with pooling, then dense layers; for images",
    ),
    "mlp": Choice(
        _mlp,
        {"dense": (64, 64), "dropout": 0.2, "normalize": "no", "activation": "relu"},
        "dense layers with a non-linearity between them",
    ),
    "linear": Choice(lambda outputs, options: nn.MLP((outputs,)), {}, "logistic or linear regression"),
    PERCEPTRON: Choice(
        lambda outputs, options: nn.Perceptron(outputs), {}, "threshold units with Rosenblatt's rule; for two classes"
    ),
}


def module(name: str, outputs: int, options: Mapping[str, Any]) -> Any:
    """The Linen module of a model.

    Args:
        name: A key of ``MODELS``.
        outputs: The width of its output.
        options: Its options, all of them.

    Raises:
        ValueError: An option is out of range.
    """
    for option in ("features", "dense", "kernel"):
        if any(width < 1 for width in options.get(option, ())):
            raise ValueError(f"--{option}: expected whole numbers of at least 1, got {options[option]}")
    return MODELS[name].make(outputs, options)
