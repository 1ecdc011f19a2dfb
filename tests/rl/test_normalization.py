"""Running moments are those of all at once; rewards are divided as a loop over episodes would."""

import jax
import jax.numpy as jnp
import numpy as np

from stepax.rl.networks import Value
from stepax.rl.normalization import earned, normalized, scaled_rewards, seen

RANDOM = np.random.default_rng(0)
PARTS = [RANDOM.normal([[[3, -200]]], [[[0.5, 40]]], size=(time, 4, 2)).astype(np.float32) for time in (5, 1, 30)]


def test_the_moments_of_parts_are_those_of_the_whole():
    model = normalized(Value((3,)))
    _, variables = model.init(jax.random.key(0), PARTS[0][0])
    for part in PARTS:
        variables = seen(variables, part)
    whole = np.concatenate([part.reshape(-1, 2) for part in PARTS])
    of = variables["observations"]
    np.testing.assert_allclose(of.number, len(whole), 1e-5)
    np.testing.assert_allclose(of.mean, whole.mean(0), 1e-4)
    np.testing.assert_allclose(of.variance, whole.var(0), 1e-3)


def test_a_model_sees_the_normalised_and_nothing_beyond_the_limit():
    inner = Value((3,))
    model = normalized(inner)
    params, variables = model.init(jax.random.key(0), PARTS[0][0])
    variables = seen(variables, PARTS[2])
    whole = PARTS[2].reshape(-1, 2)
    x = np.float32([[3.5, -160], [1e6, -200]])
    by_hand = np.clip((x - whole.mean(0)) / whole.std(0), -10, 10)
    for train in (False, True):
        output, after = model.apply(params, variables, x, train=train, key=None if not train else jax.random.key(1))
        np.testing.assert_allclose(output, inner.apply({"params": params}, by_hand), 1e-3)
        jax.tree.map(np.testing.assert_array_equal, after, variables)


def test_other_models_have_no_moments():
    assert seen({"batch_stats": 1}, PARTS[0]) == {"batch_stats": 1}


def test_rewards_by_a_loop():
    rewards = RANDOM.normal(5, 20, size=(9, 3)).astype(np.float32)
    terminated, truncated = (RANDOM.random((2, 9, 3)) < 0.15).astype(bool)
    totals, current = [], np.zeros(3)
    for t in range(9):
        current = 0.9 * current + rewards[t]
        totals.append(current)
        current = np.where(terminated[t] | truncated[t], 0, current)
    state, found = earned(3), []
    for part in (slice(0, 4), slice(4, 9)):
        made = {"reward": rewards[part], "terminated": terminated[part], "truncated": truncated[part]}
        state, scaled = scaled_rewards(state, jax.tree.map(jnp.asarray, made), 0.9)
        found.append(scaled)
    np.testing.assert_allclose(state.current, current, 1e-5)
    np.testing.assert_allclose(found[1], np.clip(rewards[4:] / np.std(totals), -10, 10), 1e-3)
    np.testing.assert_allclose(found[0], np.clip(rewards[:4] / np.std(totals[:4]), -10, 10), 1e-3)
