"""What is drawn has the right distribution, and nothing outside of the sets is ever drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from stepax.text.sampling import nucleus, sample, temperature, top_k

P = np.array([0.5, 0.25, 0.125, 0.0625, 0.0625])
LOGITS = jnp.log(jnp.asarray(P, jnp.float32))
KEY = jax.random.key(0)


def counts(p=P, **settings):
    rows = jnp.broadcast_to(jnp.log(jnp.asarray(p, jnp.float32)), (20_000, len(p)))
    return np.bincount(sample(rows, KEY, **settings), minlength=len(p))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, P),
        ({"temperature": 0.5}, P**2 / (P**2).sum()),
        ({"temperature": 2.0}, P**0.5 / (P**0.5).sum()),
        ({"top_k": 2}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"top_p": 0.75}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"top_p": 0.8}, [4 / 7, 2 / 7, 1 / 7, 0, 0]),
        # Temperature first: flattened, two no longer hold .7 of the whole.
        ({"temperature": 2.0, "top_p": 0.7}, [*(P[:3] ** 0.5 / (P[:3] ** 0.5).sum()), 0, 0]),
        # Of the three that are left, two hold .8.
        ({"top_k": 3, "top_p": 0.8}, [2 / 3, 1 / 3, 0, 0, 0]),
    ],
    ids=str,
)
def test_draws_have_the_distribution(settings, expected):
    drawn, expected = counts(**settings), np.asarray(expected)
    assert (drawn[expected == 0] == 0).all()
    some = expected > 0
    assert scipy.stats.chisquare(drawn[some], expected[some] * drawn.sum()).pvalue > 0.01
    # Able to fail: a tenth more of the likeliest would be seen.
    other = np.where(np.arange(len(P)) == 0, 1.1 * expected, expected)[some]
    assert scipy.stats.chisquare(drawn[some], other / other.sum() * drawn.sum()).pvalue < 1e-4
    # These logits are exact in half precision up to .4 %: their draws are those of float32.
    half = LOGITS.astype(jnp.bfloat16)
    rows = jnp.broadcast_to(half, (20_000, 5))
    np.testing.assert_array_equal(sample(rows, KEY, **settings), sample(rows.astype(jnp.float32), KEY, **settings))


def test_draws_in_half_precision_have_the_distribution():
    # Many tokens, all as likely: of noise in half precision some values would never come, and others too often.
    rows = jnp.zeros((20_000, 64), jnp.bfloat16)
    assert scipy.stats.chisquare(np.bincount(sample(rows, KEY), minlength=64)).pvalue > 0.01
    some = np.bincount(sample(jnp.broadcast_to(LOGITS.astype(jnp.bfloat16), (20_000, 5)), KEY), minlength=5)
    expected = np.exp(np.asarray(LOGITS.astype(jnp.bfloat16), np.float64))
    assert scipy.stats.chisquare(some, expected / expected.sum() * some.sum()).pvalue > 0.01


def test_a_nucleus_in_half_precision_is_that_of_exact_sums():
    # In half precision the sum of a thousand equal parts stands still at 1/4.
    assert np.isfinite(nucleus(jnp.zeros(1024, jnp.bfloat16), 0.75).astype(np.float32)).sum() == 768
    assert nucleus(jnp.zeros(4, jnp.bfloat16), 0.5).dtype == jnp.bfloat16


def test_settings_may_be_arrays():
    settings = {"temperature": jnp.float32(0.5), "top_p": jnp.float32(0.75)}
    np.testing.assert_array_equal(counts(**settings), counts(temperature=0.5, top_p=0.75))
    assert sample(LOGITS, KEY, temperature=jnp.float32(0)) == 0
    drawn = jax.jit(lambda logits: sample(logits, KEY, **settings))(LOGITS)
    assert drawn == sample(LOGITS, KEY, **settings)


def test_the_limits_of_temperature():
    rows = jnp.asarray(np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32))
    likeliest = rows.argmax(-1)
    np.testing.assert_array_equal(sample(rows, KEY, temperature=0), likeliest)
    np.testing.assert_array_equal(sample(rows, KEY, temperature=1e-30), likeliest)
    drawn = np.bincount(sample(jnp.broadcast_to(LOGITS, (20_000, 5)), KEY, temperature=1e30), minlength=5)
    assert scipy.stats.chisquare(drawn).pvalue > 0.01
    np.testing.assert_allclose(jax.nn.softmax(temperature(LOGITS + 1e4, 1.0)), P, 1e-3)


def test_of_equals_the_first_is_the_likeliest():
    equal = jnp.array([1.0, 3.0, 3.0, 2.0, 3.0])
    assert sample(equal, KEY, temperature=0) == 1
    for k, kept in ((1, [1]), (2, [1, 2]), (3, [1, 2, 4]), (4, [1, 2, 3, 4]), (5, [0, 1, 2, 3, 4])):
        assert np.flatnonzero(np.isfinite(top_k(equal, k))).tolist() == kept
    four = jnp.zeros(4)
    for p, kept in ((0.01, 1), (0.25, 1), (0.26, 2), (0.5, 2), (0.75, 3), (0.76, 4), (1.0, 4)):
        assert np.flatnonzero(np.isfinite(nucleus(four, p))).tolist() == list(range(kept))


@pytest.mark.parametrize("seed", range(5))
def test_the_nucleus_is_the_smallest_set(seed):
    """Against a search by hand, in any order of the tokens, for many rows at once."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(3, 4, 9)).astype(np.float32) * 2
    p = random.uniform(0.05, 0.99)
    kept = np.isfinite(nucleus(jnp.asarray(logits), p))
    for row, chosen in zip(logits.reshape(-1, 9).astype(np.float64), kept.reshape(-1, 9), strict=True):
        probability = np.exp(row) / np.exp(row).sum()
        assert probability[chosen].sum() >= p
        assert probability[chosen].sum() - probability[chosen].min() < p
        assert probability[chosen].min() >= probability[~chosen].max(initial=0)


def test_a_nucleus_of_one_keeps_what_rounding_would_lose():
    logits = jnp.array([0.0, -40.0, -80.0])
    assert np.isfinite(nucleus(logits, 1.0)).all()
    np.testing.assert_array_equal(np.isfinite(nucleus(logits, 0.999)), [True, False, False])


def test_what_is_kept_stays_as_it_is():
    for kept in (top_k(LOGITS, 3), nucleus(LOGITS, 0.8)):
        np.testing.assert_array_equal(kept, np.where(np.arange(5) < 3, LOGITS, -np.inf))
    assert top_k(LOGITS[None, None], 2).shape == (1, 1, 5)


def test_rows_do_not_depend_on_one_another():
    rows = jnp.asarray(np.random.default_rng(1).normal(size=(6, 11)).astype(np.float32))
    settings = {"top_k": 5, "top_p": 0.9}
    drawn = sample(rows, KEY, **settings)
    np.testing.assert_array_equal(sample(rows[:3], KEY, **settings), drawn[:3])
    np.testing.assert_array_equal(sample(rows.at[3:].set(9.0), KEY, **settings)[:3], drawn[:3])
    assert (sample(rows, jax.random.key(1)) != sample(rows, KEY)).any()


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_shapes_and_jit(shape):
    logits = jax.random.normal(jax.random.key(3), (*shape, 7))
    drawn = sample(logits, KEY, 0.7, 4, 0.9)
    assert drawn.shape == shape
    assert drawn.dtype == jnp.int32
    traced = jax.jit(lambda *given: sample(given[0], given[1], given[2], 4, given[3]))(logits, KEY, 0.7, 0.9)
    np.testing.assert_array_equal(traced, drawn)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"temperature": -1.0}, ValueError, "temperature: expected a number of at least 0, got -1.0"),
        ({"temperature": float("nan")}, ValueError, "temperature: expected a number of at least 0, got nan"),
        ({"top_k": 6}, ValueError, "top_k: expected at most 5, the size of the vocabulary, got 6"),
        ({"top_k": 0}, ValueError, "top_k: expected at least 1, got 0"),
        ({"top_k": 1.5}, TypeError, "top_k: expected a whole number, got float 1.5"),
        ({"top_p": 0.0}, ValueError, r"top_p: expected a number in \(0, 1\], got 0.0"),
        ({"top_p": 1.5}, ValueError, r"top_p: expected a number in \(0, 1\], got 1.5"),
    ],
    ids=str,
)
def test_bad_settings(settings, error, message):
    with pytest.raises(error, match=message):
        sample(LOGITS, KEY, **settings)


def test_more_bad_input():
    with pytest.raises(TypeError, match="key: expected a typed key"):
        sample(LOGITS, 0)
    with pytest.raises(ValueError, match="temperature: expected a number above 0, got 0"):
        temperature(LOGITS, 0)
