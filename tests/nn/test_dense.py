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
