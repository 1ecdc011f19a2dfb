"""The range test: where a rate is too high is known exactly for a parabola."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import stepax as sx
from stepax import learning_rate
from stepax.learning_rate import rate_range

KEY = jax.random.key(0)


def line(noise: float = 0.0, n: int = 64) -> dict[str, np.ndarray]:
    """One input, always 1 or -1: the loss is a parabola of curvature 2 in the weight, and SGD diverges above 1."""
    random = np.random.default_rng(0)
    x = np.where(np.arange(n) % 2 == 0, 1, -1).astype(np.float32)[:, None]
    return {"x": x, "y": (3 * x[:, 0] + noise * random.normal(size=n)).astype(np.float32)}


def sgd(rate):
    model = linen.Dense(1, use_bias=False, kernel_init=linen.initializers.zeros)
    return sx.supervised(model, sx.losses.mean_squared_error, optax.sgd(rate))


def test_the_rates_rise_by_equal_factors_and_each_step_has_its_own():
    result = rate_range(sgd, line(), key=KEY, batch_size=8, low=1e-4, high=1e-2, steps=21)
    np.testing.assert_allclose(result.rates, 10 ** np.linspace(-4, -2, 21))
    # (3 - w)², and each step of rate r multiplies 3 - w by 1 - 2 r.
    distance = 3 * np.cumprod(np.concatenate([[1], 1 - 2 * result.rates[:-1]]))
    np.testing.assert_allclose(result.losses, distance**2, rtol=1e-5)
    assert result.diverged is None


def test_a_parabola_diverges_beyond_its_limit():
    result = rate_range(sgd, line(0.5), key=KEY, batch_size=8, low=1e-3, high=1e3, steps=120)
    assert 1 < result.diverged < 30
    assert result.rates[-1] == result.diverged
    assert len(result.rates) == len(result.losses) == len(result.smoothed) < 120
    assert 1e-2 < result.suggestion < 1
    assert result.suggestion == min(result.steepest, result.diverged / 10)


def test_it_stops_at_the_same_step_however_the_steps_are_cut(monkeypatch):
    results = []
    for pace in (1e-9, 10.0):
        monkeypatch.setattr(learning_rate, "PACE", pace)
        results.append(rate_range(sgd, line(0.5), key=KEY, batch_size=8, low=1e-3, high=1e3, steps=60))
    assert jax.tree.all(jax.tree.map(np.array_equal, *(result[:5] for result in results)))


def test_losses_that_are_not_finite_end_it():
    def make(rate):
        return sx.supervised(
            linen.Dense(1), lambda output, batch: jnp.exp(200 * output[:, 0]) * batch["y"], optax.sgd(rate)
        )

    data = {"x": np.ones((8, 1), np.float32), "y": -np.ones(8, np.float32)}
    result = rate_range(make, data, key=KEY, batch_size=8, low=1e-3, high=10, steps=20)
    assert result.diverged is not None
    assert np.isfinite(result.smoothed).all()


def test_nothing_is_suggested_where_the_loss_does_not_fall():
    result = rate_range(sgd, line(1.0), key=KEY, batch_size=8, low=1e-9, high=1e-7)
    assert (result.steepest, result.suggestion, result.diverged) == (None, None, None)
    assert result.rule == "the loss falls at none of these rates"


@pytest.mark.parametrize(
    ("diverged", "suggestion", "rule"),
    [(None, 0.1, "falls fastest"), (5.0, 0.1, "falls fastest"), (0.5, 0.05, "a tenth of the rate")],
)
def test_the_suggestion_is_the_lower_of_the_two(diverged, suggestion, rule):
    rates = 10 ** np.linspace(-3, 1, 41)
    curve = 1 / (1 + (rates / 0.1) ** 2)  # steepest on a logarithmic axis at 0.1
    found = learning_rate._advice(rates, curve, curve, diverged)
    assert found[0] == pytest.approx(0.1)
    assert found[2] == pytest.approx(suggestion)
    assert rule in found[3]


def test_sources_bring_their_own_batches():
    source = sx.shuffled(line(), 4, KEY)
    assert len(rate_range(sgd, source, key=KEY, batch_size=None, high=1e-2, steps=20).losses) == 20


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"low": 0.0}, ValueError, "expected 0 < low < high, got low=0.0 and high=1.0"),
        ({"low": 1.0}, ValueError, "expected 0 < low < high"),
        ({"high": np.inf}, ValueError, "expected 0 < low < high"),
        ({"steps": 9}, ValueError, "steps: expected at least 10, got 9"),
        ({"make": 3}, TypeError, "make: expected a function from a schedule to a learner, got int"),
        ({"make": lambda rate: optax.sgd(rate)}, TypeError, "learner: expected a stepax.Learner"),
        ({"key": 0}, TypeError, "key: expected a typed key"),
        ({"data": {"x": np.zeros((0, 1))}}, ValueError, 'data\\["x"\\] is empty'),
    ],
)
def test_what_cannot_be_tested_is_refused(options, error, message):
    given = {"make": sgd, "data": line(), "key": KEY, "batch_size": 8, **options}
    with pytest.raises(error, match=message):
        rate_range(given.pop("make"), given.pop("data"), **given)
