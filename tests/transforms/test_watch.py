"""Norms and ratios by hand, and a training that stays as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.transforms.learners import batch_of, close, cnn, start

import stepax as sx
from stepax.transforms.accumulate import accumulate
from stepax.transforms.watch import watch


def linear():
    """y = w x, with w = 2, learnt by SGD at rate 1/8: for x = 1 and y = 0 the gradient is 4, the update −1/2."""

    def init(key, batch):
        return sx.new_state(key, {"w": jnp.full(1, 2.0), "b": jnp.zeros(1)}, {}, ())

    def step(state, batch, gradient=sx.gradient):
        def objective(params, variables, batch, key):
            return (params["w"] * batch["x"] - batch["y"]) ** 2, (variables, {})

        grads, _, metrics = gradient(objective, state.params, {}, batch, state.key)
        params, _, _ = sx.update(optax.sgd(1 / 8), grads, optax.sgd(1 / 8).init(state.params), state.params)
        return state._replace(params=params, step=state.step + 1), metrics

    return sx.Learner(init, step, None, None)


BATCH = {"x": np.ones(3, np.float32), "y": np.zeros(3, np.float32)}


def test_by_hand():
    learner = watch(linear(), layers=True)
    state, metrics = jax.jit(learner.step)(learner.init(jax.random.key(0), BATCH), BATCH)
    assert state.params["w"] == 1.5
    wanted = {"gradient_norm": 4, "gradient_norm/w": 4, "gradient_norm/b": 0}
    wanted |= {"update_ratio": 0.25, "update_ratio/w": 0.25, "update_ratio/b": 0}
    assert {name: float(metrics[name]) for name in wanted} == wanted
    assert metrics.keys() == {*wanted, "loss", "weight"}


def test_without_layers_there_are_two_metrics():
    learner = watch(linear())
    _, metrics = learner.step(learner.init(jax.random.key(0), BATCH), BATCH)
    assert metrics.keys() == {"gradient_norm", "update_ratio", "loss", "weight"}


def test_norms_are_those_of_optax_and_training_stays_as_it_is(x64):
    data = batch_of(6, (6, 6, 1))
    state, found = start(cnn(), data), []

    def gradient(*arguments):
        grads, *rest = sx.gradient(*arguments)
        found.append(optax.tree.norm(grads))
        return grads, *rest

    ours, metrics = watch(cnn()).step(state, data, gradient)
    theirs, _ = cnn().step(state, data)
    close(ours, theirs, 1e-12)
    np.testing.assert_allclose(metrics["gradient_norm"], found[0], 1e-12)
    moved = jax.tree.map(jnp.subtract, theirs.params, state.params)
    np.testing.assert_allclose(metrics["update_ratio"], optax.tree.norm(moved) / optax.tree.norm(state.params), 1e-12)


def test_outside_of_accumulation_the_norm_is_that_of_the_whole_and_inside_the_mean_of_the_parts(x64):
    data = {"x": np.array([1.0, 3.0]), "y": np.zeros(2)}
    state = linear().init(jax.random.key(0), data)
    # The gradients of the two parts are 4 and 36.
    _, parts = watch(accumulate(linear(), 2)).step(state, data)
    _, whole = accumulate(watch(linear()), 2).step(state, data)
    assert parts["gradient_norm"] == 20
    assert whole["gradient_norm"] == 20
    data["x"] = np.array([1.0, -3.0])
    data["y"] = np.array([0.0, -12.0])
    # (2 · 1 − 0) · 2 · 1 = 4 and (2 · −3 + 12) · 2 · −3 = −36: norms of 4 and 36, a mean gradient of −16.
    _, parts = watch(accumulate(linear(), 2)).step(state, data)
    _, whole = accumulate(watch(linear()), 2).step(state, data)
    assert parts["gradient_norm"] == 20
    assert whole["gradient_norm"] == 16


def test_stands_in_the_history():
    learner = watch(cnn())
    run = sx.fit(learner, batch_of(6, (6, 6, 1)), key=jax.random.key(0), epochs=2, batch_size=3, progress=False)
    assert len(run.history["gradient_norm"]) == 2
    assert all(np.isfinite(run.history["update_ratio"]))


def test_what_is_no_learner_is_refused():
    with pytest.raises(TypeError, match="learner: expected a stepax"):
        watch(sx.nn.MLP((2,)))
