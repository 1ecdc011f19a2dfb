"""Actions by values, and targets by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stepax as sx
from stepax.rl import cartpole, double, maximum, pendulum
from stepax.rl.deep_q import check_settings, check_values, exploring, taken, targets, transition
from stepax.rl.environment import Environment
from stepax.rl.spaces import Box, Discrete

KEY = jax.random.key(0)


def apply(params, variables, x, *, train, key):
    """Of an observation ``x [1]`` the values ``x · params``."""
    return x * params[None], variables


MODEL = sx.Model(lambda key, x: (jnp.ones(3), {}), apply)
STATE = sx.State(jnp.float32([1, 3, 2]), {}, (), {"target": (jnp.float32([10, 20, 40]), {})}, jnp.int32(0), KEY)


def test_values_of_actions():
    values = jnp.float32([[1, 2, 3], [4, 5, 6]])
    assert taken(values, jnp.int32([2, 0])).tolist() == [3, 4]
    gradient = jax.grad(lambda values: taken(values, jnp.int32([2, 0])).sum())(values)
    assert gradient.tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize(("bootstrap", "worth"), [(double, [20, 40]), (maximum, [40, 80])])
def test_targets(bootstrap, worth):
    """By the network the second action is the best one, by the one that lags the third."""
    batch = {
        "reward": jnp.float32([1, 2]),
        "next_observation": jnp.float32([[1], [2]]),
        "terminated": jnp.array([False, True]),
    }
    assert targets(MODEL, bootstrap, STATE, batch, 0.5).tolist() == [1 + worth[0] / 2, 2]
    several = {**batch, "discount": jnp.float32([0.25, 0.125])}
    assert targets(MODEL, bootstrap, STATE, several, 0.5).tolist() == [1 + worth[0] / 4, 2 + worth[1] / 8]


def test_the_best_actions_and_any():
    seen = jnp.concatenate([jnp.ones((2000, 1)), -jnp.ones((2000, 1))])
    best = np.repeat([1, 0], 2000)
    action, more = exploring(MODEL, STATE, 0.0)(seen, KEY)
    assert more == {}
    assert action.dtype == jnp.int32
    np.testing.assert_array_equal(action, best)
    action = np.asarray(exploring(MODEL, STATE, 0.3)(seen, KEY)[0])
    # Of the drawn ones a third is the best by chance.
    assert 0.17 < (action != best).mean() < 0.23
    assert 0.07 < (action[:2000] == 0).mean() < 0.13


def test_a_transition_is_one_of_the_environment():
    environment = Environment(None, None, Box([0, 0], [1, 1]), Discrete(4))
    shapes = {name: (leaf.shape, leaf.dtype.name) for name, leaf in transition(environment).items()}
    assert shapes == {
        "observation": ((2,), "float32"),
        "action": ((), "int32"),
        "reward": ((), "float32"),
        "terminated": ((), "bool"),
        "truncated": ((), "bool"),
        "next_observation": ((2,), "float32"),
    }


def test_what_does_not_fit_is_named():
    with pytest.raises(TypeError, match="environment: expected discrete actions"):
        check_settings(pendulum(), {}, 0.9, 0.1)
    with pytest.raises(ValueError, match="lanes: expected at least 1, got 0"):
        check_settings(cartpole(), {"lanes": 0}, 0.9, 0.1)
    with pytest.raises(ValueError, match=r"discount: expected a number from 0 to 1, got 1.1"):
        check_settings(cartpole(), {}, 1.1, 0.1)
    with pytest.raises(ValueError, match="epsilon: expected a number from 0 to 1, got 2"):
        check_settings(cartpole(), {}, 0.9, 2)
    check_settings(cartpole(), {}, 0.9, lambda step: 1 / step)
    with pytest.raises(ValueError, match=r"model: expected values \[batch, 2\], .* got the shape \(1, 3\)"):
        check_values(cartpole(), MODEL, STATE.params, {}, jnp.ones((1, 1)))
    pair = MODEL._replace(apply=lambda params, variables, x, *, train, key: ((x, x), variables))
    with pytest.raises(ValueError, match=r"model: expected values .* got tuple"):
        check_values(cartpole(), pair, STATE.params, {}, jnp.ones((1, 1)))
