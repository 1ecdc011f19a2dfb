"""Advantage actor–critic: one update by every rollout, of the policy by advantages and of the values by returns.

Reference:
    Mnih et al., Asynchronous methods for deep reinforcement learning, ICML 2016, without the asynchrony.
"""

from typing import Any

import optax

from stepax.gradient import update
from stepax.learner import Learner, State
from stepax.model import as_model
from stepax.rl.environment import Environment
from stepax.rl.on_policy import Rollouts, checked, on_policy, policy_gradient
from stepax.typing import Gradient, Key, Metrics

__all__ = ["a2c"]


def a2c(
    environment: Environment,
    model: Any,
    optimizer: optax.GradientTransformation,
    *,
    lanes: int = 8,
    length: int = 5,
    discount: Any = 0.99,
    trace: Any = 1.0,
    value_weight: Any = 0.5,
    entropy_weight: Any = 0.0,
    normalize_rewards: bool = False,
    evaluation_episodes: int = 32,
    evaluation_steps: int = 1000,
) -> Learner:
    """Learns to act by an actor and a critic; one step is a short rollout in all lanes, and one update.

    Args:
        environment: As in :func:`stepax.rl.ppo`, and so are all arguments of the same name.
        model: As in ``ppo``.
        optimizer: An Optax optimizer, which makes one update a step.
        lanes: How many environments run side by side.
        length: Steps of each in a rollout.
        discount: γ, from 0 to 1.
        trace: λ of the generalized advantage estimation, from 0 to 1; with 1 advantages are returns less values.
        value_weight: The weight of the values' squared errors.
        entropy_weight: The weight of the entropy.
        normalize_rewards: Whether rewards are divided by the standard deviation of the discounted sums so far.
        evaluation_episodes: How many episodes ``evaluate`` runs, each with the likeliest actions.
        evaluation_steps: Where it stops those that have no end.

    Returns:
        The learner. Its batches are as in ``ppo``. Metrics of a step: ``loss``, ``policy_loss``, ``value_loss`` and
        ``entropy``; ``return`` and ``length``, means over lanes of the last episode that has ended. ``predict`` maps
        observations to distributions and values.

    Raises:
        TypeError: An argument is none of its kind.
        ValueError: A number is out of its range. When first traced, the model's distributions do not fit the space of
            actions.
    """
    rollouts = Rollouts(lanes, length, discount, trace, normalize_rewards, evaluation_episodes, evaluation_steps)
    checked(rollouts, value_weight=value_weight, entropy_weight=entropy_weight)
    objective = policy_gradient(as_model(model), value_weight, entropy_weight)

    def improve(state: State, examples: dict[str, Any], key: Key, gradient: Gradient) -> tuple[State, Metrics]:
        grads, variables, told = gradient(objective, state.params, state.variables, examples, key)
        params, opt_state, rate = update(optimizer, grads, state.opt_state, state.params)
        return state._replace(params=params, variables=variables, opt_state=opt_state), {**told, **rate}

    return on_policy(environment, model, optimizer, rollouts, improve)
