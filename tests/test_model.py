"""Models made from modules of either kind, held against the modules themselves."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import stepax as sx

X = np.random.default_rng(0).normal(1, 2, (6, 3)).astype(np.float32)


def equal(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True))


def both(model):
    """``apply`` in training and in inference, jitted."""
    train = jax.jit(lambda params, variables, x, key: model.apply(params, variables, x, train=True, key=key))
    return train, jax.jit(lambda params, variables, x: model.apply(params, variables, x, train=False, key=None))


class Noisy(linen.Module):
    """A stream of its own, dropout, and statistics."""

    @linen.compact
    def __call__(self, x, train=False):
        x = linen.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(x)
        x = linen.Dropout(0.5, deterministic=not train, name="dropout")(x)
        return x + jax.random.normal(self.make_rng("noise"), x.shape) if train else x


class Watched(linen.Module):
    """Leaves something behind that is no statistic."""

    @linen.compact
    def __call__(self, x):
        x = linen.Dense(2, name="dense")(x)
        self.sow("intermediates", "features", x)
        return x


class Net(nnx.Module):
    """A list, statistics and dropout."""

    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 4, rngs=rngs)])
        self.norm = nnx.BatchNorm(4, rngs=rngs, momentum=0.9)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        for layer in self.layers:
            x = nnx.tanh(layer(x))
        return self.dropout(self.norm(x))


class Drawing(nnx.Module):
    """Keeps its streams, and draws from one of its own."""

    def __init__(self, rngs):
        self.rngs = rngs
        self.dense = nnx.Linear(3, 1, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.dense(x)) + jax.random.normal(self.rngs.noise(), (len(x), 1))


class Tied(nnx.Module):
    """One layer under two names."""

    def __init__(self, rngs):
        self.first = nnx.Linear(3, 3, rngs=rngs)
        self.second = self.first

    def __call__(self, x, train):
        return self.second(self.first(x)) if train else self.first(x)


def test_a_model_is_taken_as_it_is_and_a_linen_module_becomes_one():
    model = sx.from_linen(linen.Dense(2))
    assert sx.as_model(model) is model
    assert isinstance(sx.as_model(linen.Dense(2)), sx.Model)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (nnx.Linear(1, 1, rngs=nnx.Rngs(0)), "Linear"),
        (linen.Dense, "type"),
        (lambda x: x, "function"),
        (None, "NoneType"),
    ],
)
def test_anything_else_is_refused_with_a_way_out(given, name):
    with pytest.raises(TypeError, match=f"expected a Linen module or a stepax.Model, got {name}; .*from_nnx"):
        sx.as_model(given)


def test_a_linen_module_without_train_is_the_module():
    module = Watched()
    model = sx.from_linen(module)
    params, variables = model.init(jax.random.key(0), X)
    assert variables == {}
    assert equal(params, module.init(jax.random.key(0), X)["params"])
    for train in (True, False):
        output, after = model.apply(params, variables, X, train=train, key=None)
        assert after == {}
        np.testing.assert_allclose(output, X @ params["dense"]["kernel"] + np.zeros((6, 2)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["train", "training", "is_training", "deterministic"])
@pytest.mark.parametrize("kind", [linen.Module, nnx.Module])
def test_the_mode_is_told_under_the_name_that_the_module_has_for_it(kind, name):
    call = {
        "train": lambda self, x, train: x * train,
        "training": lambda self, x, training=False: x * training,
        "is_training": lambda self, x, *, is_training: x * is_training,
        "deterministic": lambda self, x, deterministic=True: x * (not deterministic),
    }[name]
    module = type("Module", (kind,), {"__call__": call})
    model = sx.from_linen(module()) if kind is linen.Module else sx.from_nnx(lambda rngs: module())
    params, variables = model.init(jax.random.key(0), X)
    for train in (True, False):
        output, _ = model.apply(params, variables, X, train=train, key=jax.random.key(1))
        np.testing.assert_array_equal(output, X * train)


def test_statistics_keep_their_dtype_whatever_the_inputs(x64):
    model = sx.from_linen(Noisy())
    params, variables = model.init(jax.random.key(0), X.astype(np.float64))
    _, after = model.apply(params, variables, X.astype(np.float64), train=True, key=jax.random.key(1))
    assert {leaf.dtype for leaf in jax.tree.leaves(after)} == {jnp.dtype(jnp.float32)}
    assert not equal(after, variables)


@pytest.fixture(scope="module")
def noisy():
    model = sx.from_linen(Noisy())
    return *jax.jit(model.init)(jax.random.key(0), X), *both(model)


def test_statistics_move_in_training_only(noisy):
    params, variables, train, infer = noisy
    assert set(variables) == {"batch_stats"}
    output, kept = infer(params, variables, X)
    assert equal(kept, variables)
    np.testing.assert_allclose(output, X / np.sqrt(1 + 1e-5), rtol=1e-5)
    _, moved = train(params, variables, X, jax.random.key(1))
    statistics = moved["batch_stats"]["norm"]
    np.testing.assert_allclose(statistics["mean"], 0.1 * X.mean(0), rtol=1e-4)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * X.var(0), rtol=1e-4)


def test_every_stream_comes_from_the_key(noisy):
    params, variables, train, _ = noisy
    first, again, other = (train(params, variables, X, jax.random.key(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.isclose(first, other).any()


def test_two_streams_differ():
    class Two(linen.Module):
        @linen.compact
        def __call__(self, x, train=False):
            return jnp.stack([jax.random.normal(self.make_rng(name), x.shape) for name in ("noise", "dropout", "eps")])

    draws, _ = sx.from_linen(Two()).apply({}, {}, X, train=True, key=jax.random.key(0))
    assert len(np.unique(draws)) == draws.size


@pytest.mark.parametrize("train", [True, False])
def test_another_input_shape_is_an_error_about_x(train):
    model = sx.from_linen(sx.nn.MLP((4, 2)))
    params, variables = jax.eval_shape(model.init, jax.random.key(0), X)
    with pytest.raises(
        ValueError, match=r"x: examples of shape \(5,\) do not fit .*\"kernel\" in \"/dense_0\""
    ) as caught:
        jax.eval_shape(
            lambda p, v, x: model.apply(p, v, x, train=train, key=jax.random.key(0)), params, variables, np.ones((2, 5))
        )
    assert "http" not in str(caught.value)


INPUTS = sx.data.Scaling(np.float32([1, 2, 3]), np.float32([2, 1, 4]))
OUTPUTS = sx.data.Scaling(np.float32(100), np.float32(30))


@pytest.mark.parametrize(("inputs", "outputs"), [(INPUTS, OUTPUTS), (INPUTS, None), (None, OUTPUTS), (None, None)])
def test_scaled_is_scaling_by_hand(inputs, outputs):
    plain, model = sx.as_model(linen.Dense(1)), sx.scaled(linen.Dense(1), inputs, outputs)
    params, variables = model.init(jax.random.key(0), X)
    assert equal(params, plain.init(jax.random.key(0), X)[0])
    x = X if inputs is None else (X - inputs.mean) / inputs.scale
    expected = x @ np.asarray(params["kernel"])
    if outputs is not None:
        expected = outputs.mean + outputs.scale * expected
    output, after = model.apply(params, variables, X, train=False, key=None)
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5)
    assert equal(after, variables)


def test_the_scaling_is_part_of_the_variables_and_is_read_from_there():
    model = sx.scaled(linen.Dense(1), INPUTS, OUTPUTS)
    params, variables = jax.jit(model.init)(jax.random.key(0), X)
    assert set(variables) == {"scaling"}
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(variables))
    other = sx.scaled(linen.Dense(1), sx.data.Scaling(np.zeros(3), np.ones(3)), sx.data.Scaling(0.0, 1.0))
    first, second = (m.apply(params, variables, X, train=False, key=None)[0] for m in (model, other))
    np.testing.assert_array_equal(first, second)


def test_scaled_keeps_the_statistics_inside():
    model = sx.scaled(sx.nn.MLP((2, 1), normalize=True), INPUTS)
    params, variables = jax.jit(model.init)(jax.random.key(0), X)
    assert set(variables) == {"batch_stats", "scaling"}
    _, after = jax.jit(partial(model.apply, train=True, key=None))(params, variables, X)
    assert equal(after["scaling"], variables["scaling"])
    assert not equal(after["batch_stats"], variables["batch_stats"])


def test_scaled_names_x_where_its_shape_is_another():
    model = sx.scaled(linen.Dense(1), INPUTS)
    with pytest.raises(ValueError, match=r"x: examples of shape \(2,\), but .* fitted to examples of shape \(3,\)"):
        model.init(jax.random.key(0), X[:, :2])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_scaled_takes_integers(dtype):
    model = sx.scaled(linen.Dense(1), sx.data.Scaling(np.float32(0.5), np.float32(0.25)))
    whole = np.array([[0, 1, 2], [3, 4, 250]], dtype)
    params, variables = model.init(jax.random.key(0), whole)
    output, _ = model.apply(params, variables, whole, train=False, key=None)
    np.testing.assert_allclose(output, (whole - 0.5) / 0.25 @ np.asarray(params["kernel"]), rtol=1e-4)


def test_scaled_needs_one_array():
    model = sx.scaled(linen.Dense(1), INPUTS)
    with pytest.raises(TypeError, match="x: a scaled model expects one array, got dict"):
        model.init(jax.random.key(0), {"left": X})
    several = sx.Model(lambda key, x: ({}, {}), lambda p, v, x, *, train, key: ((x, x), v))
    params, variables = sx.scaled(several, outputs=OUTPUTS).init(jax.random.key(0), X)
    with pytest.raises(TypeError, match="output: a scaled model expects one array, got tuple"):
        sx.scaled(several, outputs=OUTPUTS).apply(params, variables, X, train=False, key=None)


def test_a_model_is_scaled_once():
    with pytest.raises(ValueError, match="scaled already"):
        sx.scaled(sx.scaled(linen.Dense(1), INPUTS), outputs=OUTPUTS).init(jax.random.key(0), X)


@pytest.fixture(scope="module")
def net():
    model = sx.from_nnx(lambda rngs: Net(rngs))
    return model, *jax.jit(model.init)(jax.random.key(0), X), *both(model)


def test_nnx_parameters_are_plain_dicts_of_arrays_with_text_for_names(net):
    _, params, variables, *_ = net
    assert set(params["layers"]) == {"0", "1"}
    assert jax.tree.map(jnp.shape, variables) == {"norm": {"mean": (4,), "var": (4,)}}
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves((params, variables)))


def test_nnx_inference_is_the_module_itself(net):
    _, params, variables, _, infer = net
    module = Net(nnx.Rngs(0))
    pure = {"layers": {int(name): value for name, value in params["layers"].items()}, "norm": params["norm"]}
    nnx.update(module, nnx.State(pure))
    module.eval()
    output, after = infer(params, variables, X)
    np.testing.assert_allclose(output, module(X), rtol=1e-5, atol=1e-6)
    assert equal(after, variables)


def test_nnx_parameters_are_those_of_its_constructor(net):
    _, params, *_ = net
    module = Net(nnx.Rngs(jax.random.key(0)))
    np.testing.assert_allclose(params["layers"]["1"]["kernel"], module.layers[1].kernel[...], rtol=1e-6)


def test_nnx_dropout_follows_the_key_and_statistics_move_in_training(net):
    _, params, variables, train, _ = net
    (first, moved), (again, _), (other, _) = (train(params, variables, X, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert ((first == 0) != (other == 0)).any()
    assert 0 < (first == 0).sum() < first.size
    hidden = X
    for layer in params["layers"].values():
        hidden = np.tanh(hidden @ layer["kernel"] + np.asarray(layer["bias"])[None])
    np.testing.assert_allclose(moved["norm"]["mean"], 0.1 * hidden.mean(0), rtol=1e-3, atol=1e-6)


def test_nnx_gradient_inside_scan(net):
    model, params, variables, *_ = net

    @jax.jit
    def descend(params, variables):
        def body(carry, key):
            def loss(params, variables):
                output, variables = model.apply(params, variables, X, train=True, key=key)
                return (output**2).mean(), variables

            grads, variables = jax.grad(loss, has_aux=True)(*carry)
            return (jax.tree.map(lambda p, g: p - 0.1 * g, carry[0], grads), variables), None

        return jax.lax.scan(body, (params, variables), jax.random.split(jax.random.key(3), 2))[0]

    after = descend(params, variables)
    assert jax.tree.structure(after) == jax.tree.structure((params, variables))
    assert not equal(after, (params, variables))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))


def test_nnx_modules_that_keep_their_streams_draw_by_the_key():
    model = sx.from_nnx(lambda rngs: Drawing(rngs))
    params, variables = model.init(jax.random.key(0), X)
    assert (set(params), variables) == ({"dense"}, {})
    train, _ = both(model)
    first, again, other = (train(params, variables, X, jax.random.key(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()
    assert len(np.unique(first)) == len(X)


def test_nnx_modules_that_keep_their_streams_train_in_a_compiled_loop():
    learner = sx.supervised(sx.from_nnx(lambda rngs: Drawing(rngs)), sx.losses.mean_squared_error, optax.adam(0.1))
    source = sx.in_order({"x": X, "y": X.sum(1)}, 2)
    start = learner.init(jax.random.key(0), {"x": X})
    state, metrics = next(sx.epochs(learner, source, start))
    assert not equal(state.params, start.params)
    by_hand = start
    for i in range(source.length):
        by_hand, _ = learner.step(by_hand, source.take(source.order(0), i))
    for one, other in zip(jax.tree.leaves(state.params), jax.tree.leaves(by_hand.params), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert np.isfinite(metrics["loss"]).all()


def test_nnx_tied_parameters_are_one_and_train_is_found_by_signature():
    model = sx.from_nnx(lambda rngs: Tied(rngs))
    params, variables = model.init(jax.random.key(0), None)
    assert [leaf.shape for leaf in jax.tree.leaves(params)] == [(3,), (3, 3)]
    kernel = np.asarray(params["first"]["kernel"])
    for train, expected in ((True, X @ kernel @ kernel), (False, X @ kernel)):
        output, _ = model.apply(params, variables, X, train=train, key=None)
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


def test_nnx_constructors_that_make_no_module_are_refused():
    with pytest.raises(TypeError, match="constructor: expected it to return an NNX module, got Dense"):
        sx.from_nnx(lambda rngs: linen.Dense(1))
