"""The pendulum: a step by hand, Gymnasium's steps, starts."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from tests.rl.environments.battery import COUNT, KEY, against, check, draws, once

from stepax.rl import pendulum
from stepax.rl.environments.pendulum import Pendulum


def test_contract():
    *_, terminated, _, _, states = check(pendulum())
    assert not terminated.any()
    assert np.abs(states.state.state.state.angle).max() <= math.pi + 1e-6


def test_a_step_by_hand():
    # −(1 + .1 · 4 + .001 · .25); 2 + 15 sin(1) · .05 + 3 · .5 · .05 = 2.7061032; 1 + .05 · 2.7061032 = 1.1353052
    made = once(pendulum(steps=None), Pendulum(jnp.float32(1), jnp.float32(2)), [0.5])
    np.testing.assert_allclose(made.reward, -1.40025, rtol=1e-6)
    np.testing.assert_allclose(made.observation, [math.cos(1.1353052), math.sin(1.1353052), 2.7061032], rtol=1e-6)
    # An action out of bounds is that of the bound, also in its cost.
    twice = [once(pendulum(steps=None), Pendulum(jnp.float32(1), jnp.float32(2)), [torque]) for torque in (2.0, 5.0)]
    assert twice[0].reward == twice[1].reward
    np.testing.assert_array_equal(twice[0].observation, twice[1].observation)


def test_gymnasium(gymnasium):
    random = np.random.default_rng(0)
    states = random.uniform(-1, 1, (COUNT, 2)).astype(np.float32) * np.float32([2 * math.pi, 8])
    actions = random.uniform(-3, 3, (COUNT, 1)).astype(np.float32)

    def put(theirs, row):
        theirs.state = states[row].astype(np.float64)

    observation, reward, _ = against(gymnasium, "Pendulum-v1", pendulum(), Pendulum(*states.T), actions, put)
    assert (observation.max(0) < [1e-6, 1e-6, 2e-6]).all()
    assert reward.max() < 4e-6


def test_starts():
    (angle, spin), observation = draws(pendulum(steps=None))
    assert np.abs(angle).max() <= math.pi + 1e-6
    assert np.abs(spin).max() <= 1
    np.testing.assert_allclose([angle.std(), spin.std()], [math.pi / 3**0.5, 1 / 3**0.5], rtol=0.05)
    np.testing.assert_allclose(observation, np.stack([np.cos(angle), np.sin(angle), spin], -1), atol=1e-6)


def test_bad_arguments():
    with pytest.raises(ValueError, match="max_torque: expected a number above 0, got 0"):
        pendulum(max_torque=0)
    with pytest.raises(ValueError, match=r"action: expected shape \(1,\), got shape \(2,\)"):
        pendulum(steps=None).step(Pendulum(0.0, 0.0), np.zeros(2, np.float32), KEY)
