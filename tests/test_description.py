"""Layers, parameters and arithmetic: counted by hand, by Flax, and by PyTorch."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from tests.cases import Regressor

import stepax as sx
from stepax.description import Description, describe


def shape(*sizes: int, dtype: str = "float32") -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, dtype)


def rows(described: Description) -> dict[str, tuple]:
    return {layer.path: (layer.output, layer.parameters, layer.variables, layer.flops) for layer in described.layers}


class LeNet(linen.Module):
    """LeCun's network of 1998 in the form that textbooks count: 61,706 parameters, 416,520 multiplications."""

    @linen.compact
    def __call__(self, x):
        for features in (6, 16):
            x = linen.avg_pool(jnp.tanh(linen.Conv(features, (5, 5), padding="VALID")(x)), (2, 2), (2, 2))
        x = x.reshape(len(x), -1)
        for width in (120, 84):
            x = jnp.tanh(linen.Dense(width)(x))
        return linen.Dense(10)(x)


def test_an_mlp_by_hand():
    described = describe(sx.nn.MLP((16, 3)), shape(8, 5))
    assert rows(described) == {
        "": ("float32[8,3]", 0, 0, 0),
        "dense_0": ("float32[8,16]", 5 * 16 + 16, 0, 2 * 8 * 5 * 16),
        "dropout_0": ("float32[8,16]", 0, 0, 0),
        "head": ("float32[8,3]", 16 * 3 + 3, 0, 2 * 8 * 16 * 3),
    }
    assert (described.parameters, described.bytes, described.flops) == (147, 4 * 147, 2 * 8 * 16 * 8)


def test_a_network_that_textbooks_count():
    described = describe(LeNet(), shape(1, 32, 32, 1))
    counts = {layer.path: (layer.parameters, layer.flops) for layer in described.layers if layer.parameters}
    assert counts == {
        "Conv_0": (156, 2 * 117_600),
        "Conv_1": (2_416, 2 * 240_000),
        "Dense_0": (48_120, 2 * 48_000),
        "Dense_1": (10_164, 2 * 10_080),
        "Dense_2": (850, 2 * 840),
    }
    assert (described.parameters, described.flops) == (61_706, 2 * 416_520)
    assert describe(LeNet(), shape(7, 32, 32, 1)).flops == 7 * described.flops


def test_as_many_parameters_as_flax_counts_and_as_many_operations_as_pytorch(torch):
    from torch.utils.flop_counter import FlopCounterMode

    module = sx.nn.CNN((4, 8), dense=(16,), classes=3, normalize=True)
    described = describe(module, shape(5, 8, 8, 2))
    table = linen.tabulate(module, jax.random.key(0), console_kwargs={"width": 200})(jnp.zeros((5, 8, 8, 2)))
    assert f"Total Parameters: {described.parameters + described.variables:,} " in table
    nn = torch.nn
    blocks = [
        block
        for before, after in ((2, 4), (4, 8))
        for block in (nn.Conv2d(before, after, 3, padding=1, bias=False), nn.MaxPool2d(2))
    ]
    network = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(32, 16, bias=False), nn.Linear(16, 3))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(5, 2, 8, 8))
    assert described.flops == counter.get_total_flops()


def test_statistics_and_frozen_parameters_are_no_parameters():
    network = sx.nn.CNN((4,), dense=(8,), classes=2, normalize=True)
    params, variables = sx.as_model(network).init(jax.random.key(0), jnp.zeros((1, 6, 6, 1)))
    found = rows(describe(sx.transfer(network, params, variables, train="head"), shape(4, 6, 6, 1)))
    assert found["conv_0"] == ("float32[4,6,6,4]", 0, 36, 2 * 4 * 36 * 4 * 9)
    assert found["norm_0"][1:3] == (0, 8 + 8)
    assert found["head"][1:3] == (18, 0)


def test_a_scaling_is_a_row_of_its_own():
    scaling = sx.data.Scaling(np.zeros(2, np.float32), np.ones(2, np.float32))
    described = describe(sx.scaled(sx.nn.MLP((16, 1)), scaling), np.zeros((4, 2)))
    assert described.layers[0][:5] == ("scaling", "", "", 0, 4)
    assert (described.input, described.variables) == ("float32[4,2]", 4)


def test_layers_inside_layers_count_once_and_all_of_them():
    described = describe(sx.nn.Decoder(50, 32, 2, 2, 16), shape(8, 16, dtype="int32"))
    found = rows(described)
    # Scores and their products with the values: 2 heads of 16, 16 positions, 8 examples.
    assert found["block_1/attention"] == ("float32[8,16,32]", 0, 0, 2 * 2 * 8 * 2 * 16 * 16 * 16)
    assert found["block_1/attention/qkv"] == ("float32[8,16,96]", 3168, 0, 2 * 8 * 16 * 32 * 96)
    for name in ("parameters", "variables", "bytes", "flops"):
        assert sum(getattr(layer, name) for layer in described.layers) == getattr(described, name)


def test_what_is_inside_a_scan_counts_at_every_step_under_its_layer():
    described = describe(sx.nn.LSTM(8), shape(4, 5, 2))
    assert rows(described)[""][3] == described.flops == 2 * 4 * 5 * (2 + 8) * 32
    assert described.output == "float32[4,5,8] float32[4,8] float32[4,8]"


def test_scanned_layers_count_as_often_as_they_run():
    x = {name: shape(2, time, dtype="int32") for name, time in (("source", 5), ("target", 3))}
    unrolled = sx.nn.Transformer(7, 4, 8, layers=3, heads=2, context=6)
    single, together = (describe(model, x) for model in (unrolled, unrolled.clone(stack=sx.nn.scanned())))
    for name in ("parameters", "bytes", "flops", "output"):
        assert getattr(single, name) == getattr(together, name)
    of_one = {layer.path: layer for layer in single.layers}
    for layer in together.layers:
        one, times = of_one[layer.path.replace("blocks", "block_0")], 3 if "blocks" in layer.path else 1
        numbers = {name: times * getattr(one, name) for name in ("parameters", "bytes", "flops")}
        assert layer == one._replace(**numbers, path=layer.path, times=times)
    assert "encoder/blocks                    Block              3×  float32[2,5,8]" in str(together)


def test_a_layer_inside_two_loops_runs_as_often_as_both_say():
    class Each(linen.Module):
        @linen.compact
        def __call__(self, carry, x):
            return linen.Dense(3, name="layer")(carry) + x, None

    class Steps(linen.Module):
        @linen.compact
        def __call__(self, carry, x):
            scan = linen.scan(Each, {"params": 0}, split_rngs={"params": True})
            return scan(name="inner")(carry, jnp.broadcast_to(x, (2, *x.shape)))

    class Outer(linen.Module):
        @linen.compact
        def __call__(self, x):
            scan = linen.scan(Steps, {"params": 0}, split_rngs={"params": True})
            return scan(name="outer")(x[0], x)[0]

    described = describe(Outer(), shape(5, 2, 3))
    assert [(layer.path, layer.times) for layer in described.layers] == [
        ("", 1),
        ("outer", 5),
        ("outer/inner", 10),
        ("outer/inner/layer", 10),
    ]
    assert rows(described)["outer/inner/layer"] == ("float32[2,3]", 10 * 12, 0, 10 * 2 * 2 * 3 * 3)


def test_of_a_model_without_visible_layers_the_parameters_by_path():
    described = describe(sx.from_nnx(lambda rngs: Regressor(rngs)), shape(4, 2))
    assert rows(described) == {
        "head": ("", 17, 0, None),
        "layers/0": ("", 48, 0, None),
        "layers/1": ("", 272, 0, None),
        "norm": ("", 32, 32, None),
    }
    assert (described.flops, described.output) == (2 * 4 * (2 * 16 + 16 * 16 + 16), "float32[4,1]")


def test_a_layer_that_is_called_twice_has_one_row():
    class Twice(linen.Module):
        @linen.compact
        def __call__(self, x):
            layer = linen.Dense(3, name="layer")
            return layer(layer(x))

    found = rows(describe(Twice(), shape(2, 3)))
    assert found["layer"] == ("float32[2,3]", 12, 0, 2 * (2 * 2 * 3 * 3))


def test_the_table_lines_up_and_leaves_out_what_is_empty():
    lines = str(describe(LeNet(), shape(1, 32, 32, 1))).splitlines()
    assert lines[0] == "forward pass of float32[1,32,32,1]"
    assert lines[1].split() == ["layer", "kind", "output", "parameters", "bytes", "FLOPs", "share"]
    assert re.split(r"  +", lines[4]) == ["Conv_0", "Conv", "float32[1,28,28,6]", "156", "624", "235 k", "28.2%"]
    assert re.split(r"  +", lines[-1]) == ["total", "float32[1,10]", "61,706", "247 k", "833 k", "100.0%"]
    assert {len(line) for line in lines[4:6]} == {len(lines[1])}


def test_what_is_no_model_or_no_input_is_refused():
    with pytest.raises(TypeError, match=r"model: expected a Linen module or a stepax\.Model, got str"):
        describe("cnn", shape(1, 2))
    with pytest.raises(TypeError, match=r"x: expected an array or a jax.ShapeDtypeStruct, .* got 3"):
        describe(LeNet(), 3)
    with pytest.raises(ValueError, match="expected images of shape"):
        describe(sx.nn.CNN((4,), classes=2), shape(1, 2))
