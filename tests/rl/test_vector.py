"""Lanes of Gymnasium: what a step led to and what comes next, numbers as agents have them, and what is no number."""

import sys

import numpy as np
import pytest

from stepax.rl.spaces import Box, Discrete
from stepax.rl.vector import Vector

gymnasium = pytest.importorskip("gymnasium", reason="Gymnasium is not here: it comes with the extra `gym`")
spaces = gymnasium.spaces


class Counting(gymnasium.Env):
    """Counts its steps, and tells them and what was done; ends after three, by itself or cut off."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Box(-2.0, 2.0, (1,), np.float32)

    def __init__(self, bad=None, cut=False):
        self.bad, self.cut, self.time = bad, cut, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.array([0.0, 9.0]), {}

    def step(self, action):
        self.time += 1
        seen = np.array([self.time, float(np.ravel(action)[0])])
        ended, bad = self.time == 3, self.time == 2
        if self.bad == "observation" and bad:
            seen[1] = np.nan
        reward = np.inf if self.bad == "reward" and bad else 10.0 * self.time
        return seen, reward, ended and not self.cut, ended and self.cut, {"time": self.time}


class Whole(Counting):
    """Observations and actions are whole numbers that begin at 5."""

    observation_space = spaces.Discrete(10, start=5)
    action_space = spaces.Discrete(3, start=5)

    def reset(self, *, seed=None, options=None):
        return 5, {}

    def step(self, action):
        assert self.action_space.contains(action)
        return action + 1, 0.0, False, False, {}


def test_a_step_tells_where_it_led_and_what_comes_next():
    with Vector(Counting, 2) as lanes:
        assert lanes.reset(0).tolist() == [[0, 9], [0, 9]]
        for time in (1, 2):
            made = lanes.step([[0.5], [1]])
            assert made.observation.tolist() == made.next_observation.tolist() == [[time, 0.5], [time, 1]]
            assert not (made.terminated | made.truncated).any()
        made = lanes.step([[0.5], [1]])
        assert made.next_observation.tolist() == [[3, 0.5], [3, 1]]
        assert made.observation.tolist() == [[0, 9], [0, 9]]
        assert (made.reward.tolist(), made.terminated.all(), made.truncated.any()) == ([30, 30], True, False)
        assert lanes.step([[0], [0]]).observation.tolist() == [[1, 0], [1, 0]]
        assert (lanes.observation_space.shape, made.observation.dtype) == ((2,), np.float32)


def test_lanes_end_apart_and_may_be_cut_off():
    lengths = iter([2, 9])

    def make():
        return gymnasium.wrappers.TimeLimit(Counting(), next(lengths))

    with Vector(make, 2) as lanes:
        lanes.reset(0)
        lanes.step([[0], [0]])
        made = lanes.step([[0], [0]])
    assert made.truncated.tolist() == [True, False]
    assert made.observation.tolist() == [[0, 9], [2, 0]]
    assert made.next_observation.tolist() == [[2, 0], [2, 0]]
    with Vector(lambda: Counting(cut=True), 1, steps=1) as lanes:
        lanes.reset(0)
        assert lanes.step([[0]]).truncated.tolist() == [True]


def test_actions_are_cut_to_their_bounds():
    with Vector(Counting, 3) as lanes:
        lanes.reset(0)
        assert lanes.step([[-5], [1.5], [5]]).observation[:, 1].tolist() == [-2, 1.5, 2]
    assert isinstance(lanes.action_space, Box)


def test_whole_numbers_begin_at_0():
    with Vector(Whole, 2) as lanes:
        assert lanes.reset(0).tolist() == [0, 0]
        observation = lanes.step(np.int32([0, 2])).observation
    assert (observation.tolist(), observation.dtype) == ([1, 3], np.int32)
    assert lanes.observation_space == Discrete(10)


@pytest.mark.parametrize(
    ("bad", "message"), [("observation", r"<lambda>: an observation .*\[2.0, nan\]"), ("reward", "the reward is inf")]
)
def test_what_is_no_number_is_refused(bad, message):
    with Vector(lambda: Counting(bad), 2) as lanes:
        lanes.reset(0)
        lanes.step([[0], [0]])
        with pytest.raises(ValueError, match=message):
            lanes.step([[0], [0]])
        with pytest.raises(ValueError, match=r"act: an action is not finite: \[nan\]"):
            lanes.step([[0], [np.nan]])


def test_what_is_no_environment_is_refused(monkeypatch):
    with pytest.raises(TypeError, match=r"expected a name such as 'CartPole-v1'.*got int"):
        Vector(3, 1)
    with pytest.raises(TypeError, match=r"makes a gymnasium\.Env, got list"):
        Vector(list, 1)
    with pytest.raises(gymnasium.error.NameNotFound, match="CarPole"):
        Vector("CarPole-v1", 1)
    for name in ("observation_space", "action_space"):
        two = type("Two", (Counting,), {name: spaces.Tuple([spaces.Discrete(2)] * 2)})
        with pytest.raises(TypeError, match=rf"environment\.{name}: expected a Discrete or a Box .* got Tuple"):
            Vector(two, 1)
    steps = type("Steps", (Counting,), {"action_space": spaces.Box(0, 3, (1,), np.int32)})
    with pytest.raises(TypeError, match="action_space"):
        Vector(steps, 1)
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ImportError, match=r"pip install 'stepax\[gym\]'"):
        Vector("CartPole-v1", 1)
