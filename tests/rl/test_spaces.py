"""Spaces: draws that stay inside and have the distribution, and checks that say what came."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from stepax.rl import Box, Discrete

KEYS = jax.random.split(jax.random.key(0), 6000)


def drawn(space, keys=KEYS):
    values = jax.jit(jax.vmap(space.sample))(keys)
    assert values.dtype == space.dtype
    assert values.shape == (len(keys), *space.shape)
    assert jax.vmap(space.contains)(values).all()
    return np.asarray(values)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 500])
def test_numbers_are_all_as_likely(n):
    counts = np.bincount(drawn(Discrete(n)), minlength=n)
    assert len(counts) == n
    assert n == 1 or scipy.stats.chisquare(counts).pvalue > 0.01


@pytest.mark.parametrize("n", [1, 2, 3, 5, 1000, 2**20 + 1, 2**24 - 1, 2**24])
def test_the_largest_draw_is_the_largest_number(n, monkeypatch):
    monkeypatch.setattr(jax.random, "bits", lambda *_: jnp.uint32(2**32 - 1))
    assert Discrete(n).sample(KEYS[0]) == n - 1
    monkeypatch.setattr(jax.random, "bits", lambda *_: jnp.uint32(0))
    assert Discrete(n).sample(KEYS[0]) == 0


def test_draws_between_two_bounds_are_uniform():
    low, high = np.float32([-1, 0, 3]), np.float32([1, 0.5, 3])
    values = drawn(Box(low, high))
    assert (values[:, 2] == 3).all()
    for k in (0, 1):
        assert scipy.stats.kstest(values[:, k], "uniform", (low[k], high[k] - low[k])).pvalue > 0.01


def test_draws_without_bounds():
    values = drawn(Box([-np.inf, 1, -np.inf, -1], [np.inf, np.inf, 2, 1]))
    tests = [("norm", (0, 1)), ("expon", (1, 1)), ("uniform", (-1, 2))]
    for column, (name, settings) in zip((0, 1, 3), tests, strict=True):
        assert scipy.stats.kstest(values[:, column], name, settings).pvalue > 0.01
    assert scipy.stats.kstest(2 - values[:, 2], "expon").pvalue > 0.01
    # Bounds whose difference is no float32.
    assert np.isfinite(drawn(Box(-3e38, 3e38), KEYS[:100])).all()


def test_bounds_may_be_traced():
    @jax.jit
    @jax.vmap
    def inside(high):
        box = Box([-1, -high], [np.inf, high])
        assert box.shape == (2,)
        values = jax.vmap(box.sample)(KEYS[:200])
        return jax.vmap(box.contains)(values).all(), jnp.abs(values[:, 1]).max()

    contained, largest = inside(jnp.float32([0.5, 2]))
    assert contained.all()
    np.testing.assert_allclose(largest, [0.5, 2], rtol=0.05)


def test_bounds_are_broadcast():
    box = Box(np.zeros((2, 3)), 1)
    assert (box.shape, box.high.shape, box.dtype) == ((2, 3), (2, 3), np.float32)
    assert Box(-1, [1, 2]).low.tolist() == [-1, -1]
    assert Box(0, 1).shape == ()


def test_what_is_contained():
    assert Discrete(3).contains(2)
    for other in (3, -1, 1.0, np.array([1])):
        assert not Discrete(3).contains(other)
    box = Box([0, 0], [1, np.inf])
    assert box.contains(np.float32([1, 9]))
    for other in ([1.1, 0], [0, np.nan], [0.5], [[0.5, 0.5]]):
        assert not box.contains(np.float32(other))
    assert not box.contains(np.array([1, 0]))


@pytest.mark.parametrize(
    ("space", "value", "error", "message"),
    [
        (Discrete(3), 3, ValueError, "seen: expected a whole number from 0 to 2, got 3"),
        (Discrete(3), jnp.int32(-1), ValueError, "seen: expected a whole number from 0 to 2, got -1"),
        (Discrete(3), 1.0, TypeError, "seen: expected a whole number, of an integer dtype, got float 1.0"),
        (Discrete(3), np.float32(1), TypeError, "of an integer dtype, got float32"),
        (Discrete(3), np.zeros((), bool), TypeError, r"of an integer dtype, got an array bool\[\]"),
        (Discrete(3), np.array([1]), ValueError, r"seen: expected shape \(\), got shape \(1,\); for many"),
        (Box([0, 0], 1), np.float32([0, 2]), ValueError, r"seen: expected numbers from \[0.0, 0.0\] to \[1.0, 1.0\]"),
        (Box([0, 0], 1), np.float32([0, np.nan]), ValueError, r"seen: expected finite numbers, got \[0.0, nan\]"),
        (Box([0, 0], 1), np.zeros(3, np.float32), ValueError, r"seen: expected shape \(2,\), got shape \(3,\)$"),
        (Box([0, 0], 1), np.zeros((4, 2)), ValueError, r"got shape \(4, 2\); for many at once use jax.vmap"),
        (Box([0, 0], 1), np.array([0, 1]), TypeError, r"floating dtype, got an array int64\[2\]"),
    ],
)
def test_checks_say_what_came(space, value, error, message):
    with pytest.raises(error, match=message):
        space.check(value, "seen")


def test_what_fits_passes():
    Discrete(3).check(np.uint8(2))
    Box([0, 0], 1).check(np.float64([0, 1]))
    Box([0, 0], 1).check_form(np.float32([-5, 5]))  # out of bounds, for who clips


def test_in_a_program_form_is_seen_and_values_are_not():
    def checked(space):
        return jax.jit(lambda value: space.check(value))

    checked(Discrete(2))(jnp.int32(7))
    checked(Box(0, 1))(jnp.float32(7))
    with pytest.raises(TypeError, match="action: expected a whole number"):
        checked(Discrete(2))(jnp.float32(1))
    with pytest.raises(ValueError, match=r"action: expected shape \(\), got shape \(2,\)"):
        checked(Box(0, 1))(jnp.zeros(2))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Discrete(0), ValueError, "n: expected at least 1, got 0"),
        (lambda: Discrete(2.0), TypeError, "n: expected a whole number, got float 2.0"),
        (lambda: Discrete(2**24 + 1), ValueError, "n: expected at most 16777216, got 16777217"),
        (lambda: Box(1, 0), ValueError, "low: expected numbers of at most high, got 1.0 and 0.0"),
        (lambda: Box(np.nan, 0), ValueError, "low, high: expected numbers, got nan"),
        (lambda: Box([0, 0], [1, 1, 1]), ValueError, r"low: shape \(2,\) does not go with shape \(3,\) of high"),
        (lambda: Discrete(2).sample(0), TypeError, "key: expected a typed key"),
        (lambda: Box(0, 1).sample(KEYS), ValueError, "key: expected one key"),
    ],
)
def test_bad_spaces(make, error, message):
    with pytest.raises(error, match=message):
        make()
