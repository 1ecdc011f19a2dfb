"""The convolutional network: its parameters by hand, its numbers by PyTorch."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stepax as sx

IMAGES = np.random.default_rng(0).normal(size=(3, 6, 6, 2)).astype(np.float32)


def shapes(module, x=IMAGES):
    return jax.tree.map(jnp.shape, jax.eval_shape(sx.as_model(module).init, jax.random.key(0), x))


def count(tree):
    return sum(np.prod(shape, dtype=int) for shape in jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, tuple)))


def test_parameters_by_hand():
    params, variables = shapes(sx.nn.CNN(), np.zeros((1, 28, 28, 1)))
    convolutions = 9 * 1 * 32 + 32 + 9 * 32 * 64 + 64
    assert count(params) == convolutions + 7 * 7 * 64 * 256 + 256 + 256 * 10 + 10 == 824_458
    assert set(params) == {"conv_0", "conv_1", "dense_0", "head"}
    assert variables == {}


def test_stages_of_several_convolutions_and_their_names():
    params, variables = shapes(sx.nn.CNN((4, (5, 6)), dense=(7,), classes=2, normalize=True, dropout=0.5))
    assert {name: params[name]["kernel"] for name in params if "kernel" in params[name]} == {
        "conv_0": (3, 3, 2, 4),
        "conv_1_0": (3, 3, 4, 5),
        "conv_1_1": (3, 3, 5, 6),
        "dense_0": (6, 7),
        "head": (7, 2),
    }
    norms = {"norm_0", "norm_1_0", "norm_1_1", "dense_norm_0"}
    assert set(params) - norms == {"conv_0", "conv_1_0", "conv_1_1", "dense_0", "head"}
    assert set(variables["batch_stats"]) == norms
    # A normalised layer's own bias would be taken away again.
    assert "bias" not in params["conv_0"]
    assert "bias" not in params["dense_0"]
    assert "bias" in params["head"]


@pytest.mark.parametrize(
    ("settings", "inputs"),
    [
        ({}, 3 * 3 * 4),
        ({"pool": None}, 6 * 6 * 4),
        ({"pool": None, "strides": (2, 3)}, 3 * 2 * 4),
        ({"padding": "VALID"}, 2 * 2 * 4),
        ({"padding": "VALID", "kernel": (2, 5), "pool": None}, 5 * 2 * 4),
        ({"padding": ((2, 0), (0, 1)), "pool": None}, 6 * 5 * 4),
        ({"window": (3, 6)}, 2 * 1 * 4),
        ({"activation": sx.nn.maxout}, 3 * 3 * 2),
    ],
)
def test_sizes_by_hand(settings, inputs):
    params, _ = shapes(sx.nn.CNN((4,), dense=(), classes=1, **settings))
    assert params["head"]["kernel"] == (inputs, 1)


@pytest.mark.parametrize("x", [np.zeros((3, 6, 6)), np.zeros((6, 36)), np.zeros((1, 3, 6, 6, 1))])
def test_another_rank_is_refused(x):
    with pytest.raises(ValueError, match=r"x: expected images of shape \[batch, height, width, channels\]"):
        shapes(sx.nn.CNN((4,)), x)


def test_more_pooling_than_pixels_is_refused():
    with pytest.raises(
        ValueError, match=r"window: \(2, 2\) is larger than the input's space \(1, 1\); use fewer pooling"
    ):
        shapes(sx.nn.CNN((4, 4, 4)))


def test_dropout_is_off_in_inference_and_takes_whole_channels_in_training():
    network = sx.nn.CNN((256,), dense=(), classes=1, dropout=0.5)
    model = sx.as_model(network)
    params, _ = jax.jit(model.init)(jax.random.key(0), IMAGES)
    quiet = [model.apply(params, {}, IMAGES, train=False, key=jax.random.key(seed))[0] for seed in (1, 2)]
    np.testing.assert_array_equal(*quiet)

    @jax.jit
    def dropped(key):
        rngs = {"dropout": key}
        outputs = network.apply({"params": params}, IMAGES, True, rngs=rngs, capture_intermediates=True)[1]
        return outputs["intermediates"]["dropout_0"]["__call__"][0]

    alive = (np.asarray(dropped(jax.random.key(1))) > 0).any((1, 2))
    assert 0.6 < alive.mean() < 0.85  # a quarter goes, and some are dead by themselves


@pytest.fixture(params=["max", "average"])
def pools(request, torch):
    return {
        "max": (sx.ops.max_pool, torch.nn.MaxPool2d(2)),
        "average": (sx.ops.average_pool, torch.nn.AvgPool2d(2)),
    }[request.param]


def test_numbers_are_those_of_pytorch(pools, torch):
    network = sx.nn.CNN((4, (3,)), dense=(5,), classes=2, padding=((1, 1), (1, 1)), pool=pools[0])
    model = sx.as_model(network)
    x = np.random.default_rng(2).normal(size=(3, 8, 8, 2)).astype(np.float32)
    params, _ = jax.jit(model.init)(jax.random.key(0), x)
    nn = torch.nn
    convolutions = [
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        pools[1],
        nn.Conv2d(4, 3, 3, padding=1),
        nn.ReLU(),
        pools[1],
    ]
    theirs = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2))
    with torch.no_grad():
        for layer, name in ((0, "conv_0"), (3, "conv_1_0")):
            theirs[layer].weight.copy_(torch.tensor(np.transpose(params[name]["kernel"], (3, 2, 0, 1))))
            theirs[layer].bias.copy_(torch.tensor(np.asarray(params[name]["bias"])))
        # Flattened with the channels last here, and first there.
        kernel = np.asarray(params["dense_0"]["kernel"]).reshape(2, 2, 3, 5).transpose(3, 2, 0, 1).reshape(5, 12)
        theirs[7].weight.copy_(torch.tensor(kernel))
        theirs[7].bias.copy_(torch.tensor(np.asarray(params["dense_0"]["bias"])))
        theirs[9].weight.copy_(torch.tensor(np.asarray(params["head"]["kernel"]).T))
        theirs[9].bias.copy_(torch.tensor(np.asarray(params["head"]["bias"])))
        expected = theirs(torch.tensor(np.moveaxis(x, -1, 1)))
    output, _ = jax.jit(partial(model.apply, train=False, key=None))(params, {}, x)
    np.testing.assert_allclose(output, expected, 1e-4, 1e-5)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1.5])
def test_dropout_out_of_range_is_refused(dropout):
    with pytest.raises(ValueError, match=r"dropout: expected a number in \[0, 1\), got"):
        shapes(sx.nn.CNN((4,), dropout=dropout))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"features": 32}, TypeError, r"features: expected a sequence such as \(32, 64\), got 32"),
        ({"features": (4, 0)}, ValueError, r"features\[1\]: expected at least 1, got 0"),
        ({"features": (4, (5, 1.5))}, TypeError, r"features\[1\]\[1\]: expected a whole number"),
        ({"dense": 256}, TypeError, "dense: expected a sequence of widths"),
        ({"dense": (0,)}, ValueError, r"dense\[0\]: expected at least 1"),
        ({"classes": 0}, ValueError, "classes: expected at least 1, got 0"),
        ({"kernel": (3, 0)}, ValueError, "kernel: expected a whole number of at least 1, or one per axis"),
        ({"kernel": (3,)}, ValueError, "kernel: expected"),
        ({"strides": 1.5}, TypeError, "strides: expected a whole number of at least 1"),
        ({"window": 0}, ValueError, "window: expected a whole number of at least 1"),
        ({"padding": "same"}, ValueError, "padding: expected one of"),
        ({"activation": "relu"}, TypeError, "activation: expected a function such as jax.nn.relu, got str 'relu'"),
    ],
    ids=str,
)
def test_settings_that_make_no_network_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        shapes(sx.nn.CNN(**{"features": (4,), "dense": (2,), "classes": 2, **settings}))


def test_one_number_holds_for_both_axes():
    pair = sx.nn.CNN((4,), (), 2, (3, 3), (2, 2), ((1, 1), (1, 1)), window=(2, 2))
    one = sx.nn.CNN((np.int64(4),), (), np.int64(2), 3, 2, 1, window=2)
    variables = pair.init(jax.random.key(0), IMAGES)
    np.testing.assert_array_equal(one.apply(variables, IMAGES), pair.apply(variables, IMAGES))


@pytest.mark.parametrize("pool", [sx.ops.max_pool, sx.ops.average_pool])
def test_an_empty_batch(pool):
    network = sx.nn.CNN((4,), (5,), 2, pool=pool)
    variables = network.init(jax.random.key(0), IMAGES)
    y, gradient = jax.value_and_grad(lambda v: network.apply(v, IMAGES[:0]).sum())(variables)
    assert y == 0
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("normalize", [False, True], ids=["plain", "normalised"])
@pytest.mark.parametrize("activation", [jax.nn.relu, jnp.tanh, jax.nn.gelu])
def test_pooling_before_or_after_an_activation_makes_no_difference(activation, normalize):
    net = partial(sx.nn.CNN, (4, (3, 5)), dense=(), classes=2, normalize=normalize)
    # What is no function of the list is pooled after its activation.
    pair = [net(activation=activation), net(activation=lambda x: activation(x))]
    variables = pair[0].init(jax.random.key(0), IMAGES)

    def loss(params, module):
        y, _ = module.apply({**variables, "params": params}, IMAGES, True, mutable=["batch_stats"])
        return (y**2).sum()

    results = [jax.jit(jax.value_and_grad(partial(loss, module=module)))(variables["params"]) for module in pair]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-5), *results)


@pytest.mark.parametrize("normalize", [False, True], ids=["plain", "normalised"])
def test_what_a_scanned_training_step_lowers_to(normalize):
    """So many operations of each expensive kind and no others: none that XLA's CPU backend compiles to naive loops."""
    images = np.zeros((16, 28, 28, 1), np.float32)
    learner = sx.supervised(sx.nn.CNN(normalize=normalize), sx.losses.cross_entropy, optax.adam(1e-3))
    batch = {"x": images, "y": np.zeros(16, np.int32)}
    state = jax.eval_shape(learner.init, jax.random.key(0), batch)

    def chunk(state, batch):
        return jax.lax.scan(lambda state, _: learner.step(state, batch), state, None, length=3)

    text = sx.compile.jit(chunk).lower(state, batch).compile().as_text()
    # The second convolution and its gradients by input and kernel; the first is a sum of products and has one gradient.
    layouts = re.findall(r" convolution\(.*dim_labels=([\w>-]+)", text)
    assert layouts == ["b01f_01io->b01f"] * 3
    for slow in ("select-and-scatter(", "reduce-window(", " gather(", " scatter(", " sort("):
        assert slow not in text, slow
