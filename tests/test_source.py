"""Every example once an epoch at its own weight, whatever the batch size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

import stepax as sx
from stepax.source import Stream, example


def rows(n):
    return {"x": np.arange(n, dtype=np.int32), "y": {"deep": np.arange(n, dtype=np.float32).reshape(n, 1) * 10}}


def epoch(source, number=0):
    """All batches of an epoch, as NumPy arrays."""
    order = source.order(number)
    take = jax.jit(source.take)
    return [jax.device_get(take(order, i)) for i in range(source.length)]


def counted(batches, n):
    """How much each row weighs over an epoch."""
    total = np.zeros(n)
    for batch in batches:
        np.add.at(total, batch["x"], batch.get("weight", np.ones(len(batch["x"]), np.float32)))
    return total


@given(st.integers(1, 9), st.integers(1, 11), st.booleans())
@settings(max_examples=7, deadline=None, derandomize=True)
def test_every_example_counts_once_for_any_batch_size(n, size, in_order):
    source = sx.in_order(rows(n), size) if in_order else sx.shuffled(rows(n), size, jax.random.key(n))
    batches = epoch(source, 1)
    assert len(batches) == -(-n // min(n, size))
    assert {len(batch["x"]) for batch in batches} == {min(n, size)}
    np.testing.assert_array_equal(counted(batches, n), 1)
    for batch in batches:
        np.testing.assert_array_equal(batch["y"]["deep"][:, 0], batch["x"] * 10)


def test_shuffled_draws_a_new_order_every_epoch_and_the_same_from_the_same_key():
    def orders(seed):
        source = sx.shuffled(rows(20), 20, jax.random.key(seed))
        return [epoch(source, e)[0]["x"].tolist() for e in (0, 1, 2)]

    first = orders(0)
    assert first == orders(0)
    assert len({tuple(order) for order in first + orders(1)}) == 6
    assert all(sorted(order) == list(range(20)) for order in first)
    # A saved run goes on with the orders it began with: they must never change.
    assert first[2] == [6, 12, 8, 4, 5, 7, 9, 18, 15, 16, 2, 11, 10, 17, 13, 14, 19, 1, 3, 0]


def test_the_last_batch_is_filled_with_the_epochs_first_examples():
    source = sx.shuffled(rows(7), 3, jax.random.key(0))
    batches = epoch(source)
    assert batches[2]["x"][1:].tolist() == batches[0]["x"][:2].tolist()
    assert [batch["weight"].tolist() for batch in batches] == [[1, 1, 1], [1, 1, 1], [1, 0, 0]]


def test_without_a_remainder_no_weight_is_added():
    assert all("weight" not in batch for batch in epoch(sx.in_order(rows(6), 3)))


@pytest.mark.parametrize("shape", [(5,), (5, 2)])
def test_own_weights_are_kept_and_the_fillers_weigh_nothing(shape):
    weight = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)
    batches = epoch(sx.in_order({**rows(5), "weight": weight}, 3))
    assert [batch["x"].tolist() for batch in batches] == [[0, 1, 2], [3, 4, 0]]
    np.testing.assert_array_equal(batches[0]["weight"], weight[:3])
    np.testing.assert_array_equal(batches[1]["weight"], [*weight[3:], np.zeros(shape[1:])])


@pytest.mark.parametrize("size", [None, 5, 99])
def test_a_batch_size_of_none_or_of_too_many_takes_all(size):
    source = sx.shuffled(rows(5), size, jax.random.key(0))
    assert source.length == 1
    (batch,) = epoch(source)
    assert sorted(batch["x"].tolist()) == [0, 1, 2, 3, 4]
    assert "weight" not in batch


def test_the_callers_data_stay_as_they_are():
    data = rows(5)
    sx.in_order(data, 2)
    assert set(data) == {"x", "y"}


def test_equal_takes_share_programs():
    first, second = (sx.shuffled(rows(7), 3, jax.random.key(seed)) for seed in (0, 1))
    assert first.take == second.take
    assert hash(first.take) == hash(second.take)
    assert first.take != sx.in_order(rows(7), 2).take
    assert first.take != sx.in_order(rows(6), 3).take


def test_generated_gives_no_data():
    source = sx.generated(4)
    assert source.length == 4
    assert source.take(source.order(3), 2) is None
    assert jax.tree.leaves(source.order(0)) == []
    with pytest.raises(ValueError, match="length: expected at least one step"):
        sx.generated(0)


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_of_nothing_is_refused(size):
    with pytest.raises(ValueError, match="batch_size: expected"):
        sx.shuffled(rows(3), size, jax.random.key(0))
    with pytest.raises(ValueError, match="batch_size: expected"):
        sx.in_order(rows(3), size)


def test_no_data_are_refused():
    with pytest.raises(ValueError, match=r'data\["x"\] is empty'):
        sx.in_order(rows(0), 2)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"x": np.zeros(3), "y": np.zeros(2)}, ValueError, r'data\["y"\] has 2 rows, but data\["x"\] has 3'),
        ({"x": np.array([1, np.nan])}, ValueError, r'data\["x"\] holds NaN or inf'),
        ((np.zeros(3), np.zeros(3)), TypeError, "data: expected a dict of arrays .*, got tuple"),
        ({"x": np.zeros(2), "weight": np.array([1, -1])}, ValueError, r'data\["weight"\] is negative in places'),
    ],
)
def test_bad_data_are_refused(data, error, message):
    with pytest.raises(error, match=message):
        sx.shuffled(data, 2, jax.random.key(0))
    with pytest.raises(error, match=message):
        sx.in_order(data, 2)


def test_a_number_is_no_key():
    with pytest.raises(TypeError, match="key: expected a typed key"):
        sx.shuffled(rows(3), 2, 0)


def test_class_weights_by_hand():
    # n = 6, C = 3: 6 / (3 · 1), 6 / (3 · 2), 6 / (3 · 3).
    data = {"x": np.zeros(6), "y": np.array([5, 7, 7, 9, 9, 9])}
    weighted = sx.class_weights(data)
    np.testing.assert_allclose(weighted["weight"], [2, 1, 1, 2 / 3, 2 / 3, 2 / 3], rtol=1e-6)
    assert weighted["weight"].dtype == np.float32
    assert set(data) == {"x", "y"}
    own = np.array([1, 0, 2, 3, 1, 1], np.float32)
    np.testing.assert_allclose(sx.class_weights({**data, "weight": own})["weight"], weighted["weight"] * own)
    per_step = np.ones((6, 2), np.float32)
    np.testing.assert_allclose(
        sx.class_weights({**data, "weight": per_step})["weight"], np.repeat(weighted["weight"][:, None], 2, axis=1)
    )


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_class_weights_are_those_of_scikit_learn(labels):
    labels = np.array(labels)
    classes = np.unique(labels)
    balanced = dict(zip(classes, compute_class_weight("balanced", classes=classes, y=labels), strict=True))
    weight = sx.class_weights({"y": jnp.asarray(labels)})["weight"]
    np.testing.assert_allclose(weight, [balanced[label] for label in labels], rtol=1e-6)


@pytest.mark.parametrize("y", [np.array([0.0, 1.0]), np.array([[0, 1], [1, 0]]), np.array([True, False])])
def test_class_weights_need_integer_labels(y):
    with pytest.raises(TypeError, match=r"y: expected integer labels of shape \[n\]"):
        sx.class_weights({"y": y})


def test_class_weights_need_labels():
    with pytest.raises(ValueError, match=r"data: expected labels under the name 'y', and there are only \['x'\]"):
        sx.class_weights({"x": np.zeros(2)})
    with pytest.raises(TypeError, match=r"data: expected a dict of arrays .*, got ndarray"):
        sx.class_weights(np.zeros(2))


def test_an_example_shows_the_shapes_of_a_batch():
    source = sx.in_order(rows(5), 2)
    np.testing.assert_array_equal(example(source)["x"], [0, 1])
    like = {"x": jax.ShapeDtypeStruct((2, 3), np.uint8), "y": {"deep": jax.ShapeDtypeStruct((2,), np.float64)}}
    batch = example(Stream(3, like, lambda epoch, first: iter(())))
    assert (batch["x"].shape, batch["x"].dtype, batch["y"]["deep"].dtype) == ((2, 3), jnp.uint8, jnp.float32)
    assert not batch["x"].any()
    assert example(sx.generated(2)) is None
