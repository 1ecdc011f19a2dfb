"""What an agent acts in: pure functions of one environment; many are ``jax.vmap``."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp

from stepax.checks import check_count
from stepax.rl.spaces import Box, Discrete, Space
from stepax.typing import Array, Key, Tree

__all__ = ["Environment", "Limited", "Outside", "Resetting", "Step", "auto_reset", "check_environment", "time_limit"]


class Step(NamedTuple):
    """What a step of an environment gives.

    Attributes:
        state: The environment's next state.
        observation: Of that state.
        reward: Float32, a scalar.
        terminated: Whether the episode has come to its end: nothing follows, and the value of what follows is 0.
        truncated: Whether it was cut off, as by a time limit: there the value goes on.
    """

    state: Tree
    observation: Tree
    reward: Array
    terminated: Array
    truncated: Array


class Environment(NamedTuple):
    """Two pure functions, and what goes in and out of them.

    A state is any tree of arrays; its tree, shapes and dtypes never change, so that it is the carry of a scan. A step
    after the end of an episode is undefined; :func:`auto_reset` goes on with a new one. An action that is concrete is
    checked. In a compiled program its shape and dtype are, and what a number out of range does is undefined.

    Attributes:
        reset: ``key -> (state, observation)``.
        step: ``(state, action, key) -> Step``.
        observation_space: Of the observations.
        action_space: Of the actions.
    """

    reset: Callable[[Key], tuple[Tree, Tree]]
    step: Callable[[Tree, Any, Key], Step]
    observation_space: Space
    action_space: Space


class Limited(NamedTuple):
    """The state under a time limit.

    Attributes:
        state: The environment's own.
        elapsed: Steps since the reset, int32.
    """

    state: Tree
    elapsed: Array


class Resetting(NamedTuple):
    """The state under automatic resets.

    Attributes:
        state: The environment's own: where an episode has just ended, that of the next one.
        final_observation: What the last step led to, also where the observation is a new episode's first. After a
            truncation its value is what a learner bootstraps from. Before the first step, the first observation.
    """

    state: Tree
    final_observation: Tree


@dataclasses.dataclass(frozen=True)
class Outside:
    """The step of an environment that no program compiled by JAX can make.

    Attributes:
        name: What the environment is called.
    """

    name: str

    def __call__(self, state: Tree, action: Any, key: Key) -> NoReturn:
        """Refuses to be called.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            f"environment: {self.name} is stepped in Python, not in a compiled program: learn in it with "
            "stepax.rl.host.training, and measure with stepax.rl.host.evaluate"
        )


def time_limit(environment: Environment, steps: Any) -> Environment:
    """Cuts episodes off: ``truncated`` is true once so many steps were made, whether or not the last one terminated.

    Args:
        environment: What to limit.
        steps: How many; may be traced. ``None`` leaves the environment as it is.

    Returns:
        The environment, whose state is :class:`Limited`.

    Raises:
        TypeError: No environment, or ``steps`` is no whole number.
        ValueError: ``steps`` is below 1; in ``reset``, the environment resets itself already.
    """
    _check_type(environment)
    if steps is None:
        return environment
    if not isinstance(steps, jax.core.Tracer):
        check_count("steps", steps)

    def reset(key: Key) -> tuple[Limited, Tree]:
        state, observation = environment.reset(key)
        if isinstance(state, Resetting):
            raise ValueError("environment: this one resets itself; expected auto_reset(time_limit(…)), not the reverse")
        return Limited(state, jnp.zeros((), jnp.int32)), observation

    def step(state: Limited, action: Any, key: Key) -> Step:
        made, elapsed = environment.step(state.state, action, key), state.elapsed + 1
        return made._replace(state=Limited(made.state, elapsed), truncated=made.truncated | (elapsed >= steps))

    return environment._replace(reset=reset, step=step)


def auto_reset(environment: Environment) -> Environment:
    """Goes on with a new episode as soon as one has ended.

    The step that ends an episode has its own reward, ``terminated`` and ``truncated``, but the next episode's state and
    observation. Where that step itself led to is ``state.final_observation``.

    Args:
        environment: Any; a time limit goes inside.

    Returns:
        The environment, whose state is :class:`Resetting`.

    Raises:
        TypeError: No environment.
        ValueError: In ``reset``, the environment resets itself already.
    """
    _check_type(environment)

    def reset(key: Key) -> tuple[Resetting, Tree]:
        state, observation = environment.reset(key)
        if isinstance(state, Resetting):
            raise ValueError("environment: this one resets itself already")
        return Resetting(state, observation), observation

    def step(state: Resetting, action: Any, key: Key) -> Step:
        # Two foldings, not a split: what an environment does not draw from is left out of the program.
        made = environment.step(state.state, action, jax.random.fold_in(key, 0))
        new = environment.reset(jax.random.fold_in(key, 1))
        ended = made.terminated | made.truncated
        after, observation = jax.tree.map(
            lambda first, next_: jnp.where(ended, first, next_), new, (made.state, made.observation)
        )
        return made._replace(state=Resetting(after, made.observation), observation=observation)

    return environment._replace(reset=reset, step=step)


def check_environment(environment: Any) -> None:
    """Refuse what is no environment, or one whose functions do not fit together; traces them, and runs nothing.

    Raises:
        TypeError: It is no ``Environment``, or a space is no ``Discrete`` or ``Box``.
        ValueError: An observation does not have its space's shape and dtype, a step changes the state's tree, shapes or
            dtypes, a reward is no float32 scalar, or ``terminated`` or ``truncated`` is no bool.
    """
    _check_type(environment)
    for name in ("observation_space", "action_space"):
        if not isinstance(space := getattr(environment, name), Discrete | Box):
            raise TypeError(f"environment.{name}: expected a Discrete or a Box, got {type(space).__name__}")
    if isinstance(environment.step, Outside):
        return
    key = jax.eval_shape(lambda: jax.random.key(0))
    action = jax.ShapeDtypeStruct(environment.action_space.shape, environment.action_space.dtype)
    state, observation = jax.eval_shape(environment.reset, key)
    made = jax.eval_shape(environment.step, state, action, key)
    _check_like("the state of a step", made.state, state)
    _check_like("the observation of a reset", observation, environment.observation_space)
    _check_like("the observation of a step", made.observation, environment.observation_space)
    _check_like("the reward", made.reward, jax.ShapeDtypeStruct((), jnp.float32))
    _check_like("terminated", made.terminated, jax.ShapeDtypeStruct((), bool))
    _check_like("truncated", made.truncated, jax.ShapeDtypeStruct((), bool))


def _check_type(environment: Any) -> None:
    if not isinstance(environment, Environment):
        raise TypeError(
            f"environment: expected a stepax.rl.Environment, such as rl.cartpole(), got {type(environment).__name__}"
        )


def _check_like(name: str, given: Any, wanted: Any) -> None:
    trees: list[Any] = [jax.tree.structure(tree) for tree in (given, wanted)]
    if trees[0] != trees[1]:
        raise ValueError(f"environment: {name} has the tree {trees[0]}, expected {trees[1]}")
    for (path, leaf), like in zip(jax.tree_util.tree_leaves_with_path(given), jax.tree.leaves(wanted), strict=True):
        if (leaf.shape, leaf.dtype) != (like.shape, like.dtype):
            raise ValueError(
                f"environment: {name}{jax.tree_util.keystr(path)} is {leaf.dtype}{list(leaf.shape)}, "
                f"expected {like.dtype}{list(like.shape)}"
            )
