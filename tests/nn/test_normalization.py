"""Batch normalisation is Flax's in outputs, statistics and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import stepax as sx

X = (3 + 2 * np.random.default_rng(0).normal(size=(4, 5, 3))).astype(np.float32)
PARAMS = {"scale": np.float32([1, 2, -1]), "bias": np.float32([0.5, 0, 1])}
STATISTICS = {"mean": np.float32([1, 2, 3]), "var": np.float32([4, 1, 2])}


def test_equals_flax_in_training_and_inference():
    state = {"params": PARAMS, "batch_stats": STATISTICS}
    ours, flax = sx.nn.BatchNorm(), linen.BatchNorm(momentum=0.9)
    np.testing.assert_allclose(ours.apply(state, X), flax.apply(state, X, use_running_average=True), 1e-5, 1e-5)
    a, statistics = ours.apply(state, X, True, mutable=["batch_stats"])
    b, expected = flax.apply(state, X, use_running_average=False, mutable=["batch_stats"])
    np.testing.assert_allclose(a, b, 1e-4, 1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5), statistics, expected)


def test_gradients_equal_those_of_flax(x64):
    def loss(module, *train, **settings):
        def run(params, x):
            state = {"params": params, "batch_stats": STATISTICS}
            return jnp.sin(module.apply(state, x, *train, mutable=["batch_stats"], **settings)[0]).sum()

        return jax.jit(jax.grad(run, (0, 1)))

    x, params = jnp.float64(X), jax.tree.map(jnp.float64, PARAMS)
    ours = loss(sx.nn.BatchNorm(), True)(params, x)
    flax = loss(linen.BatchNorm(momentum=0.9), use_running_average=False)(params, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-6, 1e-8), ours, flax)


def test_by_hand():
    x = jnp.array([[1.0], [3.0]])
    y, variables = sx.nn.BatchNorm(epsilon=0.0).init_with_output(jax.random.key(0), x, True)
    np.testing.assert_allclose(y, [[-1], [1]], 1e-6)
    assert variables["batch_stats"] == {"mean": 0, "var": 1}


def test_the_field_overrules_the_call():
    state = {"params": PARAMS, "batch_stats": STATISTICS}
    fixed = sx.nn.BatchNorm(use_running_average=True)
    np.testing.assert_array_equal(fixed.apply(state, X, True), sx.nn.BatchNorm().apply(state, X))


@pytest.mark.parametrize("train", [True, False])
def test_half_precision_keeps_its_dtype_and_exact_statistics(train):
    half = jnp.asarray(X, jnp.bfloat16)
    state = {"params": PARAMS, "batch_stats": STATISTICS}
    y, changed = sx.nn.BatchNorm().apply(state, half, train, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(changed)} == {np.dtype(np.float32)}


def test_whole_numbers_are_not_cut():
    x = np.array([[1, 4], [3, 0]], np.int32)
    layer = sx.nn.BatchNorm()
    variables = layer.init(jax.random.key(0), x)
    y, _ = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y, [[-1, 1], [1, -1]], 1e-4)


@pytest.mark.parametrize("train", [True, False])
def test_an_empty_batch_is_as_for_flax(train):
    state = {"params": PARAMS, "batch_stats": STATISTICS}
    ours, flax = (
        jax.value_and_grad(
            lambda p, m=m, s=s: m.apply({**state, "params": p}, X[:0], mutable=["batch_stats"], **s)[0].sum()
        )(PARAMS)
        for m, s in (
            (sx.nn.BatchNorm(), {"train": train}),
            (linen.BatchNorm(momentum=0.9), {"use_running_average": not train}),
        )
    )
    jax.tree.map(np.testing.assert_array_equal, ours, flax)


@pytest.mark.parametrize(
    ("settings", "x", "message"),
    [
        ({"momentum": 1.5}, X, r"momentum: expected a number in \[0, 1\], got 1\.5"),
        ({"momentum": float("nan")}, X, "momentum: expected"),
        ({"epsilon": -1e-5}, X, "epsilon: expected a number of at least 0"),
        ({}, np.float32(1), "x: expected the shape .*, got a scalar"),
    ],
)
def test_bad_settings_are_named(settings, x, message):
    with pytest.raises(ValueError, match=message):
        sx.nn.BatchNorm(**settings).init(jax.random.key(0), x)
