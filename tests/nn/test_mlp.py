"""The multi-layer perceptron: its parameters by hand, its numbers by PyTorch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stepax as sx

X = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)


def shapes(module, x=X):
    return jax.tree.map(jnp.shape, jax.eval_shape(sx.as_model(module).init, jax.random.key(0), x))


def count(tree):
    return sum(np.prod(shape, dtype=int) for shape in jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, tuple)))


def test_parameters_by_hand():
    params, variables = shapes(sx.nn.MLP((128, 64, 10)), np.zeros((1, 28, 28)))
    assert count(params) == 784 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10 == 109_386
    assert params["dense_1"] == {"bias": (64,), "kernel": (128, 64)}
    assert set(params) == {"dense_0", "dense_1", "head"}
    assert variables == {}


def test_one_width_is_a_linear_model():
    assert shapes(sx.nn.MLP((3,))) == ({"head": {"bias": (3,), "kernel": (6, 3)}}, {})


def test_normalisation_and_dropout_have_names():
    params, variables = shapes(sx.nn.MLP((4, 3, 2), normalize=True, dropout=0.5))
    assert set(params) == {"dense_0", "norm_0", "dense_1", "norm_1", "head"}
    assert variables["batch_stats"] == {"norm_0": {"mean": (4,), "var": (4,)}, "norm_1": {"mean": (3,), "var": (3,)}}


def test_an_activation_may_narrow():
    params, _ = shapes(sx.nn.MLP((8, 4, 2), activation=sx.nn.maxout))
    assert [params[name]["kernel"] for name in ("dense_0", "dense_1", "head")] == [(6, 8), (4, 4), (2, 2)]


def test_dropout_is_off_in_inference_and_follows_the_key_in_training():
    model = sx.as_model(sx.nn.MLP((64, 1), dropout=0.5))
    params, _ = jax.jit(model.init)(jax.random.key(0), X)

    def run(key, train):
        return model.apply(params, {}, X, train=train, key=key)[0]

    keys = [jax.random.key(seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(run(keys[0], False), run(keys[2], False))
    first, again, other = (run(key, True) for key in keys)
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_initial_weights_and_biases_are_those_asked_for():
    module = sx.nn.MLP((2, 1), kernel_init=jax.nn.initializers.ones, bias_init=jax.nn.initializers.constant(3))
    model = sx.as_model(module)
    params, _ = model.init(jax.random.key(0), X)
    output, _ = model.apply(params, {}, X, train=False, key=None)
    hidden = np.maximum(X.sum(1, keepdims=True) + 3, 0)
    np.testing.assert_allclose(output, 2 * hidden + 3, rtol=1e-5)


@pytest.mark.parametrize("train", [True, False])
def test_numbers_are_those_of_pytorch(train, torch):
    model = sx.as_model(sx.nn.MLP((4, 3, 2), activation=jnp.tanh, normalize=True))
    params, variables = jax.eval_shape(model.init, jax.random.key(0), X)
    random = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), params)
    variables = jax.tree.map(lambda leaf: random.uniform(0.5, 2, leaf.shape).astype(np.float32), variables)
    nn = torch.nn
    norms = [nn.BatchNorm1d(4), nn.BatchNorm1d(3)]
    theirs = nn.Sequential(nn.Linear(6, 4), norms[0], nn.Tanh(), nn.Linear(4, 3), norms[1], nn.Tanh(), nn.Linear(3, 2))
    with torch.no_grad():
        for layer, name in zip((theirs[0], theirs[3], theirs[6]), ("dense_0", "dense_1", "head"), strict=True):
            layer.weight.copy_(torch.tensor(params[name]["kernel"].T))
            layer.bias.copy_(torch.tensor(params[name]["bias"]))
        for i, norm in enumerate(norms):
            own, statistics = params[f"norm_{i}"], variables["batch_stats"][f"norm_{i}"]
            given = {"weight": own["scale"], "bias": own["bias"]}
            given |= {"running_mean": statistics["mean"], "running_var": statistics["var"]}
            norm.load_state_dict({name: torch.tensor(value) for name, value in given.items()}, strict=False)
    theirs.train(train)
    expected = theirs(torch.tensor(X)).detach()
    output, after = jax.jit(partial(model.apply, train=train, key=None))(params, variables, X)
    np.testing.assert_allclose(output, expected, 1e-4, 1e-5)
    np.testing.assert_allclose(after["batch_stats"]["norm_1"]["mean"], norms[1].running_mean, 1e-4, 1e-5)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1.5])
def test_dropout_out_of_range_is_refused(dropout):
    with pytest.raises(ValueError, match=r"dropout: expected a number in \[0, 1\), got"):
        shapes(sx.nn.MLP((4, 2), dropout=dropout))


def test_a_network_without_layers_is_refused():
    with pytest.raises(ValueError, match="features: expected the output's width at least"):
        shapes(sx.nn.MLP(()))


@pytest.mark.parametrize(
    ("features", "x", "error", "message"),
    [
        (10, X, TypeError, r"features: expected a sequence of widths such as \(64, 10\), got 10"),
        ((4, 0), X, ValueError, r"features\[1\]: expected at least 1, got 0"),
        ((4, 2), np.float32(1), ValueError, "x: expected the shape .*, got a scalar"),
    ],
)
def test_what_makes_no_network_is_named(features, x, error, message):
    with pytest.raises(error, match=message):
        sx.nn.MLP(features).init(jax.random.key(0), x)


def test_the_name_of_an_activation_is_none():
    with pytest.raises(TypeError, match=r"activation: expected a function such as jax\.nn\.relu, got str 'relu'"):
        sx.nn.MLP((4, 2), activation="relu").init(jax.random.key(0), X)


def test_an_empty_batch():
    module = sx.nn.MLP((4, 2))
    variables = module.init(jax.random.key(0), X)
    assert module.apply(variables, X[:0]).shape == (0, 2)
    gradient = jax.grad(lambda v: module.apply(v, X[:0]).sum())(variables)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient))
