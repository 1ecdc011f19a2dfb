"""One device against eight: the same numbers, less memory, and checkpoints that go from one to the other."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from tests.transforms.learners import batch_of, close, cnn, mlp, start

import stepax as sx
from stepax.transforms.accumulate import accumulate
from stepax.transforms.average import average, averaged
from stepax.transforms.guard import guard
from stepax.transforms.population import population
from stepax.transforms.precise import precise
from stepax.transforms.shard import by_path, fully_sharded, mesh, shard, shardings
from stepax.transforms.watch import watch

MEGATRON = {
    "(qkv|dense_in|head)/kernel$": P(None, "model"),
    "(qkv|dense_in)/bias$": P("model"),
    "(out|dense_out)/kernel$": P("model", None),
    "/tokens$": P("model", None),
}
EXPLICIT = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))


@functools.cache
def devices(**axes):
    return mesh(**axes)


def decoder(layers=1):
    model = sx.nn.Decoder(16, 8, layers, 2, 6)
    return sx.supervised(model, sx.losses.cross_entropy, optax.adam(1e-2))


class Recurrent(linen.Module):
    """Two layers, the first with inputs wider than its state, which are projected before the scan."""

    layer: type

    @linen.compact
    def __call__(self, x, train=False):
        hidden, _ = self.layer(16)(x)
        outputs, _ = self.layer(32)(hidden)
        return sx.nn.Dense(3)(outputs[:, -1])


def recurrent(layer):
    return sx.supervised(Recurrent(layer), sx.losses.cross_entropy, optax.adam(1e-2))


def tokens(rows=16):
    counting = (np.arange(rows)[:, None] + np.arange(7)) % 16
    return {"x": counting[:, :-1].astype(np.int32), "y": counting[:, 1:].astype(np.int32)}


def double(tree):
    return jax.tree.map(lambda a: a.astype(float) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


def agree(learner, other, data, steps=3):
    """Several steps of both, from the same state."""
    state = start(learner, data)
    compiled, own = jax.jit(learner.step), jax.jit(other.step)
    many = jax.jit(other.init)(jax.random.key(0), data)
    close(jax.device_get(double(many).params), jax.device_get(state.params), 1e-6)
    many = jax.device_put(state, jax.tree.map(lambda a: a.sharding, many))
    for _ in range(steps):
        state, metrics = compiled(state, data)
        many, found = own(many, data)
    close(many, state, 1e-9)
    close(found, metrics, 1e-9)
    key = jax.random.key(1)
    close(jax.jit(other.evaluate)(many, data, key), jax.jit(learner.evaluate)(state, data, key), 1e-9)
    close(jax.jit(other.predict)(many, data["x"]), jax.jit(learner.predict)(state, data["x"]), 1e-9)
    return many


def test_eight_devices_agree_with_one_with_batch_normalisation(x64):
    agree(cnn(), shard(cnn(), devices(data=8)), double(batch_of(16, (6, 6, 1))))


def test_eight_devices_agree_with_one_fully_sharded_with_dropout(x64):
    learner = mlp((32, 3), dropout=0.5, optimizer=optax.adam(1e-2))
    agree(learner, shard(learner, devices(data=8), fully_sharded(devices(data=8), least=8)), double(batch_of(16)))


def test_tensor_parallel_agrees_with_one_device_and_divides_what_the_optimizer_keeps(x64):
    learner = decoder()
    state = agree(learner, shard(learner, devices(data=4, model=2), by_path(MEGATRON)), tokens())
    for tree in (state.params, state.opt_state[0].mu):
        assert tree["block_0"]["dense_in"]["kernel"].sharding.spec == P(None, "model")
        assert tree["block_0"]["dense_in"]["kernel"].addressable_shards[0].data.shape == (8, 16)
        assert tree["block_0"]["dense_out"]["bias"].sharding.is_fully_replicated


def test_tensor_parallel_beside_fully_sharded():
    grid = devices(data=4, model=2)
    learner = shard(decoder(), grid, by_path(MEGATRON, fully_sharded(grid, least=8)))
    params = jax.jit(learner.init)(jax.random.key(0), tokens()).params
    assert params["places"].sharding.spec == P(None, "data")
    assert params["tokens"].sharding.spec == P("model")


def with_others(learner):
    return watch(guard(average(accumulate(learner, 2), 0.9)))


@pytest.mark.parametrize("outermost", [True, False])
def test_it_goes_with_other_transformations_in_either_order(outermost, x64):
    learner, data, grid = mlp((16, 3), optimizer=optax.adam(1e-2)), double(batch_of(16)), devices(data=8)
    rules, both = fully_sharded(grid, least=8), with_others(learner)
    agree(both, shard(both, grid, rules) if outermost else with_others(shard(learner, grid, rules)), data)


def test_an_average_is_divided_as_the_parameters_are():
    grid = devices(data=8)
    learner = shard(average(mlp((64, 3))), grid, fully_sharded(grid, least=8))
    state = jax.jit(learner.init)(jax.random.key(0), batch_of(16))
    assert state.extra["average"]["sums"]["dense_0"]["kernel"].sharding.spec == P(None, "data")
    assert jax.device_get(averaged(state))["dense_0"]["kernel"].shape == (5, 64)


def test_lanes_of_a_population_on_a_device_each(x64):
    data, grid = double(batch_of(6)), devices(lanes=8)
    many = population(mlp(optimizer=optax.adam(1e-2)), 8)
    state = agree(many, shard(many, grid, by_path({"^(params|opt_state|key)": P("lanes")})), data)
    assert state.params["head"]["kernel"].addressable_shards[0].data.shape == (1, 7, 3)


def test_a_population_of_what_is_divided(x64):
    data, grid = double(batch_of(16)), devices(data=8)
    learner = mlp((8, 3))
    agree(population(learner, 2), population(shard(learner, grid, fully_sharded(grid, least=8)), 2), data)


def test_in_half_precision():
    data, grid = batch_of(16), devices(data=8)
    first, second = (jax.jit(f.step) for f in (precise(mlp()), shard(precise(mlp()), grid)))
    state = start(mlp(), data)
    close(first(state, data)[0], second(state, data)[0], 1e-2)


def analysed(learner, data):
    state = jax.jit(learner.init)(jax.random.key(0), data)
    compiled = jax.jit(learner.step, donate_argnums=0).lower(state, data).compile()
    return compiled.memory_analysis(), compiled.cost_analysis()["flops"], compiled.as_text()


def test_fully_sharded_memory_falls_with_the_number_of_devices():
    grid = devices(data=8)
    learner = mlp((512, 512, 3), optimizer=optax.adam(1e-3))
    data = batch_of(64, (64,))
    one, whole, divided = (
        analysed(each, data)[0]
        for each in (learner, shard(learner, grid), shard(learner, grid, fully_sharded(grid, least=512)))
    )
    assert whole.argument_size_in_bytes > 0.97 * one.argument_size_in_bytes
    assert divided.argument_size_in_bytes < one.argument_size_in_bytes / 7.5
    assert divided.output_size_in_bytes < one.output_size_in_bytes / 7.5
    assert divided.alias_size_in_bytes > 0.97 * divided.output_size_in_bytes


NETWORKS = {
    "mlp": lambda: (mlp((64, 64, 3)), batch_of(512, (32,))),
    "cnn": lambda: (cnn(), batch_of(512, (12, 12, 1))),
    "decoder": lambda: (decoder(), tokens(512)),
    "lstm": lambda: (recurrent(sx.nn.LSTM), batch_of(512, (12, 24))),
    "gru": lambda: (recurrent(sx.nn.GRU), batch_of(512, (12, 24))),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_work_and_memory_of_a_batch_fall_with_the_number_of_devices(network):
    # Large enough that our operations would take them in parts, which must not cut across the devices' shares.
    learner, data = NETWORKS[network]()
    sharded = shard(learner, devices(data=8))
    memory, own, text = analysed(sharded, data)
    eighth = jax.tree.map(lambda a: a[: len(a) // 8], data)
    small, expected, _ = analysed(learner, eighth)
    assert own < 1.15 * expected
    assert memory.temp_size_in_bytes < 1.5 * small.temp_size_in_bytes + 2**16
    assert set(re.findall(r"(all-gather|all-to-all|collective-permute|all-reduce)(?:-start)?\(", text)) == {
        "all-reduce"
    }


DATA = batch_of(52, (6, 6, 1))


def trained(learner, state=None, epochs=2, **settings):
    settings = {"key": jax.random.key(0), "batch_size": 16, "progress": False, **settings}
    return sx.fit(learner, DATA, epochs=epochs, state=state, **settings)


def test_fit_gives_the_history_of_one_device():
    rules, learner = fully_sharded(devices(data=8), least=8), cnn(optax.sgd(0.1))
    runs = [trained(each, validation=DATA) for each in (learner, shard(learner, devices(data=8), rules))]
    first, second = ({name: values for name, values in run.history.items() if name != "seconds"} for run in runs)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_allclose(first[name], second[name], 1e-4, err_msg=name)
    assert runs[1].state.params["head"]["kernel"].sharding.num_devices == 8
    outputs = [
        sx.predict(each, run.state, DATA["x"])
        for each, run in zip((learner, shard(learner, devices(data=8))), runs, strict=True)
    ]
    np.testing.assert_allclose(*outputs, 1e-3, 1e-4)


def on_host(tree):
    return jax.tree.map(
        lambda a: np.asarray(jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a), tree
    )


def same_bits(first, second):
    jax.tree.map(np.testing.assert_array_equal, on_host(first), on_host(second))


@pytest.mark.parametrize("order", [(1, 8), (8, 1), (8, 8)])
def test_a_checkpoint_of_some_devices_goes_on_on_others(order, tmp_path):
    learner, grid = cnn(), devices(data=8)
    learners = {1: learner, 8: shard(learner, grid, fully_sharded(grid, least=8))}
    first, second = (learners[count] for count in order)
    half = trained(first, epochs=1, checkpoints=tmp_path)
    found = next(iter(sx.training(second, DATA, key=jax.random.key(0), epochs=1, batch_size=16, checkpoints=tmp_path)))
    same_bits(found.state, half.state)
    assert {a.sharding.num_devices for a in jax.tree.leaves(found.state)} == {order[1]}
    after = trained(second, epochs=2, checkpoints=tmp_path)
    whole = trained(first, epochs=2)
    assert after.state.step == whole.state.step
    if order[0] == order[1]:
        same_bits(after.state, whole.state)
    else:
        close(on_host(after.state.params), on_host(whole.state.params), 1e-3)


def test_chunks_and_a_state_from_elsewhere_change_no_bit():
    grid = devices(data=8)
    learner = shard(cnn(), grid, fully_sharded(grid, least=8))
    source = sx.shuffled(DATA, 16, jax.random.key(1))
    state = jax.jit(learner.init)(jax.random.key(0), source.take(source.order(0), 0))
    elsewhere = jax.tree.map(
        lambda a: a if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else jnp.asarray(np.asarray(a)), state
    )._replace(key=jax.random.wrap_key_data(np.asarray(jax.random.key_data(state.key))))
    ends = []
    for first, chunk in ((elsewhere, 1), (state, 3), (elsewhere, None), (state, 2)):
        for now, _ in sx.epochs(learner, source, first, chunk=chunk):
            if now.step == 8:
                ends.append(on_host(now))
                break
    for end in ends[1:]:
        jax.tree.map(np.testing.assert_array_equal, ends[0], end)


def test_wrong_labels_are_an_error_before_any_compile():
    data = {**DATA, "y": DATA["y"] + 1}
    with pytest.raises(ValueError, match="labels"):
        sx.fit(shard(cnn(), devices(data=4)), data, key=jax.random.key(0), epochs=1, batch_size=16, progress=False)


def test_rules_are_shown_on_shapes_alone():
    grid = devices(data=4, model=2)
    state = jax.eval_shape(decoder().init, jax.random.key(0), tokens())
    found = shardings(state, grid, by_path(MEGATRON))
    assert found.params["block_0"]["attention"]["qkv"]["kernel"].spec == P(None, "model")
    assert found.step.spec == P()


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (
            {"dense_0/kernel$": P("model")},
            r"params/dense_0/kernel of shape \[5, 7\] .*no axis 'model': known are 'data'",
        ),
        (
            {"dense_0/kernel$": P("data")},
            r"params/dense_0/kernel of shape \[5, 7\] .*8 devices along data do not divide 5",
        ),
        ({"dense_0/bias$": P(None, "data")}, r"params/dense_0/bias of shape \[7\] .*for 2 axes: the array has 1"),
        ({"dense_9/bias$": P()}, r"pattern 'dense_9/bias\$' .*matches nothing; there are params/dense_0/bias"),
    ],
)
def test_rules_that_do_not_fit_are_refused_before_any_compile(patterns, message):
    learner = shard(mlp(), devices(data=8), by_path(patterns))
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(learner.init, jax.random.key(0), batch_of(8))
    state = jax.eval_shape(mlp().init, jax.random.key(0), batch_of(8))
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(learner.step, state, batch_of(8))


def test_rows_that_cannot_be_divided_are_refused_in_a_step_and_measured_by_all():
    learner, data = shard(mlp(), devices(data=8)), batch_of(12)
    state = start(learner, data)
    with pytest.raises(ValueError, match="batch_size: 8 devices along data do not divide a batch of 12 rows"):
        jax.eval_shape(learner.step, state, data)
    assert sx.evaluate(learner, state, data) == pytest.approx(sx.evaluate(mlp(), jax.device_get(state), data), rel=1e-5)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: shard(mlp(), "data"), TypeError, "mesh: expected a mesh of devices, .* got 'data'"),
        (lambda: shard(mlp(), EXPLICIT), ValueError, "mesh: expected automatic axes"),
        (lambda: shard("mlp", mesh()), TypeError, "learner: expected a stepax.Learner"),
        (lambda: shard(mlp(), mesh(), P()), TypeError, "rules: expected a function"),
        (lambda: shardings({"a": jnp.zeros(3)}, mesh(), lambda p, a: None), TypeError, "rules: a of .* got None"),
        (lambda: fully_sharded(mesh(), "model"), ValueError, "axis: unknown axis 'model': known are 'data'"),
        (lambda: by_path({"(": P()}), ValueError, r"patterns: '\(' is no regular expression"),
        (lambda: by_path({"a": "data"}), TypeError, "patterns: expected a jax.sharding.PartitionSpec for 'a'"),
        (lambda: mesh(data=3, model=-1), ValueError, "axes: 8 devices do not make a mesh of data=3 × model=-1"),
        (lambda: mesh(data=16), ValueError, "axes: 8 devices do not make a mesh of data=16"),
        (lambda: mesh(data=0), ValueError, "data: expected at least 1, got 0"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_meshes():
    assert dict(mesh().shape) == {"data": 8}
    assert dict(mesh(model=2, data=-1).shape) == {"model": 2, "data": 4}
    assert mesh(jax.devices()[:4]).size == 4
    assert mesh(data=2).size == 2


def test_it_lowers_for_every_platform():
    learner, data = shard(cnn(), devices(data=8)), batch_of(16, (6, 6, 1))
    state = jax.eval_shape(learner.init, jax.random.key(0), data)
    exported = jax.export.export(jax.jit(learner.step), platforms=("cpu", "cuda", "tpu"))(state, data)
    assert exported.nr_devices == 8
