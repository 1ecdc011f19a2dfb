"""REINFORCE with a baseline: actions become likelier by how much more they brought than was expected.

Reference:
    Williams, Simple statistical gradient-following algorithms for connectionist reinforcement learning, Machine
    Learning 8, 1992.
    Sutton and Barto, Reinforcement learning: an introduction, 2018, section 13.4.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from stepax.checks import check_count
from stepax.gradient import gradient, update
from stepax.learner import Learner, State, new_state, step_key
from stepax.model import Model, as_model
from stepax.rl.environment import Environment, check_environment
from stepax.rl.estimators import check_number, returns
from stepax.rl.normalization import seen
from stepax.rl.on_policy import check_policy, policy_gradient
from stepax.rl.rollout import acting, check_no_batch, episodes, whole_episodes
from stepax.typing import Gradient, Key, Metrics

__all__ = ["reinforce"]


def reinforce(
    environment: Environment,
    model: Any,
    optimizer: optax.GradientTransformation,
    *,
    lanes: int = 8,
    length: int = 500,
    discount: Any = 0.99,
    value_weight: Any = 0.5,
    entropy_weight: Any = 0.0,
    evaluation_episodes: int = 32,
    evaluation_steps: int = 1000,
) -> Learner:
    r"""Learns to act by whole episodes: :math:`\nabla \log \pi(a_t | s_t) (G_t - v(s_t))`, with a baseline ``v``.

    Args:
        environment: As in :func:`stepax.rl.ppo`.
        model: As in ``ppo``.
        optimizer: An Optax optimizer, which makes one update a step.
        lanes: Episodes a step.
        length: Where an episode is left that has not ended; the baseline stands for the rest, as after a truncation.
        discount: γ, from 0 to 1.
        value_weight: The weight of the baseline's squared errors.
        entropy_weight: The weight of the entropy.
        evaluation_episodes: How many episodes ``evaluate`` runs, each with the likeliest actions.
        evaluation_steps: Where it stops those that have no end.

    Returns:
        The learner. Its batches are ``None``. Metrics of a step: ``loss``, ``policy_loss``, ``value_loss``,
        ``entropy``; ``return`` and ``length`` of its episodes, means over lanes; ``weight``, how many steps they had.

    Raises:
        TypeError: An argument is none of its kind.
        ValueError: A number is out of its range. When first traced, the model's distributions do not fit the space of
            actions.
    """
    check_environment(environment)
    counts = {"lanes": lanes, "length": length, "evaluation_episodes": evaluation_episodes}
    for name, count in {**counts, "evaluation_steps": evaluation_steps}.items():
        check_count(name, count)
    check_number("discount", discount, most=1)
    for name, weight in {"value_weight": value_weight, "entropy_weight": entropy_weight}.items():
        check_number(name, weight)
    model, space = as_model(model), environment.observation_space
    first = jnp.zeros((1, *space.shape), space.dtype)
    objective = policy_gradient(model, value_weight, entropy_weight)

    def init(key: Key, batch: Any = None) -> State:
        params_key, steps_key = jax.random.split(key)
        params, variables = model.init(params_key, first)
        check_policy(environment, model, params, variables, first)
        return new_state(steps_key, params, variables, optimizer.init(params))

    def step(state: State, batch: Any = None, gradient: Gradient = gradient) -> tuple[State, Metrics]:
        check_no_batch(batch)
        episodes_key, key = jax.random.split(step_key(state))
        policy = acting(model, state.params, state.variables)
        made = whole_episodes(environment, policy, episodes_key, lanes, length)
        examples = _examples(model, state, made, discount)
        grads, variables, told = gradient(objective, state.params, state.variables, examples, key)
        params, opt_state, rate = update(optimizer, grads, state.opt_state, state.params)
        sums = {"return": (made["reward"] * made["weight"]).sum(0).mean(), "length": made["weight"].sum(0).mean()}
        variables = seen(variables, made["observation"], made["weight"])
        state = state._replace(params=params, variables=variables, opt_state=opt_state, step=state.step + 1)
        return state, {**told, **rate, **sums}

    def evaluate(state: State, batch: Any, key: Key) -> Metrics:
        policy = acting(model, state.params, state.variables, likeliest=True)
        return episodes(environment, policy, key, evaluation_episodes, evaluation_steps)

    def predict(state: State, x: Any) -> Any:
        return model.apply(state.params, state.variables, x, train=False, key=None)[0]

    return Learner(init, step, evaluate, predict)


def _examples(model: Model, state: State, made: Any, discount: Any) -> dict[str, Any]:
    """All steps of all episodes in a row; what comes after an end weighs nothing."""
    values, after = made["value"], made["next_observation"]
    after = after.reshape(-1, *after.shape[2:])
    (_, next_values), _ = model.apply(state.params, state.variables, after, train=False, key=None)
    ends = made["terminated"], made["truncated"]
    sums = returns(made["reward"], next_values.reshape(values.shape), *ends, discount=discount)
    kept = {name: made[name] for name in ("observation", "action", "weight")}
    examples = {**kept, "advantage": sums - values, "target": sums}
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), examples)
