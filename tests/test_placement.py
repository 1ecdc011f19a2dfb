"""Data lie beside the state, once; batches are the same wherever they lie."""

import re

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from tests.transforms.learners import batch_of, close, mlp

import stepax as sx
from stepax.data.stream import stream
from stepax.placement import Beside, mesh_of, next_of, placement, share, spread, stacked
from stepax.transforms.shard import fully_sharded, mesh, shard

DATA = batch_of(48)


def sharded():
    grid = mesh(data=8)
    return shard(mlp((16, 3)), grid, fully_sharded(grid, least=8))


def initial(learner):
    return jax.jit(learner.init)(jax.random.key(0), batch_of(16))


def trained(learner, source, steps=6, **settings):
    for state, _ in sx.epochs(learner, source, initial(learner), **settings):
        if state.step >= steps:
            return jax.device_get(state._replace(key=jax.random.key_data(state.key)))
    raise AssertionError("epochs ended")


def test_a_state_has_the_mesh_that_its_learner_was_given():
    assert mesh_of(initial(sharded())) == mesh(data=8)
    assert mesh_of(initial(mlp())) is None


def test_a_placement_is_that_of_the_compiled_init():
    learner = sharded()
    found = placement(jax.jit(learner.init), jax.random.key(0), batch_of(16))
    state = initial(learner)
    assert jax.tree.map(lambda a: a.sharding, found) == jax.tree.map(lambda a: a.sharding, state)
    assert jax.eval_shape(lambda s: s, found) == jax.eval_shape(lambda s: s, state)
    assert placement(jax.jit(mlp().init), jax.random.key(0), batch_of(16)) is None


def test_arrays_that_come_again_are_placed_once():
    state, beside, arrays = initial(sharded()), Beside(), {"x": jax.numpy.arange(8.0)}
    first = beside(state, arrays)
    assert first["x"].sharding.num_devices == 8
    assert beside(state, arrays)["x"] is first["x"]
    other = beside(state, {"x": jax.numpy.arange(8.0) + 1})
    assert other["x"].tolist() == list(range(1, 9))
    assert beside(state, other)["x"] is other["x"]
    assert beside(initial(mlp()), arrays) is arrays


def test_spread_data_give_the_same_training():
    learner, data = sharded(), spread(DATA, mesh(data=8))
    assert data["x"].addressable_shards[0].data.shape == (6, 5)
    close(
        trained(learner, sx.shuffled(data, 16, jax.random.key(1))),
        trained(learner, sx.shuffled(DATA, 16, jax.random.key(1))),
        1e-6,
    )
    run = sx.fit(learner, data, key=jax.random.key(0), epochs=1, batch_size=16, validation=data, progress=False)
    same = sx.fit(learner, DATA, key=jax.random.key(0), epochs=1, batch_size=16, validation=DATA, progress=False)
    assert run.history["validation/loss"] == pytest.approx(same.history["validation/loss"])


def test_a_batch_of_spread_data_costs_communication_and_no_copy_of_all():
    learner, data = sharded(), spread(batch_of(4096), mesh(data=8))
    source = sx.shuffled(data, 16, jax.random.key(1))
    compiled = (
        jax.jit(lambda s, o: learner.step(s, source.take(o, 0))).lower(initial(learner), source.order(0)).compile()
    )
    assert compiled.memory_analysis().temp_size_in_bytes < 4096 * 5 * 4 / 2
    assert not re.search(r"all-gather[^=]*= f32\[4096", compiled.as_text())


@pytest.mark.parametrize("rules", [lambda: mlp((16, 3)), sharded])
def test_a_stream_trains_on_a_mesh_as_on_one_device(rules):
    streamed = trained(rules(), stream(DATA, 16, jax.random.key(1)), chunk=2)
    close(streamed, trained(rules(), sx.shuffled(DATA, 16, jax.random.key(1))), 1e-5)


def test_stacked_batches_are_divided_by_rows():
    grid = mesh(data=4, model=2)
    batches = {"x": np.arange(48).reshape(2, 8, 3)}
    placed = stacked(batches, grid)
    assert placed["x"].addressable_shards[0].data.shape == (2, 2, 3)
    np.testing.assert_array_equal(jax.jit(next_of)(placed, 1)["x"], batches["x"][1])


def test_one_process_reads_whole_batches():
    assert share(mesh(data=4, model=2)) == (0, 1)
    assert share(mesh(lanes=8)) == (0, 1)


def test_data_that_cannot_be_spread_are_refused():
    with pytest.raises(ValueError, match="data: 8 devices along data do not divide 47 rows"):
        spread(batch_of(47), mesh(data=8))
    assert spread(batch_of(3), mesh(lanes=8))["x"].sharding == NamedSharding(mesh(lanes=8), P())
