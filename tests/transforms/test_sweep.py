"""Lanes with settings of their own against the runs that have them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.transforms.learners import batch_of, close

import stepax as sx

MODEL = sx.nn.MLP((7, 3))


def learner(rate=0.1, smoothing=0.0, steps=10):
    def loss(output, batch):
        return (1 - smoothing) * sx.losses.cross_entropy(output, batch) + smoothing * (output**2).mean(-1)

    return sx.supervised(MODEL, loss, optax.adam(optax.cosine_decay_schedule(rate, steps)))


def double(tree):
    return jax.tree.map(lambda a: a.astype(float) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


def test_every_lane_is_the_run_with_its_values(x64):
    axes = sx.grid(rate=[0.1, 0.01], smoothing=[0.0, 0.3])
    many, data = sx.sweep(learner, **axes), batch_of(6)
    together = double(jax.jit(many.init)(jax.random.key(0), data))
    keys = jax.random.split(jax.random.key(0), 4)
    makers = [learner(**{name: values[k] for name, values in axes.items()}) for k in range(4)]
    singles = [double(jax.jit(maker.init)(key, data)) for maker, key in zip(makers, keys, strict=True)]
    for _ in range(3):
        together, metrics = jax.jit(many.step)(together, data)
        for k, maker in enumerate(makers):
            singles[k], own = jax.jit(maker.step)(singles[k], data)
            close(jax.tree.map(lambda a, k=k: a[k], metrics), own, 1e-9)
    measured, output = many.evaluate(together, data, jax.random.key(1)), many.predict(together, data["x"])
    for k, maker in enumerate(makers):
        one = sx.lane(together, k)
        assert set(one.extra) == {"sweep"}
        close(one._replace(extra={}), singles[k], 1e-9)
        close(jax.tree.map(lambda a, k=k: a[k], measured), maker.evaluate(singles[k], data, jax.random.key(1)), 1e-9)
        close(output[:, k], maker.predict(singles[k], data["x"]), 1e-9)


def test_the_state_tells_its_values_and_keeps_them():
    many, data = sx.sweep(learner, rate=[0.1, 0.2, 0.3]), batch_of(6)
    state = many.init(jax.random.key(0), data)
    after, _ = jax.jit(many.step)(state, data)
    np.testing.assert_array_equal(after.extra["sweep"]["rate"], np.float32([0.1, 0.2, 0.3]))
    assert jax.eval_shape(lambda s: s, after) == jax.eval_shape(lambda s: s, state)


def test_dropout_can_vary():
    def make(rate):
        return sx.supervised(sx.nn.MLP((50, 3), dropout=rate), sx.losses.cross_entropy, optax.sgd(0.1))

    data, rates = batch_of(6), [0.0, 0.5]
    many = sx.sweep(make, rate=rates)
    state = jax.jit(many.init)(jax.random.key(0), data)
    after, _ = jax.jit(many.step)(state, data)
    for k, rate in enumerate(rates):
        single, _ = jax.jit(make(rate).step)(make(rate).init(jax.random.split(jax.random.key(0), 2)[k], data), data)
        close(sx.lane(after, k).params, single.params, 1e-6)


def test_several_seeds_of_every_value():
    many, data = sx.population(sx.sweep(learner, rate=[0.1, 0.2]), 3), batch_of(6)
    run = sx.fit(many, data, key=jax.random.key(0), epochs=3, batch_size=4, validation=data, patience=2, progress=False)
    assert np.shape(run.history["loss"]) == (3, 3, 2)
    assert np.shape(run.record["best"]["epoch"]) == (3, 2)
    assert sx.predict(many, run.state, data["x"]).shape == (6, 3, 2, 3)
    assert sx.evaluate(many, run.state, data)["loss"].shape == (3, 2)


def test_a_grid_is_every_combination():
    assert sx.grid(a=[1, 2], b=[3, 4, 5]) == {"a": [1, 1, 1, 2, 2, 2], "b": [3, 4, 5, 3, 4, 5]}


@pytest.mark.parametrize(
    ("axes", "error", "message"),
    [
        ({}, ValueError, "axes: expected values by name"),
        ({"rate": ["a"]}, TypeError, r"rate: expected numbers, got \['a'\]"),
        ({"rate": 0.1}, ValueError, "rate: expected a list of one value or more, got 0.1"),
        ({"rate": []}, ValueError, r"rate: expected a list of one value or more, got \[\]"),
        ({"rate": [0.1, np.inf]}, ValueError, "rate: expected finite numbers"),
        ({"rate": [0.1], "smoothing": [0, 1]}, ValueError, "axes: there are 1 of rate, 2 of smoothing"),
    ],
)
def test_bad_values_are_refused(axes, error, message):
    with pytest.raises(error, match=message):
        sx.sweep(learner, **axes)


def test_what_is_no_factory_is_refused():
    with pytest.raises(TypeError, match="make: expected a function that makes a learner, got Learner"):
        sx.sweep(learner(), rate=[0.1])


def test_a_value_that_changes_shapes_is_refused_by_its_name():
    def make(rate, width):
        return sx.supervised(sx.nn.MLP((int(width), 3)), sx.losses.cross_entropy, optax.sgd(rate))

    many = sx.sweep(make, rate=[0.1, 0.2], width=[4, 8])
    with pytest.raises(
        ValueError, match="width: make cannot take it as a traced number: 4 and 8 give states of different shapes"
    ):
        many.init(jax.random.key(0), batch_of(6))


def test_a_value_that_python_decides_by_is_refused_by_its_name():
    def make(rate, heavy):
        return sx.supervised(MODEL, sx.losses.cross_entropy, optax.sgd(rate, momentum=0.9 if heavy > 0.5 else 0.8))

    many = sx.sweep(make, rate=[0.1, 0.2], heavy=[0.0, 1.0])
    with pytest.raises(ValueError, match="heavy: make cannot take it as a traced number"):
        many.init(jax.random.key(0), batch_of(6))
