"""The models of the command line that are for texts, by name: those that go on with a text, and classifiers."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from stepax import nn
from stepax.checks import check_count
from stepax.cli.models import Choice
from stepax.cli.texts import Form

__all__ = ["NAMES", "TEXT_MODELS", "Sizes", "module"]


class Sizes(NamedTuple):
    """What a model's sizes follow from.

    Attributes:
        outputs: The width of its output.
        vocabulary: How many tokens there are.
        context: How many it sees at most.
    """

    outputs: int
    vocabulary: int
    context: int


def _decoder(sizes: Sizes, options: Mapping[str, Any]) -> Any:
    own = {"features": options["width"], **{name: options[name] for name in ("layers", "heads", "dropout")}}
    return nn.Decoder(sizes.vocabulary, context=sizes.context, **own)


def _language_lstm(sizes: Sizes, options: Mapping[str, Any]) -> Any:
    from stepax.text.language_model import LSTMLanguageModel

    own = {"features": options["width"], "layers": options["layers"], "dropout": options["dropout"]}
    return LSTMLanguageModel(sizes.vocabulary, **own)


def _textcnn(sizes: Sizes, options: Mapping[str, Any]) -> Any:
    from stepax.text.classification import TextCNN

    if len(options["features"]) != 1:
        raise ValueError(f"--features: expected one number for textcnn, got {len(options['features'])}")
    own = {"features": options["width"], "maps": options["features"][0], "windows": options["kernel"]}
    return TextCNN(sizes.vocabulary, sizes.outputs, **own, dropout=options["dropout"])


def _lstm(sizes: Sizes, options: Mapping[str, Any]) -> Any:
    from stepax.text.classification import TextLSTM

    own = {name: options[name] for name in ("width", "layers", "dropout")}
    return TextLSTM(sizes.vocabulary, sizes.outputs, features=options["width"], **own)


def _transformer(sizes: Sizes, options: Mapping[str, Any]) -> Any:
    from stepax.text.classification import TextTransformer

    own = {"features": options["width"], **{name: options[name] for name in ("layers", "heads", "dropout")}}
    return TextTransformer(sizes.vocabulary, sizes.outputs, context=sizes.context, **own)


TEXT_MODELS: dict[Form, dict[str, Choice]] = {
    "text": {
        "transformer": Choice(
            _decoder,
            {"width": 128, "layers": 4, "heads": 4, "dropout": 0.0},
            "attention to all tokens; to go on with a text, or for texts with classes",
        ),
        "lstm": Choice(
            _language_lstm,
            {"width": 256, "layers": 2, "dropout": 0.0},
            "long short-term memory; to go on with a text, or for texts with classes",
        ),
    },
    "texts": {
        "textcnn": Choice(
            _textcnn,
            {"features": (100,), "width": 128, "kernel": (3, 4, 5), "dropout": 0.5},
            "convolutions over tokens; for texts with classes",
        ),
        "lstm": Choice(_lstm, {"width": 128, "layers": 1, "dropout": 0.5}, ""),
        "transformer": Choice(_transformer, {"width": 128, "layers": 2, "heads": 4, "dropout": 0.1}, ""),
    },
}
"""The first of each is the default."""

NAMES = tuple(dict.fromkeys(name for models in reversed(TEXT_MODELS.values()) for name in models))
"""All of them."""


def module(form: Form, name: str, sizes: Sizes, options: Mapping[str, Any]) -> Any:
    """The Linen module of a model.

    Args:
        form: ``text`` or ``texts``.
        name: A key of ``TEXT_MODELS[form]``.
        sizes: What its sizes follow from.
        options: Its options, all of them.

    Raises:
        ValueError: An option is out of range.
    """
    for option in ("width", "layers", "heads"):
        check_count(f"--{option}", options.get(option, 1))
    if options.get("width", 0) % options.get("heads", 1):
        raise ValueError(f"--heads: {options['heads']} heads do not divide a --width of {options['width']}")
    if not 0 <= options["dropout"] < 1:
        raise ValueError(f"--dropout: expected a number from 0 to below 1, got {options['dropout']}")
    for option in ("features", "kernel"):
        if option in options and (not options[option] or min(options[option]) < 1):
            raise ValueError(f"--{option}: expected whole numbers of at least 1, got {options[option]}")
    return TEXT_MODELS[form][name].make(sizes, options)
