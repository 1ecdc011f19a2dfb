"""What is frozen keeps every bit and costs no gradient; what is chosen learns."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import stepax as sx

RANDOM = np.random.default_rng(0)
DATA = {"x": RANDOM.normal(1, 2, (8, 3)).astype(np.float32), "y": np.arange(8, dtype=np.int32) % 2}


def bits(tree):
    return {jax.tree_util.keystr(path): leaf.tobytes() for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


@pytest.fixture(scope="module")
def trained():
    """A network with statistics of its own, and a -0.0 among its parameters."""
    network = sx.nn.MLP((4, 4, 2), normalize=True, dropout=0.2)
    params, _ = jax.jit(sx.as_model(network).init)(jax.random.key(0), DATA["x"])
    params = jax.tree.map(np.array, params)
    params["dense_0"]["bias"][1] = -0.0
    statistics = {
        name: {"mean": np.full(4, 0.5, np.float32), "var": np.full(4, 2, np.float32)} for name in ("norm_0", "norm_1")
    }
    return network, params, {"batch_stats": statistics}


def learn(model, steps=3, optimizer=None):
    learner = sx.supervised(model, sx.losses.cross_entropy, optimizer or optax.adamw(0.1, weight_decay=0.5))
    run = sx.fit(learner, DATA, key=jax.random.key(1), epochs=steps, batch_size=None, progress=False)
    return learner, jax.device_get(run.state)


@pytest.fixture(scope="module")
def head(trained):
    return learn(sx.transfer(*trained, train="head|norm_1/scale"))


def test_only_the_chosen_parameters_are_parameters(trained, head):
    _, params, _ = trained
    _, state = head
    assert jax.tree.map(jnp.shape, state.params) == {
        "head": {"bias": (2,), "kernel": (4, 2)},
        "norm_1": {"scale": (4,)},
    }
    for name, leaf in state.params["head"].items():
        assert (leaf != params["head"][name]).all()
    assert (state.params["norm_1"]["scale"] != 1).all()


def test_the_frozen_ones_keep_every_bit(trained, head):
    _, params, _ = trained
    _, state = head
    frozen = bits(state.variables["frozen"])
    assert set(frozen) == set(bits(params)) - {"['head']['bias']", "['head']['kernel']", "['norm_1']['scale']"}
    assert all(bits(params)[path] == value for path, value in frozen.items())
    assert np.signbit(state.variables["frozen"]["dense_0"]["bias"][1])


def test_statistics_move_only_where_their_layer_learns(trained, head):
    _, _, variables = trained
    _, state = head
    before, after = variables["batch_stats"], state.variables["batch_stats"]
    assert bits(before["norm_0"]) == bits(after["norm_0"])
    assert (before["norm_1"]["mean"] != after["norm_1"]["mean"]).all()


def test_a_frozen_normalisation_uses_its_trained_statistics_in_training(trained):
    network, params, variables = trained
    plain = network.clone(dropout=0.0)
    inference, _ = jax.jit(partial(sx.as_model(plain).apply, train=False, key=None))(params, variables, DATA["x"])
    model = sx.transfer(plain, params, variables, train="head")
    own, kept = model.init(jax.random.key(0), DATA["x"])
    output, after = jax.jit(partial(model.apply, train=True))(own, kept, DATA["x"], key=jax.random.key(1))
    np.testing.assert_allclose(output, inference, rtol=1e-5, atol=1e-6)
    assert bits(jax.device_get(after)) == bits(jax.device_get(kept))


def test_dropout_stays_on(trained):
    model = sx.transfer(*trained, train="head")
    own, kept = model.init(jax.random.key(0), DATA["x"])
    run = jax.jit(partial(model.apply, train=True))
    first, other = (run(own, kept, DATA["x"], key=jax.random.key(seed))[0] for seed in (1, 2))
    assert not np.array_equal(first, other)


def test_no_gradient_is_computed_for_what_is_frozen(trained):
    learner = sx.supervised(sx.transfer(*trained, train="^head/"), sx.losses.cross_entropy, optax.adam(0.1))
    state, seen = learner.init(jax.random.key(0), DATA), []

    def gradient(*arguments):
        grads, variables, metrics = sx.gradient(*arguments)
        seen.append(jax.tree.map(jnp.shape, grads))
        return grads, variables, metrics

    compiled = jax.jit(lambda state, batch: learner.step(state, batch, gradient)).lower(state, DATA)
    assert seen == [{"head": {"bias": (2,), "kernel": (4, 2)}}]
    assert jax.tree.map(jnp.shape, state.opt_state[0].mu) == seen[0]
    # Three products forward, and backward one alone: the head's kernel.
    assert compiled.as_text().count("dot_general") == 4


def test_a_transferred_model_starts_where_the_trained_one_was(trained):
    network, params, variables = trained
    model = sx.transfer(network, params, variables, train="dense_0")
    expected, _ = sx.as_model(network).apply(params, variables, DATA["x"], train=False, key=None)
    for seed in (0, 1):
        own, kept = model.init(jax.random.key(seed), DATA["x"])
        np.testing.assert_array_equal(model.apply(own, kept, DATA["x"], train=False, key=None)[0], expected)


def test_all_may_be_chosen(trained):
    network, params, variables = trained
    own, kept = sx.transfer(network, params, variables, train="").init(jax.random.key(0), DATA["x"])
    assert bits(jax.device_get(own)) == bits(params)
    assert kept["frozen"] == {}


def test_a_pattern_that_matches_nothing_lists_the_paths(trained):
    with pytest.raises(
        ValueError, match=r"no parameter's path matches 'heads'; .*dense_0/bias, dense_0/kernel, .*norm_1/scale"
    ):
        sx.transfer(*trained, train="heads")


def test_what_is_no_regular_expression_is_refused(trained):
    with pytest.raises(ValueError, match=r"train: '\(' is no regular expression: missing \)"):
        sx.transfer(*trained, train="(")


def test_other_shapes_are_named(trained):
    network, params, variables = trained
    wider = sx.transfer(network.clone(features=(4, 4, 5)), params, variables, train="head")
    with pytest.raises(
        ValueError, match=r"params: the model has \(5,\) at 'head/bias', and the given params have \(2,\)"
    ):
        wider.init(jax.random.key(0), DATA["x"])
    with pytest.raises(
        ValueError, match=r"variables: the model has \(4,\) at 'batch_stats/norm_0/mean', .* have nothing"
    ):
        sx.transfer(network, params, train="head").init(jax.random.key(0), DATA["x"])


def test_a_transferred_model_is_not_transferred_again(trained):
    model = sx.transfer(*trained, train="head")
    own, kept = model.init(jax.random.key(0), DATA["x"])
    with pytest.raises(ValueError, match="frozen"):
        sx.transfer(model, own, kept, train="bias").init(jax.random.key(0), DATA["x"])


def test_a_scaled_model_is_transferred_with_its_scaling():
    scaling = sx.data.standardization(DATA["x"])
    model = sx.scaled(linen.Dense(2), scaling)
    params, variables = model.init(jax.random.key(0), DATA["x"])
    _, state = learn(sx.transfer(model, params, variables, train="bias"), 1)
    assert bits(state.variables["scaling"]) == bits(jax.device_get(variables["scaling"]))
    assert bits(state.variables["frozen"]) == bits(jax.device_get({"kernel": params["kernel"]}))
    assert (state.params["bias"] != 0).all()


class Net(nnx.Module):
    def __init__(self, rngs):
        self.body = nnx.List([nnx.Linear(3, 4, rngs=rngs)])
        self.head = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.body[0](x)))


def test_an_nnx_model():
    network = sx.from_nnx(lambda rngs: Net(rngs))
    params, variables = jax.jit(network.init)(jax.random.key(0), DATA["x"])
    _, state = learn(sx.transfer(network, params, variables, train="^body/0/kernel$"))
    assert bits(state.variables["frozen"]["head"]) == bits(jax.device_get(params["head"]))
    assert (state.params["body"]["0"]["kernel"] != params["body"]["0"]["kernel"]).any()


def test_the_whole_model_goes_on_from_its_parameters_with_a_fresh_optimizer(trained):
    network, params, variables = trained
    learner = sx.supervised(sx.transfer(network, params, variables), sx.losses.cross_entropy, optax.adam(0.1))
    state = jax.jit(learner.init)(jax.random.key(3), DATA)
    assert bits(jax.device_get(state.params)) == bits(params)
    assert state.variables["frozen"] == {}
    assert not any(leaf.any() for leaf in jax.tree.leaves(state.opt_state))


def test_unfrozen_leads_back_to_the_model_inside(trained):
    network, params, variables = trained
    model = sx.transfer(network, params, variables, train="head")
    back = sx.unfrozen(*model.init(jax.random.key(0), DATA["x"]))
    assert bits(jax.device_get(back)) == bits((params, variables))


def test_what_does_not_fit_is_named(trained):
    network, params, variables = trained
    for given, message in (
        (
            {**params, "head": {"bias": np.zeros(2)}},
            r"params: the model has \(4, 2\) at 'head/kernel', .* have nothing",
        ),
        ({**params, "tail": np.zeros(1)}, r"params: the model has nothing at 'tail', and the given params have \(1,\)"),
    ):
        model = sx.transfer(network, given, variables)
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(model.init, jax.random.key(0), DATA["x"])
