"""Updates by hand: several lanes at one pair, rates by visits, and what is allowed to be drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepax.rl import Discrete, Environment, Step, known, time_limit
from stepax.rl.action_table import ByVisits, drawn_actions
from stepax.rl.tabular import expected_sarsa, q_learning, sarsa

KEY = jax.random.key(0)


def counting(terminated: bool = True, steps: int | None = None) -> Environment:
    """One observation, two actions that give 1 and 2; every step ends the episode, or none."""

    def step(state, action, key):
        reward = 1 + jnp.asarray(action, jnp.float32)
        return Step(state, state, reward, jnp.full((), terminated), jnp.zeros((), bool))

    def reset(key):
        return jnp.int32(0), jnp.int32(0)

    return time_limit(Environment(reset, step, Discrete(1), Discrete(2)), steps)


def after(learner, steps=1):
    """The first state, the last one, and the last metrics."""
    first = jax.jit(learner.init)(KEY)
    step, state = jax.jit(learner.step), first
    for _ in range(steps):
        state, metrics = step(state)
    return first, state, metrics


def test_lanes_at_one_pair_are_learnt_from_one_after_the_other():
    # Three lanes, all at action 1, whose first value is the larger one.
    learner = q_learning(counting(), rate=0.5, epsilon=0, lanes=3, length=1, initial=np.array([[-1.0, 0.0]]))
    _, state, metrics = after(learner)
    assert state.params["values"].tolist() == [[-1, 2 * (1 - 0.5**3)]]
    assert state.extra["visits"].tolist() == [[0, 3]]
    assert metrics == {"loss": 4, "weight": 3, "return": 2, "length": 1}
    assert state.step == 1


def test_a_rate_by_visits_is_that_of_each_visit():
    """Rates (3 / (2 + n))^½ for n = 1 … 6, two lanes in each of three steps."""
    learner = q_learning(counting(), rate=ByVisits(3.0, 0.5), epsilon=0, lanes=2, length=3, initial=[[-9.0, 5.0]])
    _, state, _ = after(learner)
    value = 5.0
    for n in range(1, 7):
        value += (3 / (2 + n)) ** 0.5 * (2 - value)
    np.testing.assert_allclose(state.params["values"][0, 1], value, 1e-6)


def test_by_visits_alone_the_value_is_the_mean():
    def step(state, action, key):
        return Step(state, state, jax.random.normal(key), jnp.ones((), bool), jnp.zeros((), bool))

    environment = counting()._replace(step=step, action_space=Discrete(1))
    one = after(q_learning(environment, rate=ByVisits(), epsilon=0, lanes=64, length=64))[1]
    assert abs(one.params["values"][0, 0]) < 4 / 64
    assert one.extra["visits"][0, 0] == 64 * 64


def test_schedules_go_by_the_number_of_the_step():
    def rate(step):
        return 1 / (2 + step)

    learner = q_learning(counting(), rate=rate, epsilon=lambda step: 0.0, length=1, initial=[[-9.0, 0.0]])
    values = [after(learner, steps)[1].params["values"][0, 1] for steps in (1, 2)]
    np.testing.assert_allclose(values, [1, 1 + 1 / 3], 1e-6)


@pytest.mark.parametrize(("environment", "value"), [(counting(False, 1), 2 + 0.5 * 7), (counting(True, 1), 2)])
def test_only_a_terminated_episode_has_nothing_after_it(environment, value):
    _, state, metrics = after(q_learning(environment, rate=1.0, epsilon=0, discount=0.5, length=1, initial=[[-9, 7]]))
    assert state.params["values"][0, 1] == value
    assert metrics["length"] == 1


def test_draws_are_of_the_best_actions_or_of_all():
    values = jnp.tile(jnp.array([[1.0, 3.0, 3.0, 2.0]]), (40_000, 1))
    shares = np.bincount(drawn_actions(values, 0.2, KEY), minlength=4) / 40_000
    np.testing.assert_allclose(shares, [0.05, 0.45, 0.45, 0.05], atol=0.01)
    assert set(np.asarray(drawn_actions(values, 0.0, KEY))) == {1, 2}
    shares = np.bincount(drawn_actions(values, 1.0, KEY), minlength=4) / 40_000
    np.testing.assert_allclose(shares, 0.25, atol=0.01)


def test_predictions_and_evaluation_are_of_the_table():
    learner = q_learning(counting(False, 5), initial=[[0.0, 1.0]], evaluation_episodes=3)
    state = jax.jit(learner.init)(KEY)
    assert learner.predict(state, np.array([0, 0])).tolist() == [[0, 1], [0, 1]]
    assert jax.jit(lambda state: learner.evaluate(state, None, KEY))(state) == {
        "return": 10,
        "length": 5,
        "ended": 1,
        "weight": 3,
    }
    for wrong, error in [(1.0, TypeError), (1, ValueError), (-1, ValueError)]:
        with pytest.raises(error, match="x: expected observations"):
            learner.predict(state, np.array([wrong]))


@pytest.mark.parametrize("method", [q_learning, sarsa, expected_sarsa])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 1.5}, "rate: expected a number from 0 to 1, got 1.5"),
        ({"rate": "0.1"}, "rate: expected a number, got str"),
        ({"rate": ByVisits(0.5)}, r"rate\.scale: expected a number of at least 1, got 0.5"),
        ({"rate": ByVisits(1.0, 2.0)}, r"rate\.power: expected a number from 0 to 1, got 2"),
        ({"epsilon": -0.1}, "epsilon: expected a number from 0 to 1, got -0.1"),
        ({"discount": 2.0}, "discount: expected a number from 0 to 1, got 2"),
        ({"lanes": 0}, "lanes: expected at least 1, got 0"),
        ({"length": 1.5}, "length: expected a whole number, got float 1.5"),
        ({"evaluation_episodes": 0}, "evaluation_episodes: expected at least 1, got 0"),
        ({"evaluation_steps": 0}, "evaluation_steps: expected at least 1, got 0"),
        ({"initial": np.zeros(2)}, r"initial: expected a number or an array of shape \(1, 2\), got shape \(2,\)"),
        ({"initial": np.nan}, "initial: expected finite numbers"),
        ({"initial": False}, "initial: expected numbers, got bool"),
    ],
)
def test_wrong_settings_are_named(method, settings, message):
    with pytest.raises((TypeError, ValueError), match=message):
        method(counting(), **settings)


def test_wrong_environments_and_schedules_are_named():
    with pytest.raises(TypeError, match=r"environment\.observation_space: expected a Discrete, for a table, got a Box"):
        q_learning(known.constant().environment)
    with pytest.raises(TypeError, match=r"environment: expected a stepax\.rl\.Environment"):
        q_learning("FrozenLake-v1")
    learner = q_learning(counting(), epsilon=lambda step: jnp.zeros(3))
    with pytest.raises(ValueError, match=r"epsilon: expected a function of the step to one number, got shape \(3,\)"):
        learner.init(KEY)
