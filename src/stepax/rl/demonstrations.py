"""Demonstrations: whole episodes of somebody who knows how, as arrays with one row for each step.

A dict of NumPy arrays ``[steps, …]`` with the names of a transition, :data:`PARTS`; one episode after the other, each
up to a step that is ``terminated`` or ``truncated``. :mod:`stepax.data` keeps them in files.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stepax.checks import check, check_count, check_function, check_key
from stepax.compile import jit
from stepax.rl.environment import Environment, check_environment
from stepax.rl.rollout import Act, inside, whole_episodes
from stepax.rl.spaces import Box, Discrete, Space
from stepax.typing import Key

__all__ = ["PARTS", "check_demonstrations", "recorded"]

PARTS = ("observation", "action", "reward", "terminated", "truncated", "next_observation")
"""The names of a transition's parts."""

Demonstrations = dict[str, np.ndarray]


def recorded(environment: Environment, act: Act, key: Key, episodes: int = 10, steps: int = 1000) -> Demonstrations:
    """Whole episodes of a policy, trained or written by hand.

    Args:
        environment: Where to act.
        act: The policy: ``(observations [episodes, …], key) -> (actions [episodes, …], dict)``, as those of agents;
            what it tells in the dict is not kept.
        key: For the policy and the environment.
        episodes: How many.
        steps: Where those that have no end are cut off: their last step counts as truncated.

    Returns:
        The steps of one episode after the other: NumPy arrays by name. Actions are those that reached the environment.

    Raises:
        TypeError: An argument is none of its kind; the policy gives no pair, or actions of another dtype.
        ValueError: A number is below 1, an action is not the environment's, or the environment gives numbers that are
            not finite.
    """
    check_environment(environment)
    check_function("act", act)
    check_key(key)
    check_count("episodes", episodes)
    check_count("steps", steps)
    _check_act(environment, act, key, episodes)
    made = jit(lambda key: whole_episodes(environment, act, key, episodes, steps))(key)
    made["action"] = jax.vmap(lambda action: inside(environment, action))(made["action"])
    # By episode, then by time.
    played = np.asarray(made["weight"]).T > 0
    kept = {name: np.swapaxes(np.asarray(made[name]), 0, 1)[played] for name in PARTS}
    ends = np.cumsum(played.sum(1)) - 1
    kept["truncated"][ends] |= ~kept["terminated"][ends]
    return check_demonstrations(environment, kept)


def check_demonstrations(environment: Environment, steps: Any) -> Demonstrations:
    """Refuse what are no demonstrations in this environment.

    Args:
        environment: The environment.
        steps: What is to be looked at. Numbers may be wider than the environment's, as files often have them.

    Returns:
        The same as NumPy arrays of the environment's dtypes.

    Raises:
        TypeError: It is no dict; an array is none, or not of the kind that its name says.
        ValueError: A name is missing, or nobody knows it; a shape is not the environment's, arrays differ in length or
            are empty; numbers are not finite, an action is out of range; the last episode has no end; or a step does
            not begin where the one before it led to, though no episode ended there.
    """
    check_environment(environment)
    if not isinstance(steps, Mapping):
        raise TypeError(f"demonstrations: expected a dict of arrays, got {type(steps).__name__}")
    if set(steps) != set(PARTS):
        raise ValueError(f"demonstrations: expected the names {sorted(PARTS)}, got {sorted(map(str, steps))}")
    check(dict(steps), "demonstrations")
    spaces: dict[str, Space] = {
        "observation": environment.observation_space,
        "action": environment.action_space,
        "reward": Box(-np.inf, np.inf),
        "next_observation": environment.observation_space,
    }
    found = {name: _values(name, np.asarray(steps[name]), spaces.get(name)) for name in PARTS}
    if not isinstance(bounds := environment.action_space, Box) or not _traced(bounds):
        _check_range('demonstrations["action"]', found["action"], bounds)
    _check_episodes(found)
    return found


def _check_act(environment: Environment, act: Act, key: Key, episodes: int) -> None:
    """Refuse a policy that gives no pair; traces it, and runs nothing."""
    space = environment.observation_space
    given = jax.eval_shape(act, jnp.zeros((episodes, *space.shape), space.dtype), key)
    if type(given) is not tuple or len(given) != 2 or not isinstance(given[1], dict):
        raise TypeError(f"act: expected it to give a pair of actions and a dict, got {type(given).__name__}")


def _values(name: str, array: np.ndarray, space: Space | None) -> np.ndarray:
    """An array of the space's shape and dtype, or of booleans where there is no space."""
    where, shape = f'demonstrations["{name}"]', () if space is None else space.shape
    if space is None and array.dtype != np.bool_:
        raise TypeError(f"{where}: expected booleans, got {array.dtype}")
    if isinstance(space, Discrete) and not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{where}: expected whole numbers, of an integer dtype, got {array.dtype}")
    if isinstance(space, Box) and array.dtype.kind not in "fiu":
        raise TypeError(f"{where}: expected real numbers, got {array.dtype}")
    if array.shape[1:] != shape:
        raise ValueError(f"{where}: expected the shape {['steps', *shape]}, got {list(array.shape)}".replace("'", ""))
    if isinstance(space, Discrete):
        _check_range(where, array, space)
    return array.astype(np.bool_ if space is None else space.dtype)


def _check_range(where: str, array: np.ndarray, space: Space) -> None:
    """Refuse values that are none of the space's, and say which is the first."""
    low, high = (0, space.n - 1) if isinstance(space, Discrete) else (space.low, space.high)
    wrong = ((array < low) | (array > high)).reshape(len(array), -1).any(1)
    if wrong.any():
        bounds = f"{np.asarray(low).tolist()} to {np.asarray(high).tolist()}"
        row = wrong.argmax()
        raise ValueError(f"{where}: expected numbers from {bounds}, got {array[row].tolist()} in row {row}")


def _check_episodes(found: Demonstrations) -> None:
    """Refuse steps that do not follow one another, or do not come to an end."""
    ended = found["terminated"] | found["truncated"]
    if not ended[-1]:
        raise ValueError(
            "demonstrations: expected whole episodes, got a last step that is neither terminated nor truncated"
        )
    follows = (found["next_observation"][:-1] == found["observation"][1:]).reshape(len(ended) - 1, -1).all(1)
    if not (follows | ended[:-1]).all():
        row = int((follows | ended[:-1]).argmin())
        raise ValueError(
            f"demonstrations: the next_observation of row {row} is not the observation of row {row + 1}, and no "
            "episode ends there: expected the steps of an episode in their order, and its end to be told"
        )


def _traced(space: Box) -> bool:
    return any(isinstance(bound, jax.core.Tracer) for bound in (space.low, space.high))
