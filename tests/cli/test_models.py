import jax.numpy as jnp
import pytest

from stepax import nn
from stepax.cli import options, text_models
from stepax.cli.models import ACTIVATIONS, MODELS, module


def test_help_names_the_models_and_activations_there_are():
    assert options.MODELS.split("|") == [*MODELS, *text_models.NAMES]
    assert options.ACTIVATIONS.split("|") == list(ACTIVATIONS)


def test_every_option_reaches_the_cnn():
    given = {
        "features": (3,),
        "dense": (5,),
        "kernel": (5, 5),
        "dropout": 0.1,
        "normalize": "no",
        "activation": "tanh",
    }
    expected = nn.CNN((3,), (5,), 2, (5, 5), activation=jnp.tanh, normalize=False, dropout=0.1)
    made = module("cnn", 2, given)
    assert {name: getattr(made, name) for name in given} == {name: getattr(expected, name) for name in given}
    assert made.classes == 2


def test_every_option_reaches_the_mlp():
    made = module("mlp", 2, {"dense": (5, 4), "dropout": 0.1, "normalize": "yes", "activation": "gelu"})
    assert (tuple(made.features), made.dropout, made.normalize) == ((5, 4, 2), 0.1, True)
    assert made.activation is ACTIVATIONS["gelu"]


def test_the_linear_model_and_the_perceptron_have_no_options():
    assert tuple(module("linear", 3, {}).features) == (3,)
    assert module("perceptron", 4, {}).features == 4


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("dropout", 1.0, "--dropout"),
        ("dropout", -0.1, "--dropout"),
        ("activation", "rely", "did you mean 'relu'"),
        ("features", (8, 0), "--features"),
        ("dense", (-1,), "--dense"),
        ("kernel", (0, 3), "--kernel"),
        ("kernel", (3, 4, 5), "--kernel: expected height and width for cnn, got 3 4 5"),
    ],
)
def test_options_out_of_range_are_refused(option, value, message):
    with pytest.raises(ValueError, match=message):
        module("cnn", 2, {**MODELS["cnn"].options, option: value})
