"""A supervised step by hand, and what a learner refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import stepax as sx

BATCH = {"x": np.float32([[1, 0], [0, 2]]), "y": np.float32([1, 3])}


def plane(w=(0.0, 0.0)):
    """``x w``, with a count of its calls in training."""
    return sx.Model(
        lambda key, x: ({"w": jnp.array(w, jnp.float32)}, {"calls": jnp.int32(0)}),
        lambda params, variables, x, *, train, key: (x @ params["w"], {"calls": variables["calls"] + train}),
    )


def learner(loss=sx.losses.mean_squared_error, optimizer=None, **metrics):
    return sx.supervised(plane(), loss, optimizer or optax.sgd(0.5), metrics=metrics)


def test_a_step_by_hand():
    # Errors -1 and -3: gradient mean(2 e x) = (-1, -6), loss (1 + 9) / 2.
    own = learner(error=sx.losses.mean_absolute_error)
    state, metrics = own.step(own.init(jax.random.key(0), BATCH), BATCH)
    np.testing.assert_allclose(state.params["w"], [0.5, 3])
    assert metrics == {"loss": 5, "error": 2, "weight": 2}
    assert state.variables == {"calls": 1}
    assert state.step == 1


def test_a_weighted_step_by_hand():
    batch = {**BATCH, "weight": np.float32([3, 1])}
    own = learner()
    state, metrics = own.step(own.init(jax.random.key(0), batch), batch)
    np.testing.assert_allclose(state.params["w"], [0.75, 1.5])  # gradient (3 (-2), -12) / 4
    assert metrics == {"loss": 3, "weight": 4}  # (3 · 1 + 9) / 4


def test_evaluate_and_predict_change_nothing():
    own = learner(error=sx.losses.mean_absolute_error)
    state = own.init(jax.random.key(0), BATCH)._replace(params={"w": jnp.float32([1, 1])})
    assert own.evaluate(state, BATCH, jax.random.key(1)) == {"loss": 0.5, "error": 0.5, "weight": 2}
    np.testing.assert_array_equal(own.predict(state, BATCH["x"]), [1, 2])


def test_the_first_state():
    key = jax.random.key(4)
    model = sx.as_model(linen.Dense(2))
    own = sx.supervised(model, sx.losses.cross_entropy, optax.adam(0.1))
    state = own.init(key, BATCH)
    params_key, steps_key = jax.random.split(key)
    np.testing.assert_array_equal(state.params["kernel"], model.init(params_key, BATCH["x"])[0]["kernel"])
    assert state.key == steps_key
    assert (state.step, state.extra, state.variables) == (0, {}, {})
    assert jax.tree.structure(state.opt_state) == jax.tree.structure(optax.adam(0.1).init(state.params))


def test_new_state_keeps_what_it_is_given():
    state = sx.new_state(jax.random.key(0), 1, 2, 3, {"target": 4})
    assert state[:4] == (1, 2, 3, {"target": 4})
    assert state.step.dtype == jnp.int32
    assert sx.new_state(jax.random.key(0), 1, 2, 3).extra == {}


def test_a_steps_key_is_a_function_of_root_and_number():
    root = jax.random.key(7)
    state = sx.new_state(root, {}, {}, ())
    keys = [sx.step_key(state._replace(step=jnp.int32(step))) for step in range(3)]
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == 3
    assert keys[2] == jax.random.fold_in(root, 2)


def test_the_objective_gets_the_steps_key_and_train_only_in_steps():
    seen = []

    def apply(params, variables, x, *, train, key):
        seen.append((train, key))
        return x @ params["w"], variables

    own = sx.supervised(plane()._replace(apply=apply), sx.losses.mean_squared_error, optax.sgd(0.1))
    state = own.init(jax.random.key(0), BATCH)._replace(step=jnp.int32(5))
    own.step(state, BATCH)
    own.evaluate(state, BATCH, jax.random.key(1))
    own.predict(state, BATCH["x"])
    assert [train for train, _ in seen] == [True, False, False]
    assert seen[0][1] == jax.random.fold_in(state.key, 5)


def test_the_learning_rate_is_a_metric_where_the_optimizer_shows_it():
    own = learner(optimizer=optax.inject_hyperparams(optax.sgd)(learning_rate=0.25))
    _, metrics = own.step(own.init(jax.random.key(0), BATCH), BATCH)
    assert metrics["learning_rate"] == 0.25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": None}, "model: expected a Linen module"),
        ({"loss": "mse"}, r"loss: expected a function \(output, batch\) -> values, got 'mse'"),
        ({"optimizer": "adam"}, "optimizer: expected an Optax optimizer such as optax.adam"),
        ({"optimizer": optax.adam}, "optimizer: expected an Optax optimizer"),
        ({"metrics": [sx.metrics.accuracy]}, 'metrics: expected a dict such as {"accuracy": .*, got list'),
        ({"metrics": {"hits": 3}}, r"metrics\['hits'\]: expected a function"),
    ],
)
def test_settings_of_the_wrong_kind_are_named(arguments, message):
    good = {"model": plane(), "loss": sx.losses.mean_squared_error, "optimizer": optax.sgd(0.1)}
    with pytest.raises(TypeError, match=message):
        sx.supervised(**{**good, **arguments})


@pytest.mark.parametrize(
    ("values", "got"),
    [(lambda o, b: jnp.mean(o), "a scalar"), (lambda o, b: o[:1], r"shape \(1,\)"), (lambda o, b: 0.0, "a scalar")],
)
def test_values_without_the_batch_axis_are_refused_by_name(values, got):
    message = rf"expected one value per example, of shape \[2, …\], got {got}; leave the mean to the learner"
    for own, name in ((learner(values), "loss"), (learner(hits=values), "hits")):
        state = own.init(jax.random.key(0), BATCH)
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            own.step(state, BATCH)
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            own.evaluate(state, BATCH, state.key)


@pytest.mark.parametrize("name", ["epoch", "step", "seconds", "learning_rate", "loss", "weight"])
def test_a_metric_may_not_take_the_name_of_a_column(name):
    with pytest.raises(ValueError, match=f"metrics: the name '{name}' is reserved, as are 'epoch', 'learning_rate'"):
        sx.supervised(plane(), sx.losses.mean_squared_error, optax.sgd(0.5), metrics={name: sx.metrics.accuracy})
