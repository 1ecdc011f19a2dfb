"""Every example once an epoch, beside others of like length."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.test_source import counted, epoch

from stepax.bucketing import bucketed, check_lengths, reach, tokens_of


def data_of(lengths):
    """A row for each length, with its number beside."""
    x = (np.arange(8) < np.reshape(lengths, (-1, 1))).astype(np.int32)
    return {"x": x, "number": np.arange(len(lengths), dtype=np.int32)}


def numbered(batches):
    return [{**batch, "x": batch["number"]} for batch in batches]


@given(st.lists(st.integers(0, 8), min_size=1, max_size=13), st.integers(1, 6))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_every_example_counts_once_for_any_lengths(lengths, size):
    source = bucketed(data_of(lengths), size, jax.random.key(0), (2, 5, 8))
    np.testing.assert_array_equal(counted(numbered(epoch(source)), len(lengths)), 1)
    assert {batch["x"].shape for batch in epoch(source)} == {(min(size, len(lengths)), 8)}


def test_batches_hold_rows_of_one_bucket_but_where_two_meet():
    lengths = np.random.default_rng(0).integers(1, 9, 103)
    source = bucketed(data_of(lengths), 4, jax.random.key(0), (2, 5, 8))
    mixed = 0
    for batch in epoch(source):
        buckets = np.searchsorted((2, 5, 8), lengths[batch["number"]])
        mixed += len(set(buckets)) > 1
    assert mixed <= 2


def test_the_batch_that_is_filled_up_has_long_rows_and_may_come_at_any_time():
    lengths = [1] * 6 + [8] * 4  # 4, 4 and 2 with two more
    source = bucketed(data_of(lengths), 4, jax.random.key(0), (2, 8))
    places = set()
    for number in range(20):
        batches = epoch(source, number)
        (place,) = [i for i, batch in enumerate(batches) if (batch["weight"] == 0).any()]
        places.add(place)
        assert (batches[place]["number"] >= 6).sum() >= 3
        assert batches[place]["weight"].tolist() == [1, 1, 0, 0]
    assert places == {0, 1, 2}


def test_weights_of_ones_own_are_kept_and_full_batches_have_none():
    data = {**data_of([1, 2, 3]), "weight": np.float32([[1] * 8, [2] * 8, [3] * 8])}
    total = sum(batch["weight"][:, 0].sum() for batch in epoch(bucketed(data, 2, jax.random.key(0), (8,))))
    assert total == 6
    assert "weight" not in bucketed(data_of([1, 2]), 2, jax.random.key(0), (8,)).order(0)["data"]


def test_the_order_is_a_function_of_key_and_epoch():
    data = data_of(np.random.default_rng(1).integers(1, 9, 40))

    def rows(seed, number):
        return bucketed(data, 8, jax.random.key(seed), (4, 8)).order(number)["rows"].tolist()

    assert rows(0, 0) == rows(0, 0)
    assert len({tuple(rows(*which)) for which in [(0, 0), (0, 1), (1, 0)]}) == 3


def test_the_data_are_arguments_and_equal_sources_share_programs():
    first, second = (bucketed(data_of([1, 2, 3]), 2, jax.random.key(seed), (8,)) for seed in (0, 1))
    assert first.take == second.take
    assert hash(first.take) == hash(second.take)
    compiled = jax.jit(first.take)
    assert not jax.make_jaxpr(compiled)(first.order(0), 0).consts


def test_rows_in_trees_reach_as_far_as_their_longest_array():
    x = {"source": np.int32([[1, 0, 0], [1, 1, 1]]), "target": np.int32([[1, 1], [0, 0]]), "scale": np.ones((2, 4))}
    assert reach({"x": x}).tolist() == [2, 3]
    assert [leaf.shape for leaf in tokens_of({"x": x})] == [(2, 3), (2, 2)]


def test_padding_inside_and_places_that_count_are_within_reach():
    batch = {"x": np.int32([[0, 3, 0, 0], [0, 0, 0, 0]])}
    assert reach(batch).tolist() == [2, 0]
    assert reach({**batch, "weight": np.float32([[1, 1, 1, 0], [0, 0, 0, 0]])}).tolist() == [3, 0]
    assert reach({**batch, "weight": np.ones(2, np.float32)}).tolist() == [2, 0]


def test_lanes_come_before_the_batch():
    x = np.int32([[[1, 0, 0]], [[1, 1, 0]]])
    assert reach({"x": x, "y": np.zeros((2, 1))}, lanes=1).tolist() == [[1], [2]]


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ((), ValueError, "lengths: expected at least one, each larger than the one before, got ()"),
        ((4, 4), ValueError, "each larger than the one before, got \\(4, 4\\)"),
        ((8, 4), ValueError, "each larger than the one before"),
        ((0, 8), ValueError, "lengths: expected at least 1, got 0"),
        ((2.5, 8), TypeError, "lengths: expected a whole number, got float 2.5"),
        (8, TypeError, "lengths: expected whole numbers such as \\(16, 32, 56\\), got 8"),
        ((2, 7), ValueError, "lengths: x has 8 places along its axis of time, and the last of the lengths is 7"),
    ],
)
def test_lengths_that_cannot_be_are_refused(lengths, error, message):
    with pytest.raises(error, match=message):
        bucketed(data_of([1, 2]), 2, jax.random.key(0), lengths)


def test_lengths_may_be_an_array():
    assert check_lengths(np.array([2, 4])) == (2, 4)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"x": np.ones((2, 3), np.float32)}, TypeError, "x: expected tokens.* got float32\\[2, 3\\]"),
        ({"x": np.ones(2, np.int32)}, TypeError, "x: expected tokens.* got int32\\[2\\]"),
        ({"tokens": np.ones((2, 3), np.int32)}, ValueError, "expected tokens under the name 'x'.* got \\['tokens'\\]"),
        ([1, 2], TypeError, "data: expected a dict"),
        (
            {"x": np.ones((2, 3), np.int32), "y": np.ones((2, 3), np.int32)},
            ValueError,
            "weight: expected the shape \\[batch, time\\] beside a y of shape \\(2, 3\\)",
        ),
    ],
)
def test_data_without_tokens_are_refused(data, error, message):
    with pytest.raises(error, match=message):
        bucketed(data, 2, jax.random.key(0), (3,))


def test_other_settings_are_checked():
    with pytest.raises(TypeError, match="key: expected a typed key"):
        bucketed(data_of([1]), 2, 0)
    with pytest.raises(ValueError, match="batch_size: expected at least 1, got 0"):
        bucketed(data_of([1]), 0, jax.random.key(0))
