"""A ring against a list, and what may not be put into one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepax.rl.ring import (
    OUTSIDE,
    check_keep,
    check_protected,
    check_sample,
    check_update,
    new_ring,
    read,
    shapes,
    write,
)

LIKE = {"observation": (np.zeros(2, np.float32), np.int8(0)), "reward": np.float32(0)}


def rows(first, count):
    """Rows that can be told apart by any of their parts."""
    number = first + jnp.arange(count)
    observation = jnp.stack([number, -number], 1).astype(jnp.float32), (number % 100).astype(jnp.int8)
    return {"observation": observation, "reward": number.astype(jnp.float32)}


def next_place(place, capacity, protected):
    """After the last place comes the first that is not protected."""
    return place + 1 if place + 1 < capacity else protected


@pytest.mark.parametrize(("capacity", "lanes", "protected"), [(7, 3, 0), (4, 4, 0), (9, 3, 4), (6, 3, 3)])
def test_the_newest_stay_and_the_protected(capacity, lanes, protected) -> None:
    """Also where only some are kept, and where the lanes do not divide the room."""
    keep = np.random.default_rng(0).random((12, lanes)) < 0.7
    keep[0] = False

    def step(ring, now):
        i, keep = now
        ring, places = write(ring, rows(100 * i, lanes), keep, protected)
        return ring, (ring, places)

    empty = new_ring(capacity, LIKE)
    _, (rings, places) = jax.jit(partial(jax.lax.scan, step))(empty, (jnp.arange(12), keep))
    held, place, count = {}, 0, 0
    for i in range(12):
        expected = []
        for k in range(lanes):
            expected.append(place if keep[i, k] else OUTSIDE)
            if keep[i, k]:
                held[place] = 100 * i + k
                place, count = next_place(place, capacity, protected), count + 1
        assert places[i].tolist() == expected
        assert (int(rings.position[i]), int(rings.size[i])) == (place, min(count, capacity))
        for at, number in held.items():
            assert rings.data["reward"][i, at] == number
            assert rings.data["observation"][0][i, at].tolist() == [number, -number]
            assert rings.data["observation"][1][i, at] == number % 100
    kept = [100 * i + k for i in range(12) for k in range(lanes) if keep[i, k]]
    assert len(kept) > 2 * capacity
    assert [held[at] for at in range(protected)] == kept[:protected]
    assert sorted(held.values()) == kept[:protected] + kept[protected - capacity :]


def test_tree_shapes_and_dtypes_stay() -> None:
    empty = jax.eval_shape(partial(new_ring, 5), LIKE)
    after = jax.eval_shape(lambda ring: write(ring, rows(0, 2))[0], empty)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), empty) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), after
    )
    assert empty.data["observation"][1].dtype == np.int8


def test_entries_are_read_in_any_order() -> None:
    ring, _ = write(new_ring(4, LIKE), rows(10, 4))
    assert read(ring, jnp.array([2, 0, 2]))["reward"].tolist() == [12, 10, 12]


def test_shapes_are_those_of_jax() -> None:
    like = shapes({"a": 1.5, "b": np.zeros(3), "c": jax.ShapeDtypeStruct((2,), "int8")})
    assert [(leaf.shape, leaf.dtype) for leaf in like.values()] == [((), "float32"), ((3,), "float32"), ((2,), "int8")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": np.zeros((2, 1), np.float32)}, r'transitions\["reward"\]: expected the shape .* got \(2, 1\)'),
        ({"reward": np.zeros(3, np.float32)}, r'transitions\["reward"\]: expected the shape .* = \(2,\), got \(3,\)'),
        ({"reward": np.zeros(2, np.int32)}, r'transitions\["reward"\]: expected float32, as in the buffer, got int32'),
        ({"more": np.zeros(2)}, "transitions: expected the tree of the buffer, .* got"),
        (
            {"observation": (np.float32([1, 2]), np.zeros(2, np.int8))},
            r'transitions\["observation"\]\[0\]: expected the shape .* = \(2, 2\), got \(2,\)',
        ),
    ],
)
def test_other_transitions_are_refused(change, message) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        write(new_ring(5, LIKE), {**rows(0, 2), **change})


def test_more_than_the_capacity_is_refused() -> None:
    with pytest.raises(ValueError, match="transitions: expected at most 3 at once, the capacity, got 4"):
        write(new_ring(3, LIKE), rows(0, 4))
    with pytest.raises(ValueError, match="expected at most 3 at once, the capacity less 2 that are protected, got 4"):
        write(new_ring(5, LIKE), rows(0, 4), None, 2)


def test_some_place_is_not_protected() -> None:
    check_protected(2, 3)
    for number, message in (
        (3, "protected: expected fewer entries than the capacity of 3, got 3"),
        (-1, "protected: expected at least 0, got -1"),
        (1.0, "protected: expected a whole number, got float 1.0"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            check_protected(number, 3)


def test_what_is_kept_is_said_for_each() -> None:
    assert check_keep(None, 2).tolist() == [True, True]
    with pytest.raises(TypeError, match=r"keep: expected booleans, .* got int32"):
        check_keep(np.array([1, 0]), 2)
    with pytest.raises(ValueError, match=r"keep: expected one for each of the transitions, \(2,\), got \(\)"):
        check_keep(True, 2)


def test_a_transition_has_numbers() -> None:
    with pytest.raises(ValueError, match=r"transition: expected a dict of arrays, got \{\}"):
        new_ring(3, {})
    with pytest.raises(TypeError, match=r'transition\["key"\]: expected numbers or booleans, got key<'):
        new_ring(3, {"key": jax.random.key(0)})


def test_a_batch_fits_the_ring() -> None:
    key = jax.random.key(0)
    empty = new_ring(3, LIKE)
    full, _ = write(empty, rows(0, 3))
    check_sample(full, key, 3)
    jax.eval_shape(lambda ring: check_sample(ring, key, 3), empty)  # nobody knows
    for ring, size, message in (
        (full, 4, "batch_size: expected at most 3, the replay's capacity, got 4"),
        (full, 0, "batch_size: expected at least 1, got 0"),
        (full, 2.0, "batch_size: expected a whole number, got float 2.0"),
        (empty, 3, "buffer: expected one with transitions to draw from"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            check_sample(ring, key, size)
    with pytest.raises(TypeError, match="key: expected a typed key"):
        check_sample(full, 0, 3)


@pytest.mark.parametrize(
    ("indices", "errors", "message"),
    [
        (np.zeros(2), np.zeros(2), "indices: expected whole numbers, as in a sample, got float32"),
        (np.zeros(2, int), np.zeros(2, int), "errors: expected floating numbers, got int32"),
        (
            np.zeros(2, int),
            np.zeros(3),
            r"errors: expected one for each of the indices, \[batch\], got \(3,\) .* \(2,\)",
        ),
        (np.zeros((2, 1), int), np.zeros((2, 1)), r"errors: expected one for each .* \(2, 1\)"),
    ],
)
def test_an_update_has_an_error_for_each_index(indices, errors, message) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        check_update(indices, errors)
