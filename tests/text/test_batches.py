import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen
from hypothesis import given, settings
from hypothesis import strategies as st

import stepax as sx
from stepax import text

TOKENS = np.arange(10, 30)
ROWS = st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=6), min_size=1, max_size=5)


def test_rows_are_filled_up_at_the_end():
    array = text.padded([[5, 2], np.array([7], np.uint16), jnp.array([1, 2, 3])])
    assert array.tolist() == [[5, 2, 0], [7, 0, 0], [1, 2, 3]]
    assert array.dtype == np.int32
    assert text.padded([[4]], 3).tolist() == [[4, 0, 0]]


@given(ROWS, st.integers(0, 3))
def test_what_is_real_in_padded_rows_is_what_came(rows, more):
    array = text.padded(rows, max(map(len, rows)) + more)
    assert array.shape == (len(rows), max(map(len, rows)) + more)
    assert [row[row != 0].tolist() for row in array] == rows


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([],), ValueError, "sequences: expected at least one row of tokens, got none"),
        (([[1], []],), ValueError, r"sequences\[1\] is empty: expected at least one token"),
        (([[1], [2, 3, 4]], 2), ValueError, r"sequences\[1\] has 3 tokens: expected at most length=2"),
        (([[1], [2, 0]],), ValueError, r"sequences\[1\]\[1\] is 0: expected tokens of at least 1, as 0 is padding"),
        (([[-3]],), ValueError, r"sequences\[0\]\[0\] is -3: expected tokens of at least 1"),
        (([[2**31]],), ValueError, r"sequences\[0\]\[0\] is 2147483648"),
        (([[1.5]],), TypeError, r"sequences\[0\]: expected a row of whole numbers, got float64 of shape \[1\]"),
        ((["ab"],), TypeError, r"sequences\[0\]: expected a row of whole numbers"),
        (([1, 2],), TypeError, r"sequences\[0\]: expected a row of whole numbers, got int64 of shape \[\]"),
        (([[1]], 0), ValueError, "length: expected at least 1, got 0"),
    ],
)
def test_rows_that_cannot_be_padded_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        text.padded(*arguments)


def test_windows_by_hand():
    even = text.windows([1, 2, 3, 4, 5], 2)
    assert {name: array.tolist() for name, array in even.items()} == {"x": [[1, 2], [3, 4]], "y": [[2, 3], [4, 5]]}
    odd = text.windows(np.array([1, 2, 3, 4]), 2)
    assert {name: array.tolist() for name, array in odd.items()} == {
        "x": [[1, 2], [3, 0]],
        "y": [[2, 3], [4, 0]],
        "weight": [[1, 1], [1, 0]],
    }
    assert [array.dtype for array in odd.values()] == [np.int32, np.int32, np.float32]


@given(st.lists(st.integers(1, 9), min_size=2, max_size=40), st.integers(1, 50))
def test_every_token_but_the_first_is_learnt_once(tokens, context):
    data = text.windows(tokens, context)
    real = data.get("weight", np.ones_like(data["y"])) == 1
    assert data["x"].shape == data["y"].shape == real.shape
    assert data["y"][real].tolist() == tokens[1:]
    assert data["x"][real].tolist() == tokens[:-1]


@pytest.mark.parametrize(
    ("tokens", "context", "error", "message"),
    [
        ([1], 2, ValueError, "tokens: expected at least two, one to follow the other, got one"),
        ([], 2, ValueError, "tokens is empty"),
        ([1, -1], 2, ValueError, r"tokens\[1\] is -1: expected tokens of at least 0"),
        ("abc", 2, TypeError, "tokens: expected a row of whole numbers"),
        ([1, 2], 0, ValueError, "context: expected at least 1, got 0"),
        ([1, 2], 1.5, TypeError, "context: expected a whole number"),
    ],
)
def test_a_text_without_windows_is_refused(tokens, context, error, message):
    with pytest.raises(error, match=message):
        text.windows(tokens, context)


def drawn(source, epoch=0):
    """All batches of an epoch."""
    order, take = source.order(epoch), jax.jit(source.take)
    return [jax.device_get(take(order, i)) for i in range(source.length)]


def test_random_windows_are_of_the_text():
    batches = drawn(text.random_windows(TOKENS, 5, 3, 4, jax.random.key(0)))
    assert len(batches) == 4
    for batch in batches:
        assert batch["x"].shape == batch["y"].shape == (3, 5)
        assert batch["x"].dtype == np.int32
        np.testing.assert_array_equal(batch["x"], batch["x"][:, :1] + np.arange(5)[None, :])
        np.testing.assert_array_equal(batch["y"], batch["x"] + 1)


def test_every_place_is_as_likely_as_another():
    (batch,) = drawn(text.random_windows(TOKENS, 5, 30_000, 1, jax.random.key(1)))
    counts = np.bincount(batch["x"][:, 0] - 10, minlength=15)
    assert len(counts) == len(TOKENS) - 5
    assert abs(counts - 2000).max() < 5 * np.sqrt(2000)  # five deviations
    (whole,) = drawn(text.random_windows(TOKENS, 19, 3, 1, jax.random.key(1)))
    assert whole["y"].tolist() == [TOKENS[1:].tolist()] * 3


def test_places_are_functions_of_key_and_epoch():
    def places(seed, epoch):
        batches = drawn(text.random_windows(TOKENS, 5, 3, 2, jax.random.key(seed)), epoch)
        return np.stack([batch["x"][:, 0] for batch in batches])

    np.testing.assert_array_equal(places(0, 1), places(0, 1))
    assert len({places(seed, epoch).tobytes() for seed in (0, 1) for epoch in (0, 1, 2)}) == 6
    # A saved run goes on with the windows it began with: they must never change.
    assert places(0, 0).tolist() == [[22, 19, 17], [14, 14, 10]]


def test_equal_windows_share_programs_and_the_text_is_an_argument():
    first, second = (text.random_windows(TOKENS + i, 5, 3, 2, jax.random.key(i)) for i in range(2))
    assert first.take == second.take
    assert hash(first.take) == hash(second.take)
    np.testing.assert_array_equal(second.order(0)["tokens"], TOKENS + 1)
    program = jax.jit(first.take).lower(first.order(0), jnp.int32(0)).as_text()
    assert "dense<[" not in program


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"context": 20}, ValueError, "tokens: the text has 20: expected more than context=20"),
        ({"tokens": []}, ValueError, "tokens is empty"),
        ({"tokens": TOKENS * 1.0}, TypeError, "tokens: expected a row of whole numbers, got float64"),
        ({"batch_size": 0}, ValueError, "batch_size: expected at least 1"),
        ({"length": 0}, ValueError, "length: expected at least 1"),
        ({"context": 0}, ValueError, "context: expected at least 1"),
        ({"key": 0}, TypeError, "key: expected a typed key"),
    ],
)
def test_windows_that_cannot_be_drawn_are_refused(arguments, error, message):
    good = {"tokens": TOKENS, "context": 5, "batch_size": 3, "length": 2, "key": jax.random.key(0)}
    with pytest.raises(error, match=message):
        text.random_windows(**good | arguments)


class Bigram(linen.Module):
    """The next token from the last."""

    @linen.compact
    def __call__(self, x, train):
        return linen.Embed(40, 40)(x)


def test_a_training_on_windows_learns_and_goes_on_to_the_same_bits(tmp_path):
    learner = sx.supervised(Bigram(), sx.losses.cross_entropy, optax.adam(0.1))

    def trained(epochs, checkpoints=None):
        source = text.random_windows(TOKENS, 5, 3, 20, jax.random.key(0))
        validation = text.windows(TOKENS, 4)
        return sx.fit(
            learner, source, key=jax.random.key(1), epochs=epochs, batch_size=None, validation=validation,
            checkpoints=checkpoints, progress=False,
        )  # fmt: skip

    whole = trained(3)
    assert whole.history["validation/loss"][-1] < 0.3 < whole.history["validation/loss"][0]
    trained(1, tmp_path / "run")
    resumed = trained(3, tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, whole.state.params, resumed.state.params)


def test_pairs_by_hand():
    data = text.pairs([[4, 5, 6], [7]], [[2, 8, 3], [2, 9, 8, 3]])
    assert data["x"]["source"].tolist() == [[4, 5, 6], [7, 0, 0]]
    assert data["x"]["target"].tolist() == [[2, 8, 0], [2, 9, 8]]
    assert data["y"].tolist() == [[8, 3, 0], [9, 8, 3]]
    assert data["weight"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert data["weight"].dtype == np.float32


@settings(deadline=None)
@given(st.lists(st.tuples(st.text("ab", min_size=1), st.text("cd")), min_size=1, max_size=4))
def test_pairs_come_from_vocabularies(rows):
    source, target = text.characters("ab"), text.characters("cd", begin=True, end=True)
    data = text.pairs([source.encode(one) for one, _ in rows], [target.encode(other) for _, other in rows])
    assert [(source.decode(a), target.decode(b)) for a, b in zip(data["x"]["source"], data["y"], strict=True)] == rows
    np.testing.assert_array_equal(data["weight"].sum(1), [len(other) + 1 for _, other in rows])
    np.testing.assert_array_equal(data["x"]["target"][:, 0], text.BEGIN)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ([[4]], [], "target: expected a translation for each of 1 texts, got 0"),
        ([], [], "source: expected at least one row of tokens, got none"),
        ([[]], [[2, 3]], r"source\[0\] is empty"),
        ([[4]], [[4, 3]], r"target\[0\]: expected tokens from 2 \(begin\) to 3 \(end\), .*begin=True, end=True"),
        ([[4]], [[2, 4]], r"target\[0\]: expected tokens from 2 \(begin\) to 3 \(end\), .* got 2 from 2 to 4"),
        ([[4]], [[2]], r"target\[0\]: expected tokens from 2"),
        ([[4]], [[2, 0, 3]], r"target\[0\]\[1\] is 0: expected tokens of at least 1, as 0 is padding"),
    ],
)
def test_pairs_that_are_none_are_refused(source, target, message):
    with pytest.raises(ValueError, match=message):
        text.pairs(source, target)
