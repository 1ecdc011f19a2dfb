"""A supervised step by hand, and what a learner refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import stepax as sx
from stepax.learner import check_lanes, lanes_of

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


def outer(output, batch):
    """Without a word a matrix of ``[batch, batch]``, as NumPy's rules have it."""
    with jax.numpy_rank_promotion("allow"):
        return (output - batch["y"]) ** 2


def sized(n, *rest):
    """A learner's own output, which is its input."""
    return np.zeros((n, *rest), np.float32)


def identity(loss, **metrics):
    model = sx.Model(
        lambda key, x: ({"w": jnp.float32(1)}, {}), lambda params, variables, x, *, train, key: (x, variables)
    )
    return sx.supervised(model, loss, optax.sgd(0.1), metrics=metrics)


def shapes_of_a_step(own, batch, around=lambda own: own):
    own = around(own)
    return jax.eval_shape(lambda: own.step(own.init(jax.random.key(0), batch), batch))


@pytest.mark.parametrize("around", [lambda own: own, lambda own: sx.population(own, 2), lambda own: sx.guard(own)])
@pytest.mark.parametrize(
    ("output", "y", "got"),
    [
        ((1,), (), r"\(4, 4\) from an output of shape \(4, 1\) and a target y of shape \(4,\)"),
        ((), (1,), r"\(4, 4\) from an output of shape \(4,\) and a target y of shape \(4, 1\)"),
        ((1, 5), (5,), r"\(4, 4, 5\) from an output of shape \(4, 1, 5\) and a target y of shape \(4, 5\)"),
        ((4, 1), (4,), r"\(4, 4, 4\) from an output of shape \(4, 4, 1\) and a target y of shape \(4, 4\)"),
    ],
)
def test_a_value_for_each_pair_of_examples_is_refused_by_name(output, y, got, around):
    batch = {"x": sized(4, *output), "y": sized(4, *y)}
    message = rf"expected one value per example or per element, got shape {got}, as broadcasting \[batch, 1\] against"
    with pytest.raises(ValueError, match=f"loss: {message}"):
        shapes_of_a_step(identity(outer), batch, around)
    with pytest.raises(ValueError, match=f"pairs: {message}"):
        shapes_of_a_step(identity(lambda o, b: o, pairs=outer), batch, around)


def test_pairs_are_refused_where_no_field_shows_it_and_in_evaluation():
    def norm(output, batch):
        length = jnp.linalg.norm(output, axis=-1, keepdims=True)
        return outer(length, batch)

    own, batch = identity(norm), {"x": sized(4, 3), "y": sized(4)}
    state = own.init(jax.random.key(0), batch)
    for call in (lambda: own.step(state, batch), lambda: own.evaluate(state, batch, state.key)):
        with pytest.raises(ValueError, match=r"loss: .* got shape \(4, 4\) from an output of shape \(4, 3\)"):
            call()
    with pytest.raises(ValueError, match=r"loss: .* an output of shape \(4, 3\) and no target y"):
        shapes_of_a_step(identity(lambda o, b: o @ o.T), {"x": batch["x"]})


@pytest.mark.parametrize(
    ("loss", "x", "fields"),
    [
        (lambda o, b: o[..., 0], (4, 7), {"y": sized(4, 4)}),  # per word, as many words as examples
        (lambda o, b: (o[:, :-1] - b["y"][:, 1:, None]) ** 2, (5, 7), {"y": sized(4, 5)}),  # of the next word
        (lambda o, b: (o.mean(-1)[:, 1:] - 1) ** 2, (5, 7), {"weight": sized(4)}),  # without a target
        (lambda o, b: o.mean(1), (3, 4, 4), {"y": sized(4, 4, 4)}),  # per pixel, channels first
        (lambda o, b: o.mean(-1, keepdims=True), (3,), {"y": sized(4)}),
        (lambda o, b: jnp.stack([o, o, o, o], 1), (), {"y": sized(4)}),  # four terms of four examples
        (lambda o, b: o[:, :1] - b["goal"], (3,), {"goal": sized(4, 1)}),
        (lambda o, b: o.reshape(2, 2, 3).repeat(2, 0)[:, 0], (3,), {}),  # by two and two
    ],
)
def test_axes_that_do_not_grow_with_the_batch_are_the_loss_s_own(loss, x, fields):
    batch = {"x": sized(4, *x), **fields}
    for around in (lambda own: own, lambda own: sx.population(own, 2)):
        _, metrics = shapes_of_a_step(identity(loss, same=loss), batch, around)
        assert {"loss", "same", "weight"} <= set(metrics)


def test_outputs_that_are_trees_are_told_and_taken():
    model = sx.Model(
        lambda key, x: ({"w": jnp.float32(1)}, {}),
        lambda params, variables, x, *, train, key: ({"mean": x, "codes": params["w"] * jnp.ones((4, 2))}, variables),
    )
    batch = {"x": sized(4, 1), "y": sized(4)}
    good = sx.supervised(model, lambda o, b: o["mean"][:, 0] - b["y"], optax.sgd(0.1))
    assert shapes_of_a_step(good, batch)[1]["loss"].shape == ()
    bad = sx.supervised(model, lambda o, b: outer(o["mean"], b), optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"an output of shape \(4, 2\) and \(4, 1\) and a target y of shape \(4,\)"):
        shapes_of_a_step(bad, batch)


def test_the_lanes_of_a_state_are_compared():
    many = sx.population(learner(), 3)
    one, three = (own.init(jax.random.key(0), BATCH) for own in (learner(), many))
    check_lanes(one, one)
    check_lanes(three, three)
    with pytest.raises(ValueError, match=r"of 3 lanes, and the learner is a single one; take one with stepax.lane\("):
        check_lanes(one, three)
    with pytest.raises(ValueError, match=r"of a single model, and the learner has 3 lanes$"):
        check_lanes(three, one)
    nested = sx.population(many, 1).init(jax.random.key(0), BATCH)
    with pytest.raises(ValueError, match=r"of 1 × 3 lanes, and the learner has 3 lanes$"):
        check_lanes(three, nested)
    assert lanes_of((1,)) == "1 lane"


@pytest.mark.parametrize("name", ["epoch", "step", "seconds", "learning_rate", "loss", "weight"])
def test_a_metric_may_not_take_the_name_of_a_column(name):
    with pytest.raises(ValueError, match=f"metrics: the name '{name}' is reserved, as are 'epoch', 'learning_rate'"):
        sx.supervised(plane(), sx.losses.mean_squared_error, optax.sgd(0.5), metrics={name: sx.metrics.accuracy})
