"""Means and spreads of many models."""

import jax
import numpy as np
import pytest
from tests.transforms.learners import batch_of, mlp, start

import stepax as sx


def test_mean_and_spread_are_those_of_the_single_predictions():
    many, data = sx.population(mlp(), 4), batch_of(7)
    state = start(many, data)
    outputs = np.stack([sx.predict(mlp(), sx.lane(state, k), data["x"]) for k in range(4)])
    found = sx.ensemble(many, state, data["x"], batch_size=3)
    np.testing.assert_allclose(found.mean, outputs.mean(0), 1e-5, 1e-6)
    np.testing.assert_allclose(found.spread, outputs.std(0), 1e-4, 1e-6)


def test_classifiers_are_averaged_in_probabilities():
    many, data = sx.population(mlp(), 4), batch_of(7)
    state = start(many, data)
    outputs = np.stack([sx.predict(mlp(), sx.lane(state, k), data["x"]) for k in range(4)])
    found = sx.ensemble(many, state, data["x"], link=jax.nn.softmax)
    np.testing.assert_allclose(found.mean, np.asarray(jax.nn.softmax(outputs)).mean(0), 1e-5, 1e-6)
    np.testing.assert_allclose(found.mean.sum(-1), 1, 1e-5)
    assert (found.mean.argmax(-1) != outputs.mean(0).argmax(-1)).sum() <= 1


def test_a_second_call_compiles_nothing():
    many, data = sx.population(mlp(), 2), batch_of(4)
    state = start(many, data)
    sx.ensemble(many, state, data["x"], link=jax.nn.softmax)
    with jax.no_tracing(True):
        sx.ensemble(many, state, data["x"], link=jax.nn.softmax)


def test_a_single_model_is_refused():
    data = batch_of(4)
    with pytest.raises(ValueError, match="state: expected that of a population"):
        sx.ensemble(mlp(), start(mlp(), data), data["x"])
    with pytest.raises(TypeError, match=r"learner: expected a stepax\.Learner"):
        sx.ensemble(sx.nn.MLP((3,)), start(mlp(), data), data["x"])


def test_half_precision_is_averaged_exactly():
    many, data = sx.population(mlp(), 600), batch_of(4)
    state = start(many, data)
    ones = many._replace(predict=lambda state, x: jax.numpy.ones((len(x), 600), jax.numpy.bfloat16))
    found = sx.ensemble(ones, state, data["x"])
    np.testing.assert_array_equal(found.mean, np.ones(4))
    np.testing.assert_array_equal(found.spread, np.zeros(4))
