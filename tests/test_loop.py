"""The loop by itself: positions, chunks, borrowed states, and steps that may not be loops."""

import contextlib
import itertools
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.cases import CASES

import stepax as sx
from stepax.data import stream
from stepax.source import Stream, example


def counting(step=None):
    """Sums up the rows it sees; its metrics show them."""

    def count(state, batch, gradient=sx.gradient):
        seen = batch["x"].sum()
        return state._replace(params=state.params + seen, step=state.step + 1), {"seen": seen, "step": state.step}

    return sx.Learner(None, step or count, None, None)


def start(step=0):
    return sx.new_state(jax.random.key(0), jnp.float32(0), {}, ())._replace(step=jnp.int32(step))


SOURCE = {"x": np.arange(10, dtype=np.float32)}


@pytest.mark.parametrize(
    ("chunk", "steps"), [(None, [5, 5, 5]), (2, [2, 2, 1, 2, 2, 1]), (1, [1] * 6), (99, [5, 5]), (5, [5, 5])]
)
def test_chunks_end_with_the_epoch(chunk, steps):
    turns = itertools.islice(sx.epochs(counting(), sx.in_order(SOURCE, 2), start(), chunk=chunk), len(steps))
    position = 0
    for (state, metrics), length in zip(turns, steps, strict=True):
        assert metrics["step"].tolist() == list(range(position, position + length))
        np.testing.assert_array_equal(metrics["seen"], [1 + 4 * (i % 5) for i in range(position, position + length)])
        position += length
        assert state.step == position


def test_the_step_is_the_whole_position():
    state, metrics = next(sx.epochs(counting(), sx.in_order(SOURCE, 2), start(8)))
    assert metrics["seen"].tolist() == [13, 17]
    assert state.step == 10


def test_seconds_cut_chunks_without_changing_the_result():
    turns = sx.epochs(counting(), sx.in_order(SOURCE, 2), start(), seconds=1e-9)
    states = [(int(state.step), float(state.params)) for state, _ in itertools.islice(turns, 5)]
    assert states == [(1, 1), (2, 6), (3, 15), (4, 28), (5, 45)]
    turns = sx.epochs(counting(), sx.in_order(SOURCE, 2), start(), seconds=1e3)
    assert [int(state.step) for state, _ in itertools.islice(turns, 3)] == [1, 5, 10]


def test_the_given_state_stays_valid_and_a_yielded_one_is_borrowed():
    given = start()
    turns = sx.epochs(counting(), sx.in_order(SOURCE, 2), given)
    borrowed, _ = next(turns)
    kept = jax.tree.map(jnp.copy, borrowed)
    next(turns)
    assert borrowed.params.is_deleted()
    assert (float(given.params), float(kept.params)) == (0, 45)


@pytest.mark.parametrize("chunk", [0, -3])
def test_a_chunk_of_nothing_is_refused(chunk):
    with pytest.raises(ValueError, match="chunk: expected at least"):
        next(sx.epochs(counting(), sx.in_order(SOURCE, 2), start(), chunk=chunk))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s._replace(params=jnp.zeros(2)), r"state\.params was float32\[\] and became float32\[2\]"),
        (lambda s: s._replace(params=jnp.int32(0)), r"state\.params was float32\[\] and became int32\[\]"),
        (lambda s: s._replace(extra={"more": s.step}), r"state\.extra\['more'\] was absent and became int32\[\]"),
        (lambda s: s._replace(params={}), r"state\.params was float32\[\] and became absent"),
    ],
)
def test_a_step_that_changes_the_states_shapes_is_named(change, message):
    step = lambda state, batch, gradient=None: (change(state), {"loss": jnp.float32(0)})  # noqa: E731
    with pytest.raises(ValueError, match=message):
        next(sx.epochs(counting(step), sx.in_order(SOURCE, 2), start()))


def test_a_source_whose_batches_change_shape_is_an_error_that_says_so():
    source = sx.in_order(SOURCE, 2)
    growing = source._replace(order=lambda e: jax.tree.map(lambda leaf: jnp.tile(leaf, e + 1), source.order(e)))
    turns = sx.epochs(counting(), growing, start())
    next(turns)
    with pytest.raises(ValueError, match=r"argument \[1\]\['data'\]\['x'\]: was float32\[10\], is float32\[20\]"):
        next(turns)


def test_what_is_no_learner_source_state_or_count_is_refused():
    source = sx.in_order(SOURCE, 2)
    with pytest.raises(TypeError, match=r"chunk: expected a whole number, got float 2.5"):
        next(sx.epochs(counting(), source, start(), chunk=2.5))
    with pytest.raises(TypeError, match=r"source: expected a stepax\.Source, as stepax\.shuffled.*, got dict"):
        next(sx.epochs(counting(), SOURCE, start()))
    with pytest.raises(TypeError, match=r"learner: expected a stepax\.Learner, .* got MLP"):
        next(sx.epochs(sx.nn.MLP((2,)), source, start()))
    with pytest.raises(TypeError, match=r"state: expected a stepax\.State, .* got dict"):
        next(sx.epochs(counting(), source, {}))


def streamed(size=2, data=None, key=None):
    return stream(SOURCE if data is None else data, size, key)


def steps(turns, count):
    """Each step's metrics until ``count`` steps are made, and the state then."""
    seen = []
    with contextlib.closing(turns):
        for state, metrics in turns:
            seen.append(metrics)
            if state.step >= count:
                joined = {name: np.concatenate([part[name] for part in seen]) for name in seen[0]}
                break
    return jax.device_get(state._replace(key=jax.random.key_data(state.key))), joined


def readers():
    return [thread.name for thread in threading.enumerate() if "grain" in thread.name or "stepax" in thread.name]


def ended():
    """Whether all threads that read have ended; they do a moment after they were told to."""
    end = time.monotonic() + 10
    while readers() and time.monotonic() < end:
        time.sleep(0.01)
    return not readers()


@pytest.mark.parametrize("name", ["mlp", "cnn", "tree", "nnx"])
def test_a_stream_trains_to_the_bits_of_data_in_memory(name):
    case = CASES[name]
    learner, source = case.make(), sx.shuffled(case.data, case.batch_size, jax.random.key(5))
    state = jax.jit(learner.init)(jax.random.key(0), example(source))
    count = 3 * source.length
    expected = steps(sx.epochs(learner, source, state), count)
    for cut in ({}, {"chunk": 1}, {"room": 1}, {"seconds": 1e-9}):
        found = steps(sx.epochs(learner, streamed(case.batch_size, case.data, jax.random.key(5)), state, **cut), count)
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_stream_goes_on_at_the_step_of_its_state():
    for first in (1, 3, 5, 8):
        _, metrics = next(turns := sx.epochs(counting(), streamed(), start(first)))
        assert metrics["seen"].tolist() == [1 + 4 * (i % 5) for i in range(first, 5 * (first // 5) + 5)]
        turns.close()
    _, metrics = steps(sx.epochs(counting(), streamed(), start(3), room=1), 12)
    assert metrics["seen"].tolist() == [13, 17, 1, 5, 9, 13, 17, 1, 5]
    assert ended()


def test_room_bounds_what_is_read_ahead():
    read = []

    def batches(epoch, first):
        for i in range(first, 20):
            read.append((epoch, i))
            yield {"x": np.float32([i])}

    source = Stream(20, {"x": jax.ShapeDtypeStruct((1,), np.float32)}, batches)
    turns = sx.epochs(counting(), source, start(), room=12)
    _, metrics = next(turns)
    assert metrics["seen"].tolist() == [0, 1, 2]
    assert len(read) == 6  # one chunk computed, one that waits
    list(itertools.islice(turns, 6))
    # Nothing of the next epoch is read before it is wanted.
    assert read[-1] == (0, 19)
    next(turns)
    assert read[-1][0] == 1
    turns.close()
    assert ended()


def test_closing_ends_the_threads_and_the_streams_own_iterator():
    closed = []

    def batches(epoch, first):
        try:
            for i in itertools.count():
                yield {"x": np.float32([i])}
        finally:
            closed.append(epoch)

    source = Stream(9, {"x": jax.ShapeDtypeStruct((1,), np.float32)}, batches)
    turns = sx.epochs(counting(), source, start(), room=12)
    next(turns)
    turns.close()
    assert closed == [0]
    assert ended()
    turns = sx.epochs(counting(), streamed(1), start(), room=12)
    next(turns)
    del turns
    assert ended()


def failing(number):
    def decode(row):
        if row["x"] == number:
            raise KeyError("lost")
        return row

    return decode


@pytest.mark.parametrize("room", [1, 12, 10**6])
def test_steps_before_a_batch_that_cannot_be_read_are_made(room):
    source = stream({"x": SOURCE["x"]}, 2, decode=failing(7))
    seen = []
    turns = (seen.extend(metrics["seen"]) for _, metrics in sx.epochs(counting(), source, start(), room=room))
    with pytest.raises(RuntimeError, match=r"batch 3 of epoch 0 cannot be read: .*row 7: KeyError: 'lost'"):
        list(turns)
    assert seen == [1, 5, 9]
    assert ended()


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([{"x": np.float32([1])}] * 2, "the stream ended before batch 2 of epoch 0, and has a length of 5"),
        (
            [{"x": np.float32([1])}, {"x": np.float32([1, 2])}],
            r"batch 1 of epoch 0 is x: float32\[2\]; expected x: float32\[1\]",
        ),
        ([{"x": np.float64([1])}], r"batch 0 of epoch 0 is x: float64\[1\]; expected x: float32\[1\]"),
        ([{"y": [1.0]}], r"batch 0 of epoch 0 is y/0: float64\[\]; expected x: float32\[1\]"),
    ],
)
def test_a_stream_that_breaks_its_word_is_an_error(batches, message):
    source = Stream(5, {"x": jax.ShapeDtypeStruct((1,), np.float32)}, lambda epoch, first: iter(batches))
    with pytest.raises(ValueError, match=message):
        steps(sx.epochs(counting(), source, start()), 5)
    assert ended()


def test_a_stream_of_ragged_batches_is_refused():
    like = {"x": jax.ShapeDtypeStruct((2,), np.float32), "y": jax.ShapeDtypeStruct((3,), np.float32)}
    with pytest.raises(ValueError, match=r"expected a stream of batches with one leading axis, .* y: float32\[3\]"):
        next(sx.epochs(counting(), Stream(5, like, lambda epoch, first: iter(())), start()))


def test_64_bits_stay_where_they_are_on(x64):
    given = sx.new_state(jax.random.key(0), jnp.float64(0), {}, ())
    data = {"x": np.float64([1 / 3, 2 / 3, 1])}
    _, metrics = steps(sx.epochs(counting(), stream(data, 1), given), 3)
    assert metrics["seen"].tolist() == data["x"].tolist()


def test_the_rooms_size_is_checked():
    with pytest.raises(ValueError, match="room: expected at least 1, got 0"):
        next(sx.epochs(counting(), streamed(), start(), room=0))
