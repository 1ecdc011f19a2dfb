"""Prioritised replay: frequencies, weights, and a tree of sums that stays exact."""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from stepax.rl.prioritised import BRANCHES, prioritised

LIKE = {"number": np.int32(0)}
# A tree of one level, of two, of three.
CAPACITIES = (13, 100, 700)


def filled(replay, errors):
    """A buffer with these errors, the first ones first."""
    buffer = replay.insert(replay.init(LIKE), {"number": np.arange(len(errors), dtype=np.int32)})
    return replay.update(buffer, np.arange(len(errors)), np.float32(errors))


def priorities(buffer):
    return np.asarray(buffer.sums[0]).reshape(-1)


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_frequencies_are_in_proportion_to_priorities(capacity) -> None:
    """Not full: an entry that is not there is never drawn."""
    random = np.random.default_rng(capacity)
    errors = random.exponential(size=capacity * 9 // 10)
    errors[::7] *= 20
    replay = prioritised(capacity, exponent=0.7, correction=0.5)

    @jax.jit
    def run(key):
        buffer = filled(replay, errors)
        return buffer, jax.vmap(lambda key: replay.sample(buffer, key, 10))(jax.random.split(key, 2000))

    buffer, drawn = run(jax.random.key(1))
    counts = np.bincount(np.asarray(drawn.indices).reshape(-1), minlength=len(errors))
    assert len(counts) == len(errors)
    p = (errors + 1e-6) ** 0.7 / ((errors + 1e-6) ** 0.7).sum()
    assert stats.chisquare(counts, 20_000 * p).pvalue > 0.01
    assert stats.chisquare(counts, np.full(len(errors), 20_000 / len(errors))).pvalue < 1e-9  # the test can tell
    np.testing.assert_array_equal(drawn.batch["number"], drawn.indices)
    np.testing.assert_allclose(priorities(buffer)[: len(errors)], (errors + 1e-6) ** 0.7, rtol=1e-5)
    # Schaul's formula, with the number of entries and the sum of priorities that cancel in it.
    weight = (len(errors) * p[np.asarray(drawn.indices)]) ** -0.5
    np.testing.assert_allclose(drawn.weight, weight / weight.max(1, keepdims=True), rtol=1e-4)
    assert drawn.weight.dtype == np.float32


def test_each_part_of_the_sum_has_its_draw() -> None:
    replay = prioritised(4 * BRANCHES)
    draw = jax.jit(lambda buffer, key: replay.sample(buffer, key, 4).indices)
    buffer = filled(replay, np.ones(4 * BRANCHES))
    for seed in range(5):
        assert (draw(buffer, jax.random.key(seed)) // BRANCHES).tolist() == [0, 1, 2, 3]


def test_a_large_buffer_is_drawn_from_evenly() -> None:
    """Also where single precision can hardly tell places apart, and the last ones of a node are no more likely."""
    replay, capacity, batches = prioritised(30_000), 30_000, 300

    @jax.jit
    def run(key):
        buffer = replay.insert(replay.init(LIKE), {"number": jnp.arange(capacity, dtype=jnp.int32)})
        return jax.lax.map(lambda key: replay.sample(buffer, key, 500).indices, jax.random.split(key, batches))

    indices = np.asarray(run(jax.random.key(0))).reshape(-1)
    assert 0 <= indices.min() < 100
    assert capacity - 100 < indices.max() < capacity
    assert stats.chisquare(np.bincount(indices % BRANCHES)).pvalue > 0.01
    assert stats.chisquare(np.bincount(indices)).pvalue > 0.01  # five of each


class Slow:
    """The reference: a list of priorities."""

    def __init__(self, capacity, protected):
        self.priorities, self.position, self.greatest = [None] * capacity, 0, 1.0
        self.protected = protected

    def insert(self, count):
        for _ in range(count):
            self.priorities[self.position] = self.greatest
            self.position += 1
            if self.position == len(self.priorities):
                self.position = self.protected

    def update(self, indices, errors):
        new = {}
        for i, error in zip(indices, errors, strict=True):
            if 0 <= i < len(self.priorities) and self.priorities[i] is not None:
                found = abs(float(error)) if np.isfinite(error) else self.greatest
                new[i] = max(new.get(i, 0.0), found)
        for i, priority in new.items():
            self.priorities[i] = priority
        self.greatest = max([self.greatest, *new.values()])


@pytest.mark.parametrize(("capacity", "protected"), [(37, 20), (270, 0)])
def test_a_random_life_is_that_of_a_list(capacity, protected) -> None:
    """Wrapping around, indices that come twice or are not there yet; whole errors, so that sums are exact."""
    random, replay = np.random.default_rng(0), prioritised(capacity, exponent=1.0, offset=0.0, protected=protected)
    indices = random.integers(-3, capacity + 3, (120, 12)).astype(np.int32)
    indices[:, 5:9] = indices[:, :4]
    errors = random.integers(-50, 50, (120, 12)).astype(np.float32)
    errors[errors == 0] = 1  # the least priority is no whole number
    errors[random.random(errors.shape) < 0.05] = np.nan
    keep = random.random((120, 3)) < 0.8

    def step(buffer, now):
        indices, errors, keep, _ = now
        buffer = replay.insert(buffer, {"number": jnp.full(3, now[3])}, keep)
        buffer = replay.update(buffer, indices, errors)
        return buffer, buffer.sums

    buffer, levels = jax.jit(partial(jax.lax.scan, step))(replay.init(LIKE), (indices, errors, keep, jnp.arange(120)))
    slow = Slow(capacity, protected)
    for t in range(120):
        slow.insert(keep[t].sum())
        slow.update(indices[t], errors[t])
        expected = np.array([priority or 0.0 for priority in slow.priorities])
        np.testing.assert_array_equal(np.asarray(levels[0][t]).reshape(-1)[:capacity], expected)
        for below, above in itertools.pairwise(levels):
            sums = np.asarray(below[t]).sum(1)
            np.testing.assert_array_equal(np.asarray(above[t]).reshape(-1)[: len(sums)], sums)
            assert not np.asarray(above[t]).reshape(-1)[len(sums) :].any()
    assert int(buffer.updates) == 120
    assert float(buffer.greatest) == slow.greatest
    assert int(replay.size(buffer)) == min(capacity, keep.sum())
    came = np.repeat(np.arange(120), keep.sum(1))
    assert buffer.ring.data["number"][:protected].tolist() == came[:protected].tolist()


def test_rounding_does_not_gather() -> None:
    """After many changes from large to small, a sum is as good as one of its children added up at once."""
    replay, capacity = prioritised(300), 300

    def step(buffer, i):
        large = jnp.where(i % 2 == 0, 1e6, 1e-3)
        indices = (i * 7 + jnp.arange(20)) % capacity
        return replay.update(buffer, indices, large * (1 + indices / capacity)), None

    start = filled(replay, np.ones(capacity))
    buffer = jax.jit(partial(jax.lax.scan, step))(start, jnp.arange(2000))[0]
    np.testing.assert_allclose(buffer.sums[-1].sum(), priorities(buffer).astype(np.float64).sum(), rtol=1e-6)


def test_in_which_order_errors_come_makes_no_difference() -> None:
    replay = prioritised(40)
    buffer, order = filled(replay, np.ones(40)), np.random.default_rng(0).permutation(24)
    indices, errors = np.repeat(np.arange(8), 3), np.random.default_rng(1).normal(size=24).astype(np.float32)
    update = jax.jit(replay.update)
    one, other = update(buffer, indices, errors), update(buffer, indices[order], errors[order])
    jax.tree.map(np.testing.assert_array_equal, one, other)
    greatest = np.abs(errors).reshape(8, 3).max(1)
    np.testing.assert_allclose(priorities(one)[:8], (greatest + 1e-6) ** 0.6, rtol=1e-5)


def test_a_new_entry_has_the_greatest_priority_so_far() -> None:
    replay = prioritised(3, exponent=0.5)
    buffer = filled(replay, [0.25, -16.0])
    for errors in ([0.25, 1.0], [np.nan, -np.inf]):
        buffer = replay.update(buffer, [0, 1], np.float32(errors))
    np.testing.assert_allclose(priorities(buffer)[:3], [4, 4, 0], rtol=1e-5)
    buffer = replay.insert(buffer, {"number": np.int32([7, 8])})
    np.testing.assert_allclose(priorities(buffer)[:3], [4, 4, 4], rtol=1e-5)


@pytest.mark.parametrize("error", [0.0, 1e30, 3e38])
def test_no_error_is_too_small_or_too_large(error) -> None:
    replay = prioritised(40, exponent=2.0, offset=0.0)
    buffer = filled(replay, np.full(40, error))
    drawn = replay.sample(buffer, jax.random.key(0), 40)
    assert np.isfinite(buffer.sums[-1]).all()
    assert (priorities(buffer)[:40] > 0).all()
    assert len(set(drawn.indices.tolist())) > 15
    np.testing.assert_array_equal(drawn.weight, np.ones(40))


def test_the_correction_grows_with_the_updates() -> None:
    scheduled = prioritised(20, correction=optax.linear_schedule(0.4, 1.0, 3))
    buffer = filled(scheduled, np.arange(1.0, 21.0))
    sample = jax.jit(lambda buffer: scheduled.sample(buffer, jax.random.key(0), 8))
    for made in range(1, 6):
        assert int(buffer.updates) == made
        drawn = sample(buffer)
        p = (np.asarray(drawn.indices) + 1 + 1e-6) ** 0.6
        np.testing.assert_allclose(drawn.weight, (p.min() / p) ** min(0.4 + 0.2 * made, 1), rtol=1e-5)
        buffer = scheduled.update(buffer, drawn.indices[:1], drawn.indices[:1] + 1.0)


def test_settings_may_be_traced() -> None:
    """A sweep over all three is as each for itself."""

    def run(exponent, correction, offset):
        replay = prioritised(50, exponent=exponent, correction=correction, offset=offset)
        return replay.sample(filled(replay, np.arange(50.0)), jax.random.key(0), 16)

    settings = np.float32([[0.0, 1.0], [0.5, 0.2], [0.1, 1.0]])
    swept = jax.jit(jax.vmap(run))(*settings)
    for k, (exponent, correction, offset) in enumerate(settings.T):
        p = (np.asarray(swept.indices[k]) + offset) ** exponent
        np.testing.assert_allclose(swept.weight[k], (p.min() / p) ** correction, rtol=1e-5)


def test_tree_shapes_and_dtypes_stay() -> None:
    replay = prioritised(300)

    def step(buffer):
        drawn = replay.sample(replay.insert(buffer, {"number": jnp.zeros(4, jnp.int32)}), jax.random.key(0), 8)
        return replay.update(buffer, drawn.indices, drawn.weight)

    before = jax.eval_shape(lambda: replay.init(LIKE))
    kinds = [
        jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), tree)
        for tree in (before, jax.eval_shape(step, before))
    ]
    assert kinds[0] == kinds[1]
    assert [level.shape[0] for level in before.sums] == [math.ceil(300 / 16), 2, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"capacity": 0}, "capacity: expected at least 1, got 0"),
        ({"protected": 10}, "protected: expected fewer entries than the capacity of 10, got 10"),
        ({"exponent": -0.1}, "exponent: expected a number of at least 0, got -0.1"),
        ({"exponent": "high"}, "exponent: expected a number, got str 'high'"),
        ({"correction": -1}, "correction: expected a number of at least 0, got -1"),
        ({"correction": None}, "correction: expected a number, got NoneType None"),
        ({"offset": np.nan}, "offset: expected a number of at least 0, got nan"),
    ],
)
def test_bad_settings_are_named(settings, message) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        prioritised(**{"capacity": 10, **settings})


def test_bad_arguments_of_the_functions_are_named() -> None:
    replay = prioritised(4)
    buffer = replay.insert(replay.init(LIKE), {"number": np.int32([1])})
    with pytest.raises(ValueError, match="batch_size: expected at most 4, the replay's capacity, got 5"):
        replay.sample(buffer, jax.random.key(0), 5)
    with pytest.raises(ValueError, match="errors: expected one for each of the indices"):
        replay.update(buffer, np.zeros(2, int), np.zeros(3))
    with pytest.raises(ValueError, match="transitions: expected at most 4 at once"):
        replay.insert(buffer, {"number": np.zeros(5, np.int32)})
