"""Gymnasium's environments side by side, in Python; numbers go in and out as agents have them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from stepax.rl.spaces import Box, Discrete, Space

__all__ = ["Make", "Stepped", "Vector"]

# A name that Gymnasium knows, or a function that makes one of its environments.
Make = str | Callable[[], Any]


class Stepped(NamedTuple):
    """What a step of all lanes gives.

    Attributes:
        observation: What the policy sees next, ``[lanes, …]``: where an episode has ended, the next one's first.
        reward: Float64, ``[lanes]``.
        terminated: Whether an episode has come to its end, ``[lanes]``.
        truncated: Whether it was cut off, ``[lanes]``.
        next_observation: Where the step itself led, ``[lanes, …]``.
    """

    observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    next_observation: np.ndarray


class Vector:
    """So many environments of one kind, each begun anew when its episode has ended; a ``with`` closes them.

    Args:
        environment: A name, such as ``"CartPole-v1"``, or a function without arguments that makes one.
        lanes: How many.
        steps: Where to cut off episodes that have not ended; ``None``: only where the environment itself does.

    Raises:
        ImportError: Gymnasium is not installed.
        TypeError: ``environment`` is neither, or the function makes something else; a space is none of numbers.
        ValueError: A lane's observation or reward is not finite.
        gymnasium.error.Error: No environment has that name.
    """

    def __init__(self, environment: Make, lanes: int, steps: int | None = None) -> None:
        gymnasium = _gymnasium()
        make = _maker(gymnasium, environment, steps)
        vector = gymnasium.vector
        self.name = environment if isinstance(environment, str) else getattr(environment, "__name__", "environment")
        self._vector = vector.SyncVectorEnv([make] * lanes, autoreset_mode=vector.AutoresetMode.SAME_STEP)
        try:
            self.observation_space = _space(gymnasium, "observation_space", self._vector.single_observation_space)
            self.action_space = _space(gymnasium, "action_space", self._vector.single_action_space)
        except Exception:
            self._vector.close()
            raise

    def __enter__(self) -> "Vector":
        return self

    def __exit__(self, *error: object) -> None:
        self._vector.close()

    def reset(self, seed: int) -> np.ndarray:
        """Begins an episode in every lane: observations ``[lanes, …]``."""
        return self._seen(self._vector.reset(seed=seed)[0])

    def step(self, action: Any) -> Stepped:
        """One step in every lane; real actions are cut to their bounds."""
        observation, reward, terminated, truncated, told = self._vector.step(self._inside(np.asarray(action)))
        if not np.isfinite(reward).all():
            raise ValueError(f"{self.name}: the reward is {reward[~np.isfinite(reward)][0]}, expected a finite number")
        observation = self._seen(observation)
        after, ended = observation, terminated | truncated
        if ended.any():
            after = observation.copy()
            after[ended] = self._seen(np.stack(list(told["final_obs"][ended])))
        return Stepped(observation, reward, terminated, truncated, after)

    def _seen(self, observation: np.ndarray) -> np.ndarray:
        """Observations in the dtype of their space, found finite."""
        if not np.isfinite(observation).all():
            raise ValueError(f"{self.name}: an observation is not finite: {_first_bad(observation)}")
        if isinstance(self.observation_space, Discrete):
            observation = observation - self._vector.single_observation_space.start
        return observation.astype(self.observation_space.dtype)

    def _inside(self, action: np.ndarray) -> np.ndarray:
        space = self._vector.single_action_space
        if isinstance(self.action_space, Discrete):
            return action.astype(space.dtype) + space.start
        if not np.isfinite(action).all():
            raise ValueError(f"act: an action is not finite: {_first_bad(action)}")
        return np.clip(action.astype(space.dtype), space.low, space.high)


def _gymnasium() -> Any:
    try:
        import gymnasium
    except ImportError as error:
        raise ImportError("environments of Gymnasium need gymnasium: pip install 'stepax[gym]'") from error
    return gymnasium


def _maker(gymnasium: Any, environment: Any, steps: int | None) -> Callable[[], Any]:
    if not isinstance(environment, str) and not callable(environment):
        raise TypeError(
            "environment: expected a name such as 'CartPole-v1', or a function that makes a gymnasium.Env, "
            f"got {type(environment).__name__}"
        )

    def make() -> Any:
        made = gymnasium.make(environment) if isinstance(environment, str) else environment()
        if not isinstance(made, gymnasium.Env):
            raise TypeError(f"environment: expected a function that makes a gymnasium.Env, got {type(made).__name__}")
        return made if steps is None else gymnasium.wrappers.TimeLimit(made, steps)

    return make


def _space(gymnasium: Any, name: str, space: Any) -> Space:
    """Gymnasium's space as one of ours."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, gymnasium.spaces.Box) and (name != "action_space" or np.issubdtype(space.dtype, np.floating)):
        return Box(space.low, space.high)
    way = "; gymnasium.wrappers.FlattenObservation may make one" if name == "observation_space" else ""
    raise TypeError(f"environment.{name}: expected a Discrete or a Box of real numbers, got {space}{way}")


def _first_bad(values: np.ndarray) -> list[float]:
    """The first row that is not finite."""
    return values[~np.isfinite(values.reshape(len(values), -1)).all(-1)][0].tolist()
