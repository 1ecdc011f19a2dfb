"""What is recorded is what the environment does; what are no demonstrations is refused by name."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepax.data import demonstrations as files
from stepax.rl import Box, cartpole, check_demonstrations, known, mountain_car, pendulum, recorded
from stepax.rl import demonstrations as module

KEY = jax.random.key(0)
CAR = mountain_car()


def pumping(observation, key):
    """Pushes the way that the car moves."""
    return jnp.where(observation[:, 1] < 0, 0, 2), {"told": observation[:, 0]}


@pytest.fixture(scope="module")
def driven():
    return recorded(CAR, pumping, KEY, episodes=3, steps=200)


def test_whole_episodes_one_after_the_other(driven) -> None:
    assert tuple(driven) == module.PARTS
    count = len(driven["reward"])
    kinds = {name: (array.shape[1:], array.dtype.name) for name, array in driven.items()}
    assert kinds == {
        "observation": ((2,), "float32"),
        "action": ((), "int32"),
        "reward": ((), "float32"),
        "terminated": ((), "bool"),
        "truncated": ((), "bool"),
        "next_observation": ((2,), "float32"),
    }
    ends = np.flatnonzero(driven["terminated"])
    assert len(ends) == 3
    assert ends[-1] == count - 1
    assert (driven["next_observation"][ends, 0] >= 0.5).all()
    begins = np.concatenate([[0], ends[:-1] + 1])
    assert (driven["observation"][begins, 1] == 0).all()
    assert len(set(driven["observation"][begins, 0].tolist())) == 3
    np.testing.assert_array_equal(driven["action"], np.where(driven["observation"][:, 1] < 0, 0, 2))


def test_every_step_is_one_of_the_environment(driven) -> None:
    """The car's motion in float64, from each observation and action."""
    position, velocity = driven["observation"].astype(float).T
    velocity = np.clip(velocity + 0.001 * (driven["action"] - 1) - 0.0025 * np.cos(3 * position), -0.07, 0.07)
    position = np.clip(position + velocity, -1.2, 0.6)
    velocity[(position <= -1.2) & (velocity < 0)] = 0
    np.testing.assert_allclose(driven["next_observation"], np.stack([position, velocity], 1), atol=1e-6)


def test_what_has_no_end_is_cut_off() -> None:
    made = recorded(known.delayed(5).environment, lambda seen, key: (jnp.zeros(len(seen), jnp.int32), {}), KEY, 2, 3)
    assert made["observation"].tolist() == [[0], [1], [2]] * 2
    assert made["truncated"].tolist() == [False, False, True] * 2
    assert not made["terminated"].any()


def test_real_actions_are_kept_as_they_reached_the_environment() -> None:
    made = recorded(pendulum(), lambda seen, key: (jnp.full((len(seen), 1), 9.0), {}), KEY, 1, 4)
    assert made["action"].tolist() == [[2]] * 4


def test_wider_numbers_are_those_of_a_file(driven) -> None:
    wide = {**driven, "action": driven["action"].astype(np.int64), "reward": driven["reward"].astype(float)}
    found = check_demonstrations(CAR, wide)
    assert {name: array.dtype for name, array in found.items()} == {name: array.dtype for name, array in driven.items()}
    jax.tree.map(np.testing.assert_array_equal, found, driven)


def test_names_are_those_of_files() -> None:
    # The package gives the module's name to its function.
    assert module.PARTS == sys.modules[files.__module__].PARTS


def changed(driven, name, row, value):
    array = driven[name].copy()
    array[row] = value
    return {**driven, name: array}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda d: list(d.values()), TypeError, "demonstrations: expected a dict of arrays, got list"),
        (lambda d: {k: v for k, v in d.items() if k != "reward"}, ValueError, r"expected the names .*'reward'.*, got"),
        (lambda d: {**d, "return": d["reward"]}, ValueError, "expected the names .*, got .*'return'"),
        (lambda d: {**d, "reward": d["reward"][:-1]}, ValueError, r'demonstrations\["reward"\] has \d+ rows, but'),
        (lambda d: {k: v[:0] for k, v in d.items()}, ValueError, "is empty"),
        (lambda d: {**d, "reward": d["reward"].tolist()}, TypeError, r'\["reward"\]\[0\] is of type float: expected a'),
        (lambda d: {**d, "action": d["action"] * 1.0}, TypeError, r'\["action"\]: expected whole numbers, .* float'),
        (lambda d: {**d, "truncated": d["truncated"] * 1}, TypeError, r'\["truncated"\]: expected booleans, got int'),
        (lambda d: {**d, "reward": d["reward"] > 0}, TypeError, r'\["reward"\]: expected real numbers, got bool'),
        (
            lambda d: {**d, "observation": d["observation"][:, :1]},
            ValueError,
            r'\["observation"\]: expected the shape \[steps, 2\], got \[\d+, 1\]',
        ),
        (
            lambda d: changed(d, "action", 7, 3),
            ValueError,
            r'\["action"\]: expected numbers from 0 to 2, got 3 in row 7',
        ),
        (lambda d: changed(d, "reward", 3, np.nan), ValueError, r'demonstrations\["reward"\] holds NaN or inf in 1 of'),
        (lambda d: changed(d, "terminated", -1, False), ValueError, "expected whole episodes, got a last step that"),
        (
            lambda d: changed(d, "observation", 5, 0),
            ValueError,
            "the next_observation of row 4 is not the observation of row 5, and no episode ends there",
        ),
    ],
)
def test_what_are_no_demonstrations_is_named(driven, change, error, message) -> None:
    with pytest.raises(error, match=message):
        check_demonstrations(CAR, change(driven))


def test_real_actions_lie_within_their_bounds() -> None:
    steps = {
        "observation": np.zeros((2, 3)),
        "action": np.array([[1.0], [2.5]]),
        "reward": np.zeros(2),
        "terminated": np.zeros(2, bool),
        "truncated": np.ones(2, bool),
        "next_observation": np.zeros((2, 3)),
    }
    with pytest.raises(ValueError, match=r"expected numbers from \[-2.0\] to \[2.0\], got \[2.5\] in row 1"):
        check_demonstrations(pendulum(), steps)
    free = pendulum()._replace(action_space=Box([-3.0], [3.0]))
    assert check_demonstrations(free, steps)["action"].dtype == np.float32


def test_bad_arguments_are_named() -> None:
    with pytest.raises(TypeError, match="act: expected a function"):
        recorded(CAR, "pumping", KEY)
    with pytest.raises(TypeError, match="act: expected it to give a pair of actions and a dict, got ShapeDtypeStruct"):
        recorded(CAR, lambda seen, key: pumping(seen, key)[0], KEY)
    with pytest.raises(ValueError, match="episodes: expected at least 1, got 0"):
        recorded(CAR, pumping, KEY, 0)
    with pytest.raises(TypeError, match="key: expected a typed key"):
        recorded(CAR, pumping, 0)
    with pytest.raises(TypeError, match="environment"):
        check_demonstrations(cartpole, {})
    with pytest.raises(ValueError, match=r'\["action"\]: expected numbers from 0 to 2, got 5 in row 0'):
        recorded(CAR, lambda seen, key: (jnp.full(len(seen), 5, jnp.int32), {}), KEY, 1, 2)
