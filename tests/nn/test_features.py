"""Feature maps of modules of many kinds, against the modules' own arithmetic."""

from typing import NamedTuple

import jax
import numpy as np
import pytest
from flax import linen as nn
from tests.parameters import drawn

import stepax as sx
from stepax.nn.features import feature_maps


class Block(nn.Module):
    """A dense layer with batch normalisation and dropout."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(4, name="dense")(x)
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        return nn.Dropout(0.5, deterministic=not train, name="dropout")(x)


class Net(nn.Module):
    """Blocks, a layer that is used twice, a method of another name, and a value sown by hand."""

    def setup(self):
        self.stem = Block()
        self.twice = nn.Dense(4)
        self.embed = nn.Embed(6, 4)
        self.head = nn.Dense(2)

    def __call__(self, x, train=True):
        x = self.twice(self.stem(x, train))
        self.sow("intermediates", "mine", x)
        self.embed.attend(x)
        return self.head(nn.relu(self.twice(x)))


X = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)


def variables_of(module, x=X, **kwargs):
    return module.init(jax.random.key(0), x, **kwargs)


def dense(params, x):
    return np.asarray(x) @ np.asarray(params["kernel"]) + np.asarray(params["bias"])


def test_values_names_and_order():
    module = Net()
    variables = variables_of(module, train=False)
    maps = feature_maps(module, variables, X)
    assert list(maps) == [
        "stem/dense",
        "stem/norm",
        "stem/dropout",
        "stem",
        "twice[0]",
        "embed.attend",
        "twice[1]",
        "head",
    ]
    params = variables["params"]
    np.testing.assert_allclose(maps["stem/dense"], dense(params["stem"]["dense"], X), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(maps["stem"], maps["stem/norm"])  # no dropout
    np.testing.assert_allclose(maps["twice[0]"], dense(params["twice"], maps["stem"]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(maps["twice[1]"], dense(params["twice"], maps["twice[0]"]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(maps["head"], module.apply(variables, X, train=False), rtol=1e-6)


def test_it_works_again_and_leaves_the_variables_alone():
    module = Net()
    variables = variables_of(module, train=False)
    before = jax.tree.map(np.array, variables)
    first, second = feature_maps(module, variables, X), feature_maps(module, variables, X)
    assert list(first) == list(second)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    jax.tree.map(np.testing.assert_array_equal, before, variables)


def test_what_was_sown_before_is_not_counted():
    module = Net()
    variables = variables_of(module, train=False)
    _, sown = module.apply(variables, X, train=False, capture_intermediates=True, mutable=["intermediates"])
    assert list(feature_maps(module, {**variables, **sown}, X)) == list(feature_maps(module, variables, X))


def test_convolutions_without_a_train_argument():
    class Convolutions(nn.Module):
        @nn.compact
        def __call__(self, x):
            for i, width in enumerate((2, 3)):
                x = nn.relu(nn.Conv(width, (3, 3), strides=2, name=f"conv_{i}")(x))
            return nn.Dense(4, name="head")(x.reshape(len(x), -1))

    x = np.ones((2, 8, 8, 1), np.float32)
    maps = feature_maps(Convolutions(), variables_of(Convolutions(), x), x)
    assert {name: value.shape for name, value in maps.items()} == {
        "conv_0": (2, 4, 4, 2),
        "conv_1": (2, 2, 2, 3),
        "head": (2, 4),
    }
    assert list(maps) == ["conv_0", "conv_1", "head"]


def test_sequential_and_unnamed_modules():
    module = nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(2)])
    assert list(feature_maps(module, variables_of(module), X)) == ["layers_0", "layers_2"]


@pytest.mark.parametrize("lift", [nn.remat, nn.jit])
def test_lifted_modules(lift):
    class Lifted(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2, name="head")(lift(nn.Dense)(3, name="lifted")(x))

    variables = variables_of(Lifted())
    for _ in range(2):
        maps = feature_maps(Lifted(), variables, X)
        assert list(maps) == ["lifted", "head"]
        np.testing.assert_allclose(maps["lifted"], dense(variables["params"]["lifted"], X), rtol=1e-5, atol=1e-6)


def test_a_recurrent_network_leaks_no_tracer():
    class Recurrent(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2, name="head")(nn.RNN(nn.LSTMCell(6), name="rnn")(x))

    x = np.ones((2, 7, 5), np.float32)
    maps = feature_maps(Recurrent(), variables_of(Recurrent(), x), x)
    assert {name: np.asarray(value).shape for name, value in maps.items()} == {"rnn": (2, 7, 6), "head": (2, 7, 2)}


def test_a_scan_that_carries_intermediates():
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, carry, _):
            return nn.Dense(5, name="dense")(carry), None

    class Scanned(nn.Module):
        @nn.compact
        def __call__(self, x):
            layers = nn.scan(Layer, {"params": 0, "intermediates": 0}, split_rngs={"params": True}, length=3)
            return layers(name="layers")(x, None)[0]

    maps = feature_maps(Scanned(), variables_of(Scanned()), X)
    assert maps["layers/dense"].shape == (3, 3, 5)


def test_scanned_layers_are_those_that_are_written_out_one_upon_the_other():
    tokens = np.array([[1, 2, 3]])
    unrolled = sx.nn.Encoder(5, 4, layers=2, heads=1, context=3)
    scanned = unrolled.clone(stack=sx.nn.scanned(remat=True))
    variables = drawn(unrolled, tokens)
    stacked = {"params": sx.nn.stacked_parameters(variables["params"])}
    single = jax.jit(lambda: feature_maps(unrolled, variables, tokens))()
    together = jax.jit(lambda: feature_maps(scanned, stacked, tokens))()
    assert {name.replace("block_0", "blocks").replace("block_1", "blocks") for name in single} == set(together)
    for name, value in together.items():
        layers = [single[name.replace("blocks", f"block_{i}")] for i in range(2)]
        expected = np.stack(layers) if "blocks" in name else layers[0]
        np.testing.assert_allclose(value, expected, 1e-4, 1e-5, err_msg=name)


def test_a_submodule_that_returns_a_tree():
    class Cell(nn.Module):
        @nn.compact
        def __call__(self, x):
            cell = nn.GRUCell(4, name="cell")
            _, y = cell(cell.initialize_carry(jax.random.key(0), x.shape), x)
            return y

    maps = feature_maps(Cell(), variables_of(Cell()), X)
    carry, y = maps["cell"]
    assert carry.shape == y.shape == (3, 4)


def test_a_module_that_changes_its_variables():
    class Counted(nn.Module):
        @nn.compact
        def __call__(self, x):
            count = self.variable("counts", "calls", lambda: np.int32(0))
            count.value += 1
            return nn.Dense(2, name="head")(x) * count.value

    variables = variables_of(Counted())
    before = int(variables["counts"]["calls"])
    maps = feature_maps(Counted(), variables, X)
    np.testing.assert_allclose(maps["head"], dense(variables["params"]["head"], X), rtol=1e-5, atol=1e-6)
    assert variables["counts"]["calls"] == before


def test_a_module_without_parameters():
    class Pool(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dropout(0.5, deterministic=True, name="dropout")(x)

    np.testing.assert_array_equal(feature_maps(Pool(), {}, X)["dropout"], X)


def test_under_jit_and_eval_shape():
    module = Net()
    variables = variables_of(module, train=False)
    maps = feature_maps(module, variables, X)
    jitted = jax.jit(lambda variables, x: feature_maps(module, variables, x))(variables, X)
    assert jitted.keys() == maps.keys()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), jitted, maps)
    shapes = jax.eval_shape(lambda x: feature_maps(module, variables, x), X)
    assert shapes["head"].shape == (3, 2)


def test_only_linen_modules_can_be_looked_into():
    class Pair(NamedTuple):
        init: object
        apply: object

    with pytest.raises(TypeError, match="module: expected a Linen module, got Pair"):
        feature_maps(Pair(None, None), {}, X)
