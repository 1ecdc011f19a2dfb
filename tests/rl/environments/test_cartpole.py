"""CartPole: a step by hand, Gymnasium's steps, starts, and parameters that are data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.rl.environments.battery import COUNT, KEY, against, check, draws, once

from stepax.rl import cartpole, time_limit
from stepax.rl.environments.cartpole import CartPole

REST = CartPole(*jnp.zeros(4))


def test_contract():
    _, _, reward, *_ = check(cartpole())
    assert (reward == 1).all()


def test_a_push_by_hand():
    # 10 / 1.1 = 9.0909; turning −9.0909 / (.5 (4/3 − .1 / 1.1)) = −14.634; cart 9.0909 + .05 / 1.1 · 14.634 = 9.7561
    made = once(cartpole(steps=None), REST, 1)
    np.testing.assert_allclose(made.observation, [0, 0.195122, 0, -0.292683], rtol=1e-6)
    assert made.reward == 1
    assert not made.terminated
    other = once(cartpole(steps=None), REST, 0)
    np.testing.assert_array_equal(other.observation, -made.observation)


def test_limits():
    step = jax.jit(cartpole(steps=None).step)
    for position, angle, ended in [(2.39, 0, False), (2.41, 0, True), (0, 0.209, False), (0, -0.21, True)]:
        state = REST._replace(position=jnp.float32(position), angle=jnp.float32(angle))
        assert step(state, jnp.int32(0), KEY).terminated == ended


def test_gymnasium(gymnasium):
    random = np.random.default_rng(0)
    states = random.uniform(-1, 1, (COUNT, 4)).astype(np.float32) * np.float32([2.5, 3, 0.22, 3])
    actions = random.integers(0, 2, COUNT)

    def put(theirs, row):
        theirs.state, theirs.steps_beyond_terminated = states[row].astype(np.float64), None

    observation, reward, ended = against(gymnasium, "CartPole-v1", cartpole(), CartPole(*states.T), actions, put)
    assert observation.max() < 5e-7
    assert (reward == 0).all()
    assert 50 < ended.sum() < 500


def test_starts():
    state, observation = draws(cartpole(steps=None))
    np.testing.assert_array_equal(np.stack(state, -1), observation)
    assert np.abs(observation).max() <= 0.05
    np.testing.assert_allclose(observation.mean(0), 0, atol=0.002)
    np.testing.assert_allclose(observation.std(0), 0.05 / 3**0.5, rtol=0.05)


def test_parameters_may_be_traced():
    def pushed(force, limit):
        environment = cartpole(force=force, angle_limit=limit, steps=None)
        made = environment.step(REST, jnp.int32(1), KEY)
        return made.observation[1], environment.observation_space.contains(jnp.float32([0, 0, 0.3, 0]))

    velocity, inside = jax.jit(jax.vmap(pushed))(jnp.float32([10, 20]), jnp.float32([0.1, 0.2]))
    np.testing.assert_allclose(velocity, [0.195122, 0.390244], rtol=1e-5)
    np.testing.assert_array_equal(inside, [False, True])


def test_a_policy_that_balances():
    # To the side to which the pole leans and turns.
    environment = time_limit(cartpole(steps=None), 500)

    def one(carry, key):
        state, observation = carry
        made = environment.step(state, (observation[2] + observation[3] > 0).astype(jnp.int32), key)
        return (made.state, made.observation), made.terminated

    _, ended = jax.lax.scan(one, environment.reset(KEY), jax.random.split(KEY, 150))
    assert not ended.any()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"gravity": "9.8"}, TypeError, "gravity: expected a number, got str '9.8'"),
        ({"pole_mass": 0}, ValueError, "pole_mass: expected a number above 0, got 0"),
        ({"force": np.nan}, ValueError, "force: expected a finite number, got nan"),
        ({"seconds": np.ones(2)}, ValueError, r"seconds: expected one number, got an array of shape \(2,\)"),
        ({"steps": 0}, ValueError, "steps: expected at least 1, got 0"),
        ({"steps": 0.5}, TypeError, "steps: expected a whole number, got float 0.5"),
    ],
    ids=str,
)
def test_bad_parameters(settings, error, message):
    with pytest.raises(error, match=message):
        cartpole(**settings)


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (2, ValueError, "action: expected a whole number from 0 to 1, got 2"),
        (-1, ValueError, "action: expected a whole number from 0 to 1, got -1"),
        (1.0, TypeError, "action: expected a whole number, of an integer dtype, got float 1.0"),
        (True, TypeError, "action: expected a whole number, of an integer dtype, got bool True"),
        (np.zeros(3, int), ValueError, r"expected shape \(\), got shape \(3,\); for many at once use jax.vmap"),
    ],
    ids=str,
)
def test_bad_actions(action, error, message):
    environment = cartpole()
    state, _ = environment.reset(KEY)
    with pytest.raises(error, match=message):
        environment.step(state, action, KEY)
