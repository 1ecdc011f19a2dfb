"""The loop by itself: positions, chunks, borrowed states, and steps that may not be loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stepax as sx


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
