"""A car too weak for the hill before it, that must first go back to gather speed."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from stepax.rl.environment import Environment, Step, time_limit
from stepax.rl.environments.parameters import number, positive
from stepax.rl.spaces import Box, Discrete
from stepax.typing import Array, Key

__all__ = ["MountainCar", "mountain_car", "mountain_car_continuous"]

LEFT_END, RIGHT_END = -1.2, 0.6
# Where an episode begins, at rest.
START = (-0.6, -0.4)


class MountainCar(NamedTuple):
    """Scalars, float32.

    Attributes:
        position: From −1.2 to 0.6.
        velocity: A step.
    """

    position: Array
    velocity: Array


def mountain_car(
    *,
    force: Any = 0.001,
    gravity: Any = 0.0025,
    max_speed: Any = 0.07,
    goal_position: Any = 0.5,
    goal_velocity: Any = 0.0,
    steps: Any = 200,
) -> Environment:
    """Gymnasium's MountainCar-v0: reach the top of the hill, pushing to the left (0), not at all (1), or right (2).

    Every step gives −1. The observation is position and velocity; at first the car rests between −0.6 and −0.4. The
    episode terminates at the goal, where the car must be at least as fast as ``goal_velocity``.

    Args:
        force: Of a push.
        gravity: How strongly the slope pulls.
        max_speed: What the velocity is cut to.
        goal_position: Where the goal begins.
        goal_velocity: How fast the car must be there.
        steps: The time limit; ``None`` for none.

    Returns:
        The environment. Every number may be traced.

    Raises:
        TypeError: A parameter is no number.
        ValueError: ``max_speed`` is not above 0, or a number is not finite.

    Reference:
        Moore, Efficient memory-based learning for robot control, 1990.
    """
    force, move = number("force", force), _motion(gravity, max_speed)
    reached, action_space = _goal(goal_position, goal_velocity), Discrete(3)

    def step(state: MountainCar, action: Any, key: Key) -> Step:
        action_space.check(action)
        after = move(state, force * (jnp.asarray(action, jnp.float32) - 1))
        return Step(after, jnp.stack(after), -jnp.ones((), jnp.float32), reached(after), jnp.zeros((), bool))

    return time_limit(Environment(_reset, step, _observation_space(max_speed), action_space), steps)


def mountain_car_continuous(
    *,
    power: Any = 0.0015,
    gravity: Any = 0.0025,
    max_speed: Any = 0.07,
    goal_position: Any = 0.45,
    goal_velocity: Any = 0.0,
    steps: Any = 999,
) -> Environment:
    """Gymnasium's MountainCarContinuous-v0: reach the top of the hill with a push from −1 to 1, and little effort.

    A step costs a tenth of its action's square, and the one that terminates gives 100. As in Gymnasium, an action out
    of bounds pushes like the nearest bound, and costs its own square. The rest is as in :func:`mountain_car`.

    Args:
        power: Of an action of 1.
        gravity: How strongly the slope pulls.
        max_speed: What the velocity is cut to.
        goal_position: Where the goal begins.
        goal_velocity: How fast the car must be there.
        steps: The time limit; ``None`` for none.

    Returns:
        The environment; its actions have shape ``[1]``. Every number may be traced.

    Raises:
        TypeError: A parameter is no number.
        ValueError: ``max_speed`` is not above 0, or a number is not finite.
    """
    power, move = number("power", power), _motion(gravity, max_speed)
    reached, action_space = _goal(goal_position, goal_velocity), Box([-1.0], [1.0])

    def step(state: MountainCar, action: Any, key: Key) -> Step:
        action_space.check_form(action)
        push = jnp.asarray(action, jnp.float32)[0]
        after = move(state, power * jnp.clip(push, -1, 1))
        terminated = reached(after)
        reward = jnp.where(terminated, 100.0, 0.0) - 0.1 * push * push
        return Step(after, jnp.stack(after), reward, terminated, jnp.zeros((), bool))

    return time_limit(Environment(_reset, step, _observation_space(max_speed), action_space), steps)


def _reset(key: Key) -> tuple[MountainCar, Array]:
    state = MountainCar(jax.random.uniform(key, (), jnp.float32, *START), jnp.zeros((), jnp.float32))
    return state, jnp.stack(state)


def _motion(gravity: Any, max_speed: Any) -> Any:
    """``(state, push) -> state``."""
    gravity, max_speed = number("gravity", gravity), positive("max_speed", max_speed)

    def move(state: MountainCar, push: Array) -> MountainCar:
        velocity = state.velocity + push - gravity * jnp.cos(3 * state.position)
        velocity = jnp.clip(velocity, -max_speed, max_speed)
        position = jnp.clip(state.position + velocity, LEFT_END, RIGHT_END)
        # The left end is a wall, at which the car stops.
        return MountainCar(position, jnp.where((position <= LEFT_END) & (velocity < 0), 0, velocity))

    return move


def _goal(position: Any, velocity: Any) -> Any:
    """``state -> bool``."""
    position, velocity = number("goal_position", position), number("goal_velocity", velocity)
    return lambda state: (state.position >= position) & (state.velocity >= velocity)


def _observation_space(max_speed: Any) -> Box:
    return Box([LEFT_END, -max_speed], [RIGHT_END, max_speed])
