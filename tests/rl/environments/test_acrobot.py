"""Acrobot: torque by hand, equilibria, Gymnasium's steps, starts."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.rl.environments.battery import COUNT, against, check, draws, once

from stepax.rl import acrobot
from stepax.rl.environments.acrobot import Acrobot

REST = Acrobot(*jnp.zeros(4))


def test_contract():
    check(acrobot())


def test_torque_by_hand():
    # At rest: d1 = 4.5, d2 = 1.75; 1 / (1.25 − 1.75² / 4.5) = 1.756098, and −1.75 · 1.756098 / 4.5 = −.682927.
    made = once(acrobot(seconds=1e-3, steps=None), REST, 2)
    np.testing.assert_allclose(made.observation[4:], [-0.682927e-3, 1.756098e-3], rtol=1e-5)
    np.testing.assert_allclose(made.observation[:4], [1, 0, 1, 0], atol=1e-5)
    assert made.reward == -1
    opposite = once(acrobot(seconds=1e-3, steps=None), REST, 0)
    np.testing.assert_allclose(opposite.observation[4:], -made.observation[4:], rtol=1e-6)


def test_hanging_it_stays_and_upright_it_is_done():
    step = jax.jit(acrobot(steps=None).step)
    still = step(REST, jnp.int32(1), jax.random.key(0))
    np.testing.assert_array_equal(still.observation, [1, 0, 1, 0, 0, 0])
    assert (still.reward, still.terminated) == (-1, False)
    up = step(REST._replace(first=jnp.float32(math.pi)), jnp.int32(1), jax.random.key(0))
    assert (up.reward, up.terminated) == (0, True)


def test_gymnasium(gymnasium):
    random = np.random.default_rng(0)
    scale = np.float32([math.pi, math.pi, 4 * math.pi, 9 * math.pi])
    states = random.uniform(-1, 1, (COUNT, 4)).astype(np.float32) * scale
    actions = random.integers(0, 3, COUNT)

    def put(theirs, row):
        theirs.state = states[row].astype(np.float64)

    observation, reward, ended = against(gymnasium, "Acrobot-v1", acrobot(), Acrobot(*states.T), actions, put)
    # At the fastest spins four slopes in a row make much of a rounding; see the next test.
    assert np.median(observation) < 3e-7
    assert observation.max() < 1e-3
    slow = (np.abs(states[:, 2:]) < 6).all(1)
    assert slow.sum() > 40
    assert observation[slow].max() < 1e-5
    assert (reward == 0).all()
    assert 50 < ended.sum() < 500


def test_in_float64_the_steps_are_gymnasiums(gymnasium, x64):
    random = np.random.default_rng(1)
    states = random.uniform(-1, 1, (COUNT, 4)) * [math.pi, math.pi, 4 * math.pi, 9 * math.pi]
    actions = random.integers(0, 3, COUNT)
    step = jax.jit(jax.vmap(acrobot(steps=None).step, (0, 0, None)))
    ours = step(Acrobot(*jnp.asarray(states.T)), jnp.asarray(actions), jax.random.key(0)).state
    theirs, expected = gymnasium.make("Acrobot-v1").unwrapped, []
    for state, action in zip(states, actions, strict=True):
        theirs.state = state
        theirs.step(action)
        expected.append(theirs.state)
    np.testing.assert_allclose(np.stack(ours, -1), expected, rtol=0, atol=1e-11)


def test_starts():
    state, observation = draws(acrobot(steps=None))
    angles = np.stack(state, -1)
    assert np.abs(angles).max() <= 0.1
    np.testing.assert_allclose(angles.std(0), 0.1 / 3**0.5, rtol=0.05)
    first, second, *spins = state
    expected = [np.cos(first), np.sin(first), np.cos(second), np.sin(second), *spins]
    np.testing.assert_allclose(observation, np.stack(expected, -1), atol=1e-6)


def test_bad_parameters():
    with pytest.raises(ValueError, match="inertia: expected a number above 0, got -1"):
        acrobot(inertia=-1)
