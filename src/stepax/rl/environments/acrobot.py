"""Two links hanging from a joint, to be swung up by the joint between them."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from stepax.rl.environment import Environment, Step, time_limit
from stepax.rl.environments.angles import wrapped
from stepax.rl.environments.parameters import number, positive
from stepax.rl.spaces import Box, Discrete
from stepax.typing import Array, Key

__all__ = ["Acrobot", "acrobot"]


class Acrobot(NamedTuple):
    """Scalars, float32.

    Attributes:
        first: The angle of the first link, in radians from hanging, within ±π.
        second: The angle of the second link to the first.
        first_spin: In radians a second.
        second_spin: In radians a second.
    """

    first: Array
    second: Array
    first_spin: Array
    second_spin: Array


def acrobot(
    *,
    gravity: Any = 9.8,
    first_mass: Any = 1.0,
    second_mass: Any = 1.0,
    first_length: Any = 1.0,
    first_center: Any = 0.5,
    second_center: Any = 0.5,
    inertia: Any = 1.0,
    torque: Any = 1.0,
    seconds: Any = 0.2,
    first_limit: Any = 4 * math.pi,
    second_limit: Any = 9 * math.pi,
    start: Any = 0.1,
    steps: Any = 500,
) -> Environment:
    """Gymnasium's Acrobot-v1: swing the free end above the height of one link, with torque −1, 0 or 1 (0, 1, 2).

    Every step gives −1, the one that terminates 0. The observation is the cosine and the sine of the first angle, those
    of the second, and both spins. Angles and spins are drawn within ``±start`` at first. One step of Runge–Kutta of
    fourth order, with the equations of the book.

    Args:
        gravity: In m/s².
        first_mass: Of the first link, in kg.
        second_mass: Of the second.
        first_length: Of the first link, in m.
        first_center: From the first link's joint to its centre of mass, in m.
        second_center: Of the second.
        inertia: Of either link, in kg m².
        torque: Of an action, in N m.
        seconds: Of a step.
        first_limit: What the first spin is cut to, in radians a second.
        second_limit: What the second is cut to.
        start: Of the first state.
        steps: The time limit; ``None`` for none.

    Returns:
        The environment. Every number may be traced.

    Raises:
        TypeError: A parameter is no number.
        ValueError: A mass, a length, an inertia, a time or a limit is not above 0, or a number is not finite.

    Reference:
        Sutton, Generalization in reinforcement learning: successful examples using sparse coarse coding, 1996; Sutton
        and Barto, Reinforcement learning: an introduction, 2018.
    """
    gravity, torque, start = number("gravity", gravity), number("torque", torque), number("start", start)
    m1, m2 = positive("first_mass", first_mass), positive("second_mass", second_mass)
    l1, inertia = positive("first_length", first_length), positive("inertia", inertia)
    c1, c2 = positive("first_center", first_center), positive("second_center", second_center)
    dt = positive("seconds", seconds)
    limit1, limit2 = positive("first_limit", first_limit), positive("second_limit", second_limit)
    bounds, action_space = [1, 1, 1, 1, limit1, limit2], Discrete(3)
    # What the equations have in common, without the state.
    coupling, second_inertia = m2 * l1 * c2, m2 * c2 * c2 + inertia
    both_inertia = m1 * c1 * c1 + m2 * l1 * l1 + inertia + second_inertia
    first_weight, second_weight = (m1 * c1 + m2 * l1) * gravity, m2 * c2 * gravity

    def slopes(at: tuple[Array, ...], force: Array) -> tuple[Array, ...]:
        first, second, spin1, spin2 = at
        sine, cosine = coupling * jnp.sin(second), coupling * jnp.cos(second)
        d1, d2 = both_inertia + 2 * cosine, second_inertia + cosine
        phi2 = second_weight * jnp.sin(first + second)
        phi1 = first_weight * jnp.sin(first) + phi2 - sine * spin2 * (spin2 + 2 * spin1)
        ratio = d2 / d1
        pull2 = (force + ratio * phi1 - sine * spin1 * spin1 - phi2) / (second_inertia - d2 * ratio)
        return spin1, spin2, -(d2 * pull2 + phi1) / d1, pull2

    def reset(key: Key) -> tuple[Acrobot, Array]:
        state = Acrobot(*jax.random.uniform(key, (4,), jnp.float32, -start, start))
        return state, _observed(state)

    def step(state: Acrobot, action: Any, key: Key) -> Step:
        action_space.check(action)
        force = torque * (jnp.asarray(action, jnp.float32) - 1)
        k1 = slopes(state, force)
        k2 = slopes(_moved(state, k1, dt / 2), force)
        k3 = slopes(_moved(state, k2, dt / 2), force)
        k4 = slopes(_moved(state, k3, dt), force)
        total = tuple(a + 2 * (b + c) + d for a, b, c, d in zip(k1, k2, k3, k4, strict=True))
        first, second, spin1, spin2 = _moved(state, total, dt / 6)
        spin1, spin2 = jnp.clip(spin1, -limit1, limit1), jnp.clip(spin2, -limit2, limit2)
        after = Acrobot(wrapped(first), wrapped(second), spin1, spin2)
        observation = _observed(after)
        terminated = -observation[0] - jnp.cos(after.first + after.second) > 1
        reward = jnp.where(terminated, 0, -1).astype(jnp.float32)
        return Step(after, observation, reward, terminated, jnp.zeros((), bool))

    return time_limit(Environment(reset, step, Box([-bound for bound in bounds], bounds), action_space), steps)


def _moved(state: tuple[Array, ...], slopes: tuple[Array, ...], dt: Any) -> tuple[Array, ...]:
    return tuple(at + dt * slope for at, slope in zip(state, slopes, strict=True))


def _observed(state: Acrobot) -> Array:
    first, second, *spins = state
    return jnp.stack([jnp.cos(first), jnp.sin(first), jnp.cos(second), jnp.sin(second), *spins])
