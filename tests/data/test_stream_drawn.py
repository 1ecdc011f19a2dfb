"""Examples from a generator, mixed in a buffer."""

import numpy as np
import pytest

from stepax.data.stream_drawn import Drawing, Drawn


def drawn(count=20, buffer=4, decode=None, made=None):
    def make(epoch):
        (made if made is not None else []).append(epoch)
        yield from ({"x": i} for i in range(count))

    return Drawn(make, count, decode, buffer)


def numbers(source, seed, count=None):
    random = None if seed is None else np.random.default_rng(seed)
    return [example["x"] for example in source.drawn(0, random, count)]


def test_a_buffer_mixes_nearby_examples_and_loses_none():
    order = numbers(drawn(), 0)
    assert sorted(order) == list(range(20))
    assert order != list(range(20))
    assert order == numbers(drawn(), 0) != numbers(drawn(), 1)
    # An example can wait long, but cannot come before it has entered the buffer.
    assert all(place >= number - 4 for place, number in enumerate(order))
    assert numbers(drawn(buffer=1), 0) == list(range(20)) == numbers(drawn(), None)


def test_a_large_buffer_draws_every_order_alike():
    firsts = [numbers(drawn(4, 10), seed)[0] for seed in range(400)]
    assert np.bincount(firsts).min() > 70


def test_the_order_is_the_seeds_for_ever():
    # A saved run goes on with the orders it began with: they must never change.
    assert numbers(drawn(8, 3), 0) == ORDER


ORDER = [2, 1, 4, 0, 6, 7, 3, 5]


def test_what_is_skipped_is_drawn_but_not_decoded():
    decoded = []

    def decode(example):
        decoded.append(example["x"])
        return example

    source = drawn(decode=decode)
    decoded.clear()
    whole = Drawing(source, 0, np.random.default_rng(5), 0, 6, slice(None))
    batches = [whole.batch(i)["x"].tolist() for i in range(4)]
    decoded.clear()
    late = Drawing(source, 0, np.random.default_rng(5), 2, 6, slice(1, 3))
    assert late.batch(2)["x"].tolist() == batches[2][1:3] == decoded
    assert late.batch(3)["x"].tolist() == batches[3][1:3]
    assert batches[3][2:] == batches[0][:4]


def test_one_example_is_drawn_to_see_its_shape():
    made = []
    assert drawn(made=made).layout.shapes == ((),)
    assert made == [0]


def test_too_few_are_told():
    with pytest.raises(ValueError, match="epoch 3 ended after 2 of 5 examples"):
        list(Drawn(lambda epoch: iter([{"x": 0}] * 2), 5, None, 4).drawn(3, None))
