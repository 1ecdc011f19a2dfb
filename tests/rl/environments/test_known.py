"""Environments of known value: their values are what comes of acting in them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.rl.environments.battery import KEY, check, draws

from stepax.rl import known

ALL = {name: getattr(known, name)() for name in known.__all__ if name != "Known"}
DISCOUNT = 0.9


@pytest.mark.parametrize("name", ALL)
def test_contract(name):
    check(ALL[name].environment)


@pytest.mark.parametrize("name", sorted(set(ALL) - {"endless"}))
def test_an_actions_value_is_what_it_gives(name):
    environment, value, action_value = ALL[name]

    def both(key):
        reset, draw, act = jax.random.split(key, 3)
        state, observation = environment.reset(reset)
        action = environment.action_space.sample(draw)
        made = environment.step(state, action, act)
        given = made.reward + DISCOUNT * jnp.where(made.terminated, 0, value(made.observation, DISCOUNT))
        return given, action_value(observation, action, DISCOUNT), value(observation, DISCOUNT)

    given, expected, best = jax.jit(jax.vmap(both))(jax.random.split(KEY, 200))
    np.testing.assert_allclose(given, expected, rtol=1e-6)
    assert (expected <= best + 1e-6).all()
    # And the best is reached, or nearly so where actions are continuous.
    assert (best - expected).min() < 1e-3


def values(name, discount=DISCOUNT):
    observations = draws(ALL[name].environment, 50)[1]
    return jax.vmap(lambda observation: ALL[name].value(observation, discount))(observations), observations


def test_values_by_hand():
    np.testing.assert_array_equal(values("constant")[0], 1)
    np.testing.assert_array_equal(values("chosen")[0], 1)
    np.testing.assert_array_equal(values("matched")[0], 1)
    np.testing.assert_array_equal(values("matched_continuous")[0], 0)
    np.testing.assert_allclose(values("endless")[0], 10, rtol=1e-5)
    np.testing.assert_allclose(values("delayed")[0], 0.9, rtol=1e-6)
    found, observations = values("observed")
    np.testing.assert_array_equal(found, observations[:, 0])
    assert set(np.unique(found)) == {-1, 1}
    delayed = known.delayed(4)
    np.testing.assert_allclose([delayed.value(jnp.float32([t]), 0.5) for t in range(5)], [0.125, 0.25, 0.5, 1, 0])
    matched = ALL["matched"].action_value
    assert [matched(jnp.float32([sign]), action, 0.9) for sign in (-1, 1) for action in (0, 1)] == [1, -1, -1, 1]
    near = ALL["matched_continuous"].action_value(jnp.float32([0.5]), jnp.float32([-0.5]), 0.9)
    assert near == -1


def test_endless_is_cut_off_and_never_ends():
    environment = known.endless(3).environment
    state, _ = environment.reset(KEY)
    ends = []
    for _ in range(3):
        made = environment.step(state, 0, KEY)
        state = made.state
        ends.append((bool(made.terminated), bool(made.truncated), float(made.reward)))
    assert ends == [(False, False, 1.0), (False, False, 1.0), (False, True, 1.0)]


def test_bad_arguments():
    with pytest.raises(ValueError, match="length: expected at least 1, got 0"):
        known.delayed(0)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        known.endless(0)
    with pytest.raises(ValueError, match="action: expected a whole number from 0 to 0, got 1"):
        known.constant().environment.step(jnp.zeros(1), 1, KEY)
    with pytest.raises(TypeError, match="action: expected numbers of a floating dtype"):
        known.matched_continuous().environment.step(jnp.zeros(1), np.array([1]), KEY)
