"""Streams: whose batches they give, who reads them, what is refused, and that nothing is left open."""

import itertools
import threading
import time

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stepax as sx
from stepax.data import stream

KEY = jax.random.key(3)


def table(n=13):
    random = np.random.default_rng(0)
    return {"x": random.normal(size=(n, 4)).astype(np.float32), "y": {"deep": np.arange(n, dtype=np.int32)}}


def batches(source, epoch=0, first=0):
    return [jax.device_get(batch) for batch in source.batches(epoch, first)]


def in_memory(source, epoch=0):
    order, take = source.order(epoch), jax.jit(source.take)
    return [jax.device_get(take(order, i)) for i in range(source.length)]


def same(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def mapped(folder, data):
    """The same arrays, mapped from files."""
    names = iter(range(99))

    def through(array):
        path = folder / f"{next(names)}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode="r")

    return jax.tree.map(through, data)


@pytest.mark.parametrize("size", [1, 4, 13, 99])
@pytest.mark.parametrize("key", [KEY, None], ids=["shuffled", "in order"])
def test_mapped_arrays_give_the_batches_of_arrays_in_memory(size, key, tmp_path):
    source = sx.in_order(table(), size) if key is None else sx.shuffled(table(), size, key)
    streamed = stream(mapped(tmp_path, table()), size, key)
    assert streamed.length == source.length
    for epoch in (0, 2):
        expected = in_memory(source, epoch)
        same(list(streamed.batches(epoch, 0)), expected)
        same(list(streamed.batches(epoch, 1)), expected[1:])
    same(
        jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), streamed.like),
        jax.tree.map(np.zeros_like, expected[0]),
    )


@pytest.mark.parametrize("shape", [(13,), (13, 2)])
def test_own_weights_are_kept_and_the_fillers_weigh_nothing(shape):
    data = {**table(), "weight": np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)}
    same(list(stream(data, 5, KEY).batches(1, 0)), in_memory(sx.shuffled(data, 5, KEY), 1))
    assert data["weight"].min() == 1


def test_arrays_of_64_bits_and_other_byte_orders_become_what_jax_makes_of_them():
    data = {"x": np.linspace(0, 1, 6), "y": np.arange(6), "z": np.arange(6, dtype=">i2"), "b": np.arange(6) % 2 == 0}
    streamed = stream(data, 4)
    same(list(streamed.batches(0, 0)), in_memory(sx.in_order({**data, "z": data["z"].astype("i2")}, 4)))
    assert streamed.like["x"].dtype == np.float32


def dicts(n=13):
    return [{"x": row, "y": {"deep": np.int32(i)}} for i, row in enumerate(table(n)["x"])]


def test_a_sequence_gives_the_same_batches():
    for key in (KEY, None):
        same(
            list(stream(dicts(), 4, key).batches(1, 1)),
            list(stream(table(), 4, key).batches(1, 1)),
        )


@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 3), st.booleans())
@settings(max_examples=12, deadline=None, derandomize=True)
def test_processes_share_every_batch_in_stretches(n, size, processes, shuffled):
    n, size, key = n + 2 * processes, size * processes, KEY if shuffled else None
    size = size if size <= n else processes
    whole = list(stream(table(n), size, key).batches(1, 0))
    parts = [
        list(stream(table(n), size, key, process_index=i, process_count=processes).batches(1, 0))
        for i in range(processes)
    ]
    joined = [jax.tree.map(lambda *leaves: np.concatenate(leaves), *shares) for shares in zip(*parts, strict=True)]
    same(joined, whole)


def test_a_sequence_that_can_also_be_called_is_a_sequence():
    class Both(list):
        def __call__(self, epoch):
            raise AssertionError

    assert stream(Both(dicts(4)), 2).length == 2


def make(n=13):
    def examples(epoch):
        for i in range(n):
            yield {"x": np.float32([i, epoch]), "y": i}

    return examples


def test_a_function_gives_every_example_once_and_goes_on_anywhere():
    streamed = stream(make(), 4, KEY, examples=13, buffer=5)
    orders = []
    for epoch in (0, 1):
        whole = list(streamed.batches(epoch, 0))
        same(list(streamed.batches(epoch, 2)), whole[2:])
        numbers = np.concatenate([batch["y"] for batch in whole])
        weight = np.concatenate([batch["weight"] for batch in whole])
        assert sorted(numbers[weight == 1]) == list(range(13))
        assert numbers[weight == 0].tolist() == numbers[:3].tolist()
        assert {float(row[1]) for batch in whole for row in batch["x"]} == {epoch}
        orders.append(numbers.tolist())
    assert orders[0] != orders[1]


def test_a_function_in_order_may_be_endless_and_shared():
    endless = lambda epoch: ({"y": i} for i in itertools.count(10 * epoch))  # noqa: E731
    assert [b["y"].tolist() for b in batches(stream(endless, 2, examples=5), 1)] == [[10, 11], [12, 13], [14, 10]]
    half = stream(endless, 2, examples=5, process_index=1, process_count=2)
    assert [(b["y"].tolist(), b["weight"].tolist()) for b in batches(half, 1, 1)] == [([13], [1]), ([10], [0])]


def test_decode_makes_the_examples():
    seen = []

    def decode(example):
        seen.append(int(example["y"]["deep"]))
        return {"x": example["x"] * 2, "label": seen[-1] % 2}

    for source in (table(), dicts()):
        seen.clear()
        (batch,) = batches(stream(source, 2, decode=decode, threads=1), 0, 6)
        np.testing.assert_array_equal(batch["x"], 2 * table()["x"][[12, 0]])
        assert batch["label"].tolist() == [0, 0]
        assert set(seen) == {0, 12}


def test_batches_are_read_ahead_by_threads_that_end_with_the_iterator():
    asked = []

    class Sequence(list):
        def __getitem__(self, number):
            asked.append((number, threading.current_thread().name))
            return super().__getitem__(number)

    iterator = stream(Sequence(dicts(40)), 2, threads=2, prefetch=4).batches(0, 0)
    next(iterator)
    wait(lambda: len(asked) >= 10)
    assert {name.split("_")[0] for _, name in asked[1:]} == {"grain-prefetch"}
    assert max(number for number, _ in asked) < 14
    iterator.close()
    wait(lambda: not readers())


def readers():
    return [thread.name for thread in threading.enumerate() if "grain" in thread.name or "stepax" in thread.name]


def wait(until):
    """Threads end a moment after they were told to."""
    end = time.monotonic() + 10
    while not until():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_function_is_closed_when_no_more_is_wanted():
    closed = []

    def examples(epoch):
        try:
            yield from ({"x": i} for i in range(100))
        finally:
            closed.append(epoch)

    streamed = stream(examples, 2, examples=100)
    closed.clear()
    iterator = streamed.batches(7, 0)
    next(iterator)
    iterator.close()
    assert closed == [7]
    assert len(batches(streamed, 8)) == 50
    assert closed == [7, 8]


def failing(number):
    def decode(example):
        if example["y"]["deep"] == number:
            raise KeyError("lost")
        return example

    return decode


@pytest.mark.parametrize("source", [table(), dicts()], ids=["arrays", "sequence"])
def test_what_fails_is_told_with_the_batch_and_the_example(source):
    iterator = stream(source, 2, decode=failing(7)).batches(5, 1)
    assert [next(iterator)["y"]["deep"].tolist() for _ in range(2)] == [[2, 3], [4, 5]]
    with pytest.raises(
        RuntimeError, match=r"batch 3 of epoch 5 cannot be read: .*decode fails at (row|example) 7: KeyError: 'lost'"
    ):
        next(iterator)
    wait(lambda: not readers())


def test_what_a_function_raises_and_an_early_end_are_told():
    def broken(epoch):
        yield from ({"x": i} for i in range(5))
        if epoch:
            raise OSError("no line")

    with pytest.raises(RuntimeError, match=r"batch 2 of epoch 1 cannot be read: OSError: no line"):
        batches(stream(broken, 2, examples=6), 1)
    with pytest.raises(RuntimeError, match=r"batch 2 of epoch 0 .*generator of epoch 0 ended after 5 of 6 examples"):
        batches(stream(broken, 2, examples=6))


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (
            {"x": np.zeros(3, np.float32), "y": {"deep": np.int32(0)}},
            r'example 5\["x"\] is float32\[3\], .* float32\[4\]',
        ),
        ({"x": np.zeros(4), "y": {"deep": np.int32(0)}}, r'example 5\["x"\] is float64\[4\], .* float32\[4\]'),
        ({"x": np.zeros(4, np.float32)}, r"example 5 has another structure"),
        (7, r"example 5 has another structure"),
    ],
)
def test_an_example_unlike_the_first_is_named(example, message):
    examples = dicts()
    examples[5] = example
    with pytest.raises(RuntimeError, match=r"batch 2 of epoch 0 cannot be read: ValueError: " + message):
        batches(stream(examples, 2))


@pytest.mark.parametrize(
    ("source", "settings", "error", "message"),
    [
        (7, {}, TypeError, "source: expected a dict of arrays, a path of files, .* got int"),
        (np.zeros(3), {}, TypeError, "source: expected a dict of arrays, .* got ndarray"),
        ({}, {}, ValueError, "source holds no arrays"),
        ({"x": [1, 2]}, {}, TypeError, r'source\["x"\]\[0\] is of type int'),
        ({"x": np.float32(1)}, {}, TypeError, r'source\["x"\] is of type float32'),
        ({"x": np.array(1)}, {}, ValueError, r'source\["x"\] is a scalar'),
        ({"x": np.zeros(3), "y": np.zeros(2)}, {}, ValueError, r'source\["y"\] has 2 rows, but source\["x"\] has 3'),
        ({"x": np.array(["a"])}, {}, TypeError, r'source\["x"\] has dtype <U1: expected numbers'),
        ({"x": np.zeros((0, 2))}, {}, ValueError, "source: expected at least one example, got none"),
        ([], {}, ValueError, "source: expected at least one example, got none"),
        ([np.zeros(2)], {}, TypeError, r"source\[0\]: expected a dict of arrays .* got an array float64\[2\]"),
        ([{"x": "a"}], {}, TypeError, r'source\[0\]\["x"\] has dtype <U1: expected numbers, as `decode`'),
        (table(), {"batch_size": 0}, ValueError, "batch_size: expected at least 1, got 0"),
        (table(), {"batch_size": None}, TypeError, "batch_size: expected a whole number"),
        (table(), {"key": 0}, TypeError, "key: expected a typed key"),
        (table(), {"decode": 3}, TypeError, "decode: expected a function example -> example, got 3"),
        (table(), {"decode": lambda example: 3}, TypeError, "decode: the result: expected a dict .*, got int"),
        (table(), {"threads": 0}, ValueError, "threads: expected at least 1, got 0"),
        (table(), {"prefetch": 1.5}, TypeError, "prefetch: expected a whole number"),
        (table(), {"process_index": 2, "process_count": 2}, ValueError, "process_index: expected less than"),
        (table(), {"process_count": None}, TypeError, "process_count: expected a whole number, got NoneType"),
        (table(), {"process_count": 3}, ValueError, "batch_size: 3 processes do not divide a batch of 4 examples"),
        (table(), {"window": 3}, ValueError, "window=3 does not apply to a dict of arrays"),
        (dicts(), {"examples": 3}, ValueError, "examples=3 does not apply to a sequence"),
        (make(), {}, ValueError, "examples: a function of examples needs to be told how many"),
        (make(), {"examples": 5, "threads": 2}, ValueError, "threads=2 does not apply to a function"),
        (make(), {"examples": 5, "buffer": 2}, ValueError, r"buffer=2 does not apply to a function in order"),
        (make(0), {"examples": 5}, ValueError, "the generator of epoch 0 ended after 0 of 1 examples"),
        ("nowhere/*.npz", {}, FileNotFoundError, "source: no files at 'nowhere/"),
    ],
)  # fmt: skip
def test_what_cannot_be_streamed_is_refused(source, settings, error, message):
    with pytest.raises(error, match=message):
        stream(source, **{"batch_size": 4, **settings})


@pytest.mark.parametrize(("epoch", "first"), [(-1, 0), (0, -1), (0, 5)])
def test_positions_outside_are_refused_at_once(epoch, first):
    with pytest.raises(ValueError, match=r"expected at (least|most)"):
        stream(table(), 4).batches(epoch, first)
    assert batches(stream(table(), 4), 0, 4) == []
