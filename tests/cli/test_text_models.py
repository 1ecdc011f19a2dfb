import dataclasses

import jax
import jax.numpy as jnp
import pytest

from stepax.cli.text_models import NAMES, TEXT_MODELS, Sizes, module

SIZES = Sizes(5, 7, 12)
KINDS = [(form, name) for form, models in TEXT_MODELS.items() for name in models]


def test_every_model_has_one_name():
    assert NAMES == ("textcnn", "lstm", "transformer")


@pytest.mark.parametrize(("form", "name"), KINDS)
def test_every_option_reaches_the_model(form, name):
    given = {"width": 8, "layers": 3, "heads": 2, "dropout": 0.25, "features": (6,), "kernel": (2, 3, 4)}
    own = {option: given[option] for option in TEXT_MODELS[form][name].options}
    made = module(form, name, SIZES, own)
    named = {"features": "width", "maps": "features", "windows": "kernel"}
    expected = {"vocabulary": 7, "classes": 5, "context": 12, **given, "maps": 6, "features": 8, "windows": (2, 3, 4)}
    fields = [field.name for field in dataclasses.fields(made) if field.name in expected]
    assert {named.get(field, field) for field in fields} >= own.keys()
    assert {field: getattr(made, field) for field in fields} == {field: expected[field] for field in fields}


@pytest.mark.parametrize(("form", "name"), KINDS)
def test_a_text_goes_on_with_tokens_and_texts_are_answered_with_classes(form, name):
    made = module(form, name, Sizes(7 if form == "text" else 5, 7, 12), TEXT_MODELS[form][name].options)
    tokens = jnp.zeros((2, 12), jnp.int32)
    output, _ = jax.eval_shape(made.init_with_output, jax.random.key(0), tokens)
    assert output.shape == ((2, 12, 7) if form == "text" else (2, 5))


@pytest.mark.parametrize(
    ("form", "name", "change", "message"),
    [
        ("text", "transformer", {"heads": 3}, "--heads: 3 heads do not divide a --width of 128"),
        ("text", "transformer", {"layers": 0}, "--layers: expected at least 1, got 0"),
        ("text", "lstm", {"width": 0}, "--width: expected at least 1, got 0"),
        ("text", "lstm", {"dropout": 1.0}, "--dropout: expected a number from 0 to below 1, got 1.0"),
        ("texts", "textcnn", {"features": (3, 4)}, "--features: expected one number for textcnn, got 2"),
        ("texts", "textcnn", {"kernel": ()}, "--kernel: expected whole numbers of at least 1"),
        ("texts", "textcnn", {"kernel": (0, 1)}, "--kernel: expected whole numbers of at least 1"),
    ],
)
def test_options_out_of_range_are_refused(form, name, change, message):
    with pytest.raises(ValueError, match=message):
        module(form, name, SIZES, {**TEXT_MODELS[form][name].options, **change})
