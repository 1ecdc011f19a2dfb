"""A pendulum, to be swung up and held there."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from stepax.rl.environment import Environment, Step, time_limit
from stepax.rl.environments.angles import wrapped
from stepax.rl.environments.parameters import number, positive
from stepax.rl.spaces import Box
from stepax.typing import Array, Key

__all__ = ["Pendulum", "pendulum"]


class Pendulum(NamedTuple):
    """Scalars, float32.

    Attributes:
        angle: In radians from upright; Gymnasium's goes on counting, this one stays within ±π.
        spin: In radians a second.
    """

    angle: Array
    spin: Array


def pendulum(
    *,
    gravity: Any = 10.0,
    mass: Any = 1.0,
    length: Any = 1.0,
    max_torque: Any = 2.0,
    max_spin: Any = 8.0,
    seconds: Any = 0.05,
    steps: Any = 200,
) -> Environment:
    """Gymnasium's Pendulum-v1: swing a pendulum up and hold it with little torque.

    A step gives ``−(angle² + spin² / 10 + torque² / 1000)``, of the state before it. The observation is the cosine and
    the sine of the angle, and the spin; at first the angle is any, and the spin within ±1. Nothing terminates. An
    action out of bounds is cut to the nearest, as in Gymnasium.

    Args:
        gravity: In m/s².
        mass: In kg.
        length: In m.
        max_torque: The bound of an action, in N m.
        max_spin: What the spin is cut to, in radians a second.
        seconds: Of a step.
        steps: The time limit; ``None`` for none.

    Returns:
        The environment; its actions have shape ``[1]``. Every number may be traced.

    Raises:
        TypeError: A parameter is no number.
        ValueError: A mass, a length, a time or a limit is not above 0, or a number is not finite.
    """
    gravity, mass, length = number("gravity", gravity), positive("mass", mass), positive("length", length)
    max_torque, max_spin = positive("max_torque", max_torque), positive("max_spin", max_spin)
    seconds = positive("seconds", seconds)
    fall, pull = 1.5 * gravity / length * seconds, 3 / (mass * length * length) * seconds
    bounds, action_space = [1, 1, max_spin], Box([-max_torque], [max_torque])

    def reset(key: Key) -> tuple[Pendulum, Array]:
        angle, spin = jax.random.uniform(key, (2,), jnp.float32, -1, 1)
        state = Pendulum(math.pi * angle, spin)
        return state, _observed(state)

    def step(state: Pendulum, action: Any, key: Key) -> Step:
        action_space.check_form(action)
        torque = jnp.clip(jnp.asarray(action, jnp.float32)[0], -max_torque, max_torque)
        angle, spin = wrapped(state.angle), state.spin
        reward = -(angle * angle + 0.1 * spin * spin + 0.001 * torque * torque)
        spin = jnp.clip(spin + fall * jnp.sin(angle) + pull * torque, -max_spin, max_spin)
        after = Pendulum(wrapped(angle + seconds * spin), spin)
        return Step(after, _observed(after), reward, jnp.zeros((), bool), jnp.zeros((), bool))

    return time_limit(Environment(reset, step, Box([-bound for bound in bounds], bounds), action_space), steps)


def _observed(state: Pendulum) -> Array:
    return jnp.stack([jnp.cos(state.angle), jnp.sin(state.angle), state.spin])
