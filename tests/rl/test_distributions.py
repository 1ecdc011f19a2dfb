"""Probabilities and entropies are PyTorch's and SciPy's, gradients finite differences, draws as likely as said."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import stats

from stepax.rl.distributions import Categorical, Normal

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(5, 3)).astype(np.float32) * 2
MEAN, LOG_STD = RANDOM.normal(size=(2, 5, 2)).astype(np.float32)
KEY = jax.random.key(0)


def test_one_of_several_is_pytorchs(torch):
    theirs = torch.distributions.Categorical(logits=torch.tensor(LOGITS))
    action = np.int32([0, 2, 1, 1, 0])
    np.testing.assert_allclose(Categorical(LOGITS).log_probability(action), theirs.log_prob(torch.tensor(action)), 1e-5)
    np.testing.assert_allclose(Categorical(LOGITS).entropy(), theirs.entropy(), 1e-5)


def test_numbers_are_scipys():
    action = RANDOM.normal(size=(5, 2)).astype(np.float32)
    theirs = stats.norm(MEAN, np.exp(LOG_STD))
    ours = Normal(MEAN, LOG_STD)
    np.testing.assert_allclose(ours.log_probability(action), theirs.logpdf(action).sum(-1), 1e-5)
    np.testing.assert_allclose(ours.entropy(), theirs.entropy().sum(-1), 1e-5)


def test_by_hand():
    even = Categorical(jnp.zeros((1, 4)))
    np.testing.assert_allclose(even.log_probability(jnp.array([3])), [-np.log(4)], 1e-6)
    np.testing.assert_allclose(even.entropy(), [np.log(4)], 1e-6)
    standard = Normal(jnp.zeros((1, 1)), jnp.zeros((1, 1)))
    np.testing.assert_allclose(standard.log_probability(jnp.zeros((1, 1))), [-0.5 * np.log(2 * np.pi)], 1e-6)


def test_modes_are_the_likeliest():
    assert Categorical(LOGITS).mode().tolist() == LOGITS.argmax(-1).tolist()
    assert Categorical(LOGITS).mode().dtype == jnp.int32
    np.testing.assert_array_equal(Normal(MEAN, LOG_STD).mode(), MEAN)


def test_draws_are_as_likely_as_said():
    one = Categorical(jnp.broadcast_to(LOGITS[:1], (20_000, 3))).sample(KEY)
    assert one.dtype == jnp.int32
    expected = 20_000 * jax.nn.softmax(LOGITS[0])
    assert (
        stats.chisquare(np.bincount(one, minlength=3), np.asarray(expected, np.float64), sum_check=False).pvalue > 0.01
    )
    many = Normal(jnp.full((20_000, 1), 3.0), jnp.full((20_000, 1), np.log(0.5)))
    assert stats.kstest(np.asarray(many.sample(KEY))[:, 0], stats.norm(3, 0.5).cdf).pvalue > 0.01


@pytest.mark.parametrize("kind", [Categorical, Normal])
def test_gradients_are_finite_differences(kind, x64):
    given = (LOGITS,) if kind is Categorical else (MEAN, LOG_STD)
    action = np.int32([0, 2, 1, 1, 0]) if kind is Categorical else MEAN + 0.3

    def total(*given):
        made = kind(*given)
        return (made.log_probability(action) + 0.3 * made.entropy()).sum()

    check_grads(total, tuple(leaf.astype(float) for leaf in given), 1, ["rev"])
