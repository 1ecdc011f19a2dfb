"""Proximal policy optimization: several epochs on each rollout, by a surrogate that gains nothing far from it.

Reference:
    Schulman, Wolski, Dhariwal, Radford and Klimov, Proximal policy optimization algorithms, 2017, arXiv:1707.06347.
    Huang et al., The 37 implementation details of proximal policy optimization, ICLR Blog Track 2022.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from stepax.checks import check_count
from stepax.gradient import update
from stepax.learner import Learner, State
from stepax.model import as_model
from stepax.rl.distributions import Distribution
from stepax.rl.environment import Environment
from stepax.rl.estimators import check_number
from stepax.rl.on_policy import Rollouts, checked, on_policy
from stepax.typing import Array, Gradient, Key, Metrics, Objective, Tree

__all__ = ["ppo"]

EPSILON = 1e-8


def ppo(
    environment: Environment,
    model: Any,
    optimizer: optax.GradientTransformation,
    *,
    lanes: int = 8,
    length: int = 128,
    epochs: int = 10,
    minibatches: int = 4,
    discount: Any = 0.99,
    trace: Any = 0.95,
    clip: Any = 0.2,
    value_clip: Any = None,
    value_weight: Any = 0.5,
    entropy_weight: Any = 0.0,
    normalize_rewards: bool = False,
    evaluation_episodes: int = 32,
    evaluation_steps: int = 1000,
) -> Learner:
    """Learns to act by proximal policy optimization; one step is a rollout in all lanes, and the epochs on it.

    Args:
        environment: Where to act; its time limit included.
        model: From observations ``[batch, …]`` to a distribution of actions and values ``[batch]``, such as
            :class:`stepax.rl.ActorCritic`; in :func:`stepax.rl.normalized`, it sees observations of mean 0 and variance
            1 by all that was seen before the rollout.
        optimizer: An Optax optimizer. It makes ``epochs · minibatches`` updates a step, by which its schedules count.
        lanes: How many environments run side by side.
        length: Steps of each in a rollout.
        epochs: How often each rollout is gone through.
        minibatches: Parts of an epoch, of equal size; they divide ``lanes · length``.
        discount: γ, from 0 to 1.
        trace: λ of the generalized advantage estimation, from 0 to 1.
        clip: How far the probability of an action may move before nothing more is gained: the ratio stays within
            ``1 ± clip``. A number, or a function of the step's number, such as an Optax schedule.
        value_clip: The same of values, in their own unit; ``None``: values move freely.
        value_weight: The weight of the values' squared errors.
        entropy_weight: The weight of the entropy, which keeps a policy from deciding too early.
        normalize_rewards: Whether rewards are divided by the standard deviation of the discounted sums so far.
        evaluation_episodes: How many episodes ``evaluate`` runs, each with the likeliest actions.
        evaluation_steps: Where it stops those that have no end.

    Returns:
        The learner. Its batches are ``None``: ``fit(learner, stepax.generated(n), …)`` makes ``n`` rollouts an epoch.
        Or a batch is a trajectory that its policy has made elsewhere (:func:`stepax.rl.host.training`): a dict of
        ``observation``, ``action``, ``reward``, ``terminated``, ``truncated`` and ``next_observation``, each ``[length,
        lanes, …]``; then the step makes no rollout.
        Metrics of a step: means over its updates of ``loss``, ``policy_loss``, ``value_loss``, ``entropy``,
        ``divergence`` (an estimate of the KL divergence from the policy before, in nats) and ``clipped`` (the fraction
        of ratios beyond the bounds); ``return`` and ``length``, means over lanes of the last episode that has ended.
        ``predict`` maps observations to distributions and values.

    Raises:
        TypeError: An argument is none of its kind.
        ValueError: A number is out of its range, or ``minibatches`` do not divide ``lanes · length``. When first
            traced, the model's distributions do not fit the space of actions.
    """
    rollouts = Rollouts(lanes, length, discount, trace, normalize_rewards, evaluation_episodes, evaluation_steps)
    checked(rollouts, value_weight=value_weight, entropy_weight=entropy_weight)
    check_count("epochs", epochs)
    check_count("minibatches", minibatches)
    if lanes * length % minibatches:
        raise ValueError(f"minibatches: {minibatches} do not divide a rollout of {lanes} · {length} steps")
    for name, number in {"clip": clip, "value_clip": value_clip}.items():
        if number is not None and not callable(number):
            check_number(name, number)
    model = as_model(model)

    def objective(number: Array) -> Objective:
        def values(params: Tree, variables: Tree, batch: Any, key: Key | None) -> tuple[Array, tuple[Tree, Metrics]]:
            (policy, value), variables = model.apply(params, variables, batch["observation"], train=True, key=key)
            parts = _losses(policy, value, batch, _at(clip, number), _at(value_clip, number))
            loss = parts["policy_loss"] + value_weight * parts["value_loss"] - entropy_weight * parts["entropy"]
            return loss, (variables, parts)

        return values

    def improve(state: State, examples: dict[str, Any], key: Key, gradient: Gradient) -> tuple[State, Metrics]:
        def one(state: State, turn: tuple[Array | None, Key]) -> tuple[State, Metrics]:
            rows, key = turn
            batch = _minibatch(examples, rows)
            grads, variables, told = gradient(objective(state.step), state.params, state.variables, batch, key)
            params, opt_state, rate = update(optimizer, grads, state.opt_state, state.params)
            return state._replace(params=params, variables=variables, opt_state=opt_state), {**told, **rate}

        order_key, noise_key = jax.random.split(key)
        # A sum over all has no order.
        rows = None if minibatches == 1 else _parts(order_key, lanes * length, epochs, minibatches)
        state, metrics = lax.scan(one, state, (rows, jax.random.split(noise_key, epochs * minibatches)))
        return state, jax.tree.map(lambda values: values.mean(0), metrics)

    return on_policy(environment, model, optimizer, rollouts, improve)


def _at(number: Any, step: Array) -> Any:
    """A number, or what a schedule has at a step."""
    return number(step) if callable(number) else number


def _parts(key: Key, count: int, epochs: int, minibatches: int) -> Array:
    """The rows of every minibatch, ``[epochs · minibatches, size]``; each epoch has an order of its own."""
    orders = jax.vmap(lambda one: jax.random.permutation(one, count))(jax.random.split(key, epochs))
    return orders.reshape(epochs * minibatches, -1)


def _minibatch(examples: Any, rows: Array | None) -> Any:
    """These rows, or all, with advantages of mean 0 and variance 1."""
    batch = examples if rows is None else jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0), examples)
    advantage = batch["advantage"] - batch["advantage"].mean()
    return {**batch, "advantage": advantage / (jnp.sqrt(jnp.mean(advantage**2)) + EPSILON)}


def _losses(policy: Distribution, value: Array, batch: Any, clip: Any, value_clip: Any) -> Metrics:
    """What is made small and what is told, one value for each step ``[batch]``."""
    change = policy.log_probability(batch["action"]) - batch["log_probability"]
    ratio, advantage = jnp.exp(change), batch["advantage"]
    surrogate = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage)
    error = (value - batch["target"]) ** 2
    if value_clip is not None:
        near = batch["value"] + jnp.clip(value - batch["value"], -value_clip, value_clip)
        error = jnp.maximum(error, (near - batch["target"]) ** 2)
    return {
        "policy_loss": -surrogate,
        "value_loss": error,
        "entropy": policy.entropy(),
        # Schulman, Approximating KL divergence, 2020: never negative, and right in the mean.
        "divergence": lax.stop_gradient(ratio - 1 - change),
        "clipped": (jnp.abs(ratio - 1) > clip).astype(jnp.float32),
    }
