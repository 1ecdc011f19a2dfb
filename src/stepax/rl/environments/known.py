"""Environments so small that every value is known, each with one more thing to learn than the one before.

An observation is ``[1]``. What is wrong with an agent shows in the first of them that it does not learn: ``constant``,
a value at all; ``observed``, a value of what is seen; ``delayed``, discounting; ``endless``, the value after a
truncation; ``chosen``, the policy; ``matched`` and ``matched_continuous``, a policy of what is seen.

Reference: Jones, Debugging RL, without the agonizing pain, 2021, andyljones.com/posts/rl-debugging.html.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from stepax.checks import check_count
from stepax.rl.environment import Environment, Step, time_limit
from stepax.rl.spaces import Box, Discrete, Space
from stepax.typing import Array, Key

__all__ = ["Known", "chosen", "constant", "delayed", "endless", "matched", "matched_continuous", "observed"]


class Known(NamedTuple):
    """An environment, and what acting best in it is worth.

    Attributes:
        environment: The environment.
        value: ``(observation, discount) -> value``: of the best policy.
        action_value: ``(observation, action, discount) -> value``: of an action, and the best policy after it.
    """

    environment: Environment
    value: Callable[[Any, Any], Array]
    action_value: Callable[[Any, Any, Any], Array]


def constant() -> Known:
    """One action, one step, the reward 1: the value is 1."""

    def value(observation: Any, discount: Any) -> Array:
        return _like(observation, 1)

    return Known(_single(_zero, lambda observation, action: 1.0, Discrete(1)), value, _only(value))


def observed() -> Known:
    """One action, one step, the reward −1 or 1 as is observed: the value is the observation."""

    def value(observation: Any, discount: Any) -> Array:
        return observation[0]

    return Known(_single(_sign, lambda observation, action: observation[0], Discrete(1)), value, _only(value))


def delayed(length: int = 2) -> Known:
    """One action, so many steps, the reward 1 with the last: ``t`` steps before that the value is ``discount^t``.

    Args:
        length: How many steps. The observation counts them.

    Raises:
        TypeError: ``length`` is no whole number.
        ValueError: It is below 1.
    """
    check_count("length", length)

    def step(state: Array, action: Any, key: Key) -> Step:
        action_space.check(action)
        after = state + 1
        ended = after[0] >= length
        return Step(after, after, ended.astype(jnp.float32), ended, jnp.zeros((), bool))

    def value(observation: Any, discount: Any) -> Array:
        return jnp.where(observation[0] < length, discount ** (length - 1 - observation[0]), 0.0)

    action_space = Discrete(1)
    return Known(Environment(_zero, step, Box([0.0], [length]), action_space), value, _only(value))


def endless(length: int = 10) -> Known:
    """One action, the reward 1 for ever, cut off after so many steps: the value is ``1 / (1 − discount)``.

    Whoever takes a truncation for an end gets less.

    Args:
        length: The time limit.

    Raises:
        TypeError: ``length`` is no whole number.
        ValueError: It is below 1.
    """

    def value(observation: Any, discount: Any) -> Array:
        return _like(observation, 1) / (1 - discount)

    environment = _single(_zero, lambda observation, action: 1.0, Discrete(1), ends=False)
    return Known(time_limit(environment, length), value, _only(value))


def chosen() -> Known:
    """One step, the reward −1 for action 0 and 1 for action 1: the value is 1."""

    def gain(observation: Any, action: Any) -> Array:
        return 2 * jnp.asarray(action, jnp.float32) - 1

    return Known(
        _single(_zero, gain, Discrete(2)),
        lambda observation, discount: _like(observation, 1),
        lambda observation, action, discount: gain(observation, action),
    )


def matched() -> Known:
    """One step, −1 or 1 is observed, the reward 1 is for action 0 or 1 in turn, −1 for the other: the value is 1."""

    def gain(observation: Any, action: Any) -> Array:
        return (2 * jnp.asarray(action, jnp.float32) - 1) * observation[0]

    return Known(
        _single(_sign, gain, Discrete(2)),
        lambda observation, discount: _like(observation, 1),
        lambda observation, action, discount: gain(observation, action),
    )


def matched_continuous() -> Known:
    """One step, a number within ±1 is observed, minus the action's squared distance is the reward: the value is 0."""

    def gain(observation: Any, action: Any) -> Array:
        return -((jnp.asarray(action, jnp.float32)[0] - observation[0]) ** 2)

    return Known(
        _single(lambda key: _twice(jax.random.uniform(key, (1,), jnp.float32, -1, 1)), gain, Box([-1.0], [1.0])),
        lambda observation, discount: _like(observation, 0),
        lambda observation, action, discount: gain(observation, action),
    )


def _single(
    reset: Callable[[Key], tuple[Array, Array]],
    gain: Callable[[Array, Any], Any],
    action_space: Space,
    *,
    ends: bool = True,
) -> Environment:
    """An environment whose state is its observation, which stays, and of which every step terminates, or none."""

    def step(state: Array, action: Any, key: Key) -> Step:
        action_space.check_form(action) if isinstance(action_space, Box) else action_space.check(action)
        reward = jnp.asarray(gain(state, action), jnp.float32)
        return Step(state, state, reward, jnp.full((), ends), jnp.zeros((), bool))

    return Environment(reset, step, Box([-1.0], [1.0]), action_space)


def _zero(key: Key) -> tuple[Array, Array]:
    return _twice(jnp.zeros((1,), jnp.float32))


def _sign(key: Key) -> tuple[Array, Array]:
    return _twice(jnp.where(jax.random.bernoulli(key, 0.5, (1,)), 1, -1).astype(jnp.float32))


def _twice(observation: Array) -> tuple[Array, Array]:
    return observation, observation


def _like(observation: Any, number: float) -> Array:
    return jnp.full_like(observation[0], number)


def _only(value: Callable[[Any, Any], Array]) -> Callable[[Any, Any, Any], Array]:
    """The values of the only action."""
    return lambda observation, action, discount: value(observation, discount)
