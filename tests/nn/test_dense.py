"""The dense layer is Flax's."""

import jax
import numpy as np
import pytest
from flax import linen

import stepax as sx

X = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)


@pytest.mark.parametrize("use_bias", [True, False])
def test_same_parameters_and_output_as_flax(use_bias):
    ours = sx.nn.Dense(4, use_bias=use_bias, bias_init=linen.initializers.normal())
    flax = linen.Dense(4, use_bias=use_bias, bias_init=linen.initializers.normal())
    params = ours.init(jax.random.key(0), X)
    jax.tree.map(np.testing.assert_array_equal, params, flax.init(jax.random.key(0), X))
    np.testing.assert_allclose(ours.apply(params, X), flax.apply(params, X), 1e-5, 1e-6)


def test_integers_become_floating():
    y, _ = sx.nn.Dense(2).init_with_output(jax.random.key(0), np.ones((3, 4), int))
    assert y.dtype == np.float32


@pytest.mark.parametrize(("shape", "features"), [((0, 5), 4), ((2, 0, 5), 4)])
def test_what_is_empty_is_so_for_flax_too(shape, features):
    x = np.zeros(shape, np.float32)
    ours, flax = sx.nn.Dense(features), linen.Dense(features)
    params = ours.init(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, params, flax.init(jax.random.key(0), x))
    found, wanted = (jax.value_and_grad(lambda p, m=m: m.apply(p, x).sum())(params) for m in (ours, flax))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), found, wanted)


@pytest.mark.parametrize(
    ("features", "x", "error", "message"),
    [
        (0, X, ValueError, "features: expected at least 1, got 0"),
        (1.5, X, TypeError, "features: expected a whole number"),
        (4, np.float32(1), ValueError, r"x: expected the shape .* at least one input, got \(\)"),
        (4, X[..., :0], ValueError, r"x: expected the shape .* at least one input, got \(2, 3, 0\)"),
    ],
)
def test_what_makes_no_layer_is_named(features, x, error, message):
    with pytest.raises(error, match=message):
        sx.nn.Dense(features).init(jax.random.key(0), x)
