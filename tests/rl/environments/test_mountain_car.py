"""The mountain car, with three pushes and with any: steps by hand, the wall, the goal, Gymnasium's steps, starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.rl.environments.battery import COUNT, KEY, against, check, draws, once

from stepax.rl import mountain_car, mountain_car_continuous
from stepax.rl.environments.mountain_car import MountainCar

DISCRETE, CONTINUOUS = mountain_car(steps=None), mountain_car_continuous(steps=None)


def car(position, velocity=0.0):
    return MountainCar(jnp.float32(position), jnp.float32(velocity))


@pytest.mark.parametrize("environment", [mountain_car(), mountain_car_continuous()], ids=["discrete", "continuous"])
def test_contract(environment):
    check(environment)


def test_a_push_by_hand():
    # .001 − .0025 cos(−1.5) = .001 − .000176843
    made = once(DISCRETE, car(-0.5), 2)
    np.testing.assert_allclose(made.observation, [-0.499176843, 0.000823157], rtol=1e-6)
    assert (made.reward, made.terminated) == (-1, False)
    # .0015 − .000176843, and of 2 no more than of 1, at its own cost.
    for action, cost in [(1.0, 0.1), (2.0, 0.4)]:
        made = once(CONTINUOUS, car(-0.5), [action])
        np.testing.assert_allclose(made.observation, [-0.498676843, 0.001323157], rtol=1e-6)
        np.testing.assert_allclose(made.reward, -cost, rtol=1e-6)


def test_the_wall_and_the_goal():
    wall = once(DISCRETE, car(-1.19, -0.05), 0)
    np.testing.assert_array_equal(wall.observation, np.float32([-1.2, 0]))
    goal = once(DISCRETE, car(0.49, 0.05), 2)
    assert (goal.reward, goal.terminated) == (-1, True)
    goal = once(CONTINUOUS, car(0.44, 0.05), [0.5])
    np.testing.assert_allclose(goal.reward, 100 - 0.025, rtol=1e-6)
    assert goal.terminated
    # Too slow for a goal that asks for more.
    assert not once(mountain_car(goal_velocity=0.06, steps=None), car(0.49, 0.05), 2).terminated


@pytest.mark.parametrize("name", ["MountainCar-v0", "MountainCarContinuous-v0"])
def test_gymnasium(gymnasium, name):
    random = np.random.default_rng(0)
    states = random.uniform([-1.2, -0.07], [0.6, 0.07], (COUNT, 2)).astype(np.float32)
    states[::10, 0] = -1.19
    continuous = "Continuous" in name
    environment = mountain_car_continuous() if continuous else mountain_car()
    actions = random.uniform(-2, 2, (COUNT, 1)).astype(np.float32) if continuous else random.integers(0, 3, COUNT)

    def put(theirs, row):
        theirs.state = states[row].astype(np.float64)

    observation, reward, ended = against(gymnasium, name, environment, MountainCar(*states.T), actions, put)
    assert observation.max() < 2e-7
    assert reward.max() < 1e-5
    assert ended.sum() > 30


@pytest.mark.parametrize("environment", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
def test_starts(environment):
    _, observation = draws(environment)
    position, velocity = observation.T
    assert (velocity == 0).all()
    assert position.min() >= -0.6
    assert position.max() <= -0.4
    np.testing.assert_allclose([position.mean(), position.std()], [-0.5, 0.2 / 12**0.5], rtol=0.03)


def test_parameters_may_be_traced():
    made = jax.vmap(lambda force: mountain_car(force=force).reset(KEY))(jnp.float32([0.001, 0.002]))
    assert made[1].shape == (2, 2)


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        ([1], TypeError, r"action: expected numbers of a floating dtype"),
        (np.float32(1), ValueError, r"action: expected shape \(1,\), got shape \(\)"),
        (np.float32([np.nan]), ValueError, r"action: expected finite numbers, got \[nan\]"),
        (np.zeros((3, 1), np.float32), ValueError, r"got shape \(3, 1\); for many at once use jax.vmap"),
    ],
    ids=str,
)
def test_bad_actions(action, error, message):
    with pytest.raises(error, match=message):
        CONTINUOUS.step(car(-0.5), np.asarray(action), KEY)


def test_bad_parameters():
    with pytest.raises(ValueError, match="max_speed: expected a number above 0, got 0"):
        mountain_car(max_speed=0)
    with pytest.raises(TypeError, match="power: expected a number, got NoneType None"):
        mountain_car_continuous(power=None)
