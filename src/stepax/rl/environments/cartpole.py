"""A pole on a cart, to be kept upright."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from stepax.rl.environment import Environment, Step, time_limit
from stepax.rl.environments.parameters import number, positive
from stepax.rl.spaces import Box, Discrete
from stepax.typing import Array, Key

__all__ = ["CartPole", "cartpole"]


class CartPole(NamedTuple):
    """Scalars, float32.

    Attributes:
        position: Of the cart, in metres from the middle.
        velocity: In metres a second.
        angle: Of the pole, in radians from upright.
        spin: In radians a second.
    """

    position: Array
    velocity: Array
    angle: Array
    spin: Array


def cartpole(
    *,
    gravity: Any = 9.8,
    cart_mass: Any = 1.0,
    pole_mass: Any = 0.1,
    half_length: Any = 0.5,
    force: Any = 10.0,
    seconds: Any = 0.02,
    position_limit: Any = 2.4,
    angle_limit: Any = 12 * 2 * math.pi / 360,
    start: Any = 0.05,
    steps: Any = 500,
) -> Environment:
    """Gymnasium's CartPole-v1: push a cart to the left (0) or to the right (1) so that its pole stays upright.

    Every step gives 1. The observation is position, velocity, angle and spin; all are drawn within ``±start`` at first.
    The episode terminates when the cart or the pole passes its limit. Integrated by Euler's method.

    Args:
        gravity: In m/s².
        cart_mass: In kg.
        pole_mass: In kg.
        half_length: Of the pole, in m.
        force: Of a push, in N.
        seconds: Of a step.
        position_limit: In m from the middle.
        angle_limit: In radians from upright.
        start: Of the first state.
        steps: The time limit; ``None`` for none.

    Returns:
        The environment. Every number may be traced.

    Raises:
        TypeError: A parameter is no number.
        ValueError: A mass, a length, a time or a limit is not above 0, or a number is not finite.

    Reference:
        Barto, Sutton and Anderson, Neuronlike adaptive elements that can solve difficult learning control problems,
        1983.
    """
    gravity, force, start = number("gravity", gravity), number("force", force), number("start", start)
    cart_mass, pole_mass = positive("cart_mass", cart_mass), positive("pole_mass", pole_mass)
    half_length, seconds = positive("half_length", half_length), positive("seconds", seconds)
    position_limit, angle_limit = positive("position_limit", position_limit), positive("angle_limit", angle_limit)
    bounds = [2 * position_limit, math.inf, 2 * angle_limit, math.inf]
    action_space = Discrete(2)
    # Constants of the formulas, so that a step has a single division.
    share = pole_mass / (cart_mass + pole_mass)
    lever, push = half_length * share, force / (cart_mass + pole_mass)

    def reset(key: Key) -> tuple[CartPole, Array]:
        observation = jax.random.uniform(key, (4,), jnp.float32, -start, start)
        return CartPole(*observation), observation

    def step(state: CartPole, action: Any, key: Key) -> Step:
        action_space.check(action)
        position, velocity, angle, spin = state
        sine, cosine = jnp.sin(angle), jnp.cos(angle)
        # The cart's acceleration if the pole did not turn.
        pushed = jnp.where(action == 1, push, -push) + lever * spin * spin * sine
        turning = (gravity * sine - cosine * pushed) / (half_length * (4 / 3 - share * cosine * cosine))
        after = CartPole(
            position + seconds * velocity,
            velocity + seconds * (pushed - lever * turning * cosine),
            angle + seconds * spin,
            spin + seconds * turning,
        )
        terminated = (jnp.abs(after.position) > position_limit) | (jnp.abs(after.angle) > angle_limit)
        return Step(after, jnp.stack(after), jnp.ones((), jnp.float32), terminated, jnp.zeros((), bool))

    return time_limit(Environment(reset, step, Box([-b for b in bounds], bounds), action_space), steps)
