"""What deep Q-learning in all its forms has in common: acting by action values, targets for them, and checks."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from stepax.checks import check_count
from stepax.learner import State
from stepax.model import Model
from stepax.rl.environment import Environment, check_environment
from stepax.rl.estimators import check_number
from stepax.rl.rollout import Act
from stepax.rl.spaces import Discrete
from stepax.typing import Array, Key, Tree

__all__ = ["check_settings", "check_values", "exploring", "taken", "targets", "transition"]


def taken(values: Array, action: Array) -> Array:
    """The values of actions, ``[batch]``, out of those of all, ``[batch, actions]``."""
    # A product with ones and zeros: the gradient of a gather is a scatter, which XLA does one by one on a CPU.
    return (values * jax.nn.one_hot(action, values.shape[-1], dtype=values.dtype)).sum(-1)


def exploring(model: Model, state: State, chance: Any) -> Act:
    """The best actions, and with some probability any."""

    def act(observation: Array, key: Key) -> tuple[Array, dict[str, Any]]:
        values, _ = model.apply(state.params, state.variables, observation, train=False, key=None)
        best = values.argmax(-1).astype(jnp.int32)
        chosen, any_key = jax.random.split(key)
        explores = jax.random.uniform(chosen, best.shape) < chance
        return jnp.where(explores, jax.random.randint(any_key, best.shape, 0, values.shape[-1]), best), {}

    return act


def targets(
    model: Model, bootstrap: Callable[[Array, Array], Array], state: State, batch: Mapping[str, Any], discount: Any
) -> Array:
    r"""What values are to become: :math:`r + \gamma V(s')`, ``[batch]``.

    Args:
        model: From observations to action values.
        bootstrap: What the next observation is worth, :math:`V(s')`: ``(its action values by the network, by the one
            that lags) -> [batch]``.
        state: Holds the network, and in ``extra["target"]`` the one that lags.
        batch: ``reward``, ``next_observation``, and ``terminated`` or a ``discount`` of its own for each entry.
        discount: γ, where the entries have none.
    """
    after = batch["next_observation"]
    online, _ = model.apply(state.params, state.variables, after, train=False, key=None)
    lagging, _ = model.apply(*state.extra["target"], after, train=False, key=None)
    ahead = batch["discount"] if "discount" in batch else discount * ~batch["terminated"]
    return batch["reward"] + ahead * bootstrap(online, lagging)


def transition(environment: Environment) -> dict[str, Any]:
    """A transition of zeros, as a replay wants to see one."""
    seen, action = environment.observation_space, environment.action_space
    return {
        "observation": jnp.zeros(seen.shape, seen.dtype),
        "action": jnp.zeros(action.shape, action.dtype),
        "reward": jnp.zeros((), jnp.float32),
        "terminated": jnp.zeros((), bool),
        "truncated": jnp.zeros((), bool),
        "next_observation": jnp.zeros(seen.shape, seen.dtype),
    }


def check_settings(environment: Any, counts: Mapping[str, Any], discount: Any, epsilon: Any) -> None:
    """Refuse an environment without discrete actions, counts below 1, and γ or ε out of their range.

    Raises:
        TypeError: An argument is none of its kind, or the actions are not discrete.
        ValueError: A number is out of its range.
    """
    check_environment(environment)
    for name, count in counts.items():
        check_count(name, count)
    check_number("discount", discount, most=1)
    if not callable(epsilon):
        check_number("epsilon", epsilon, most=1)
    if not isinstance(environment.action_space, Discrete):
        raise TypeError("environment: expected discrete actions; for real numbers there is stepax.rl.ppo")


def check_values(environment: Environment, model: Model, params: Tree, variables: Tree, first: Array) -> None:
    """Refuse a model that gives no value for each action.

    Raises:
        ValueError: It gives something else for the observation ``first``, ``[1, …]``.
    """
    given = jax.eval_shape(lambda *of: model.apply(*of, train=False, key=None)[0], params, variables, first)
    space: Any = environment.action_space
    shape, count = getattr(given, "shape", None), space.n
    if shape != (1, count):
        got = type(given).__name__ if shape is None else f"the shape {shape}"
        raise ValueError(f"model: expected values [batch, {count}], one for each action, got {got}")
