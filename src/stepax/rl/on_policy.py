"""What methods share that learn from rollouts of the policy that they improve."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from stepax.checks import check_count
from stepax.gradient import gradient
from stepax.learner import Learner, State, new_state, step_key
from stepax.model import Model, as_model
from stepax.rl.distributions import Categorical, Normal
from stepax.rl.environment import Environment, check_environment
from stepax.rl.estimators import check_number, gae
from stepax.rl.normalization import earned, scaled_rewards, seen
from stepax.rl.rollout import acting, begin, episodes, gathered, progress, rollout
from stepax.rl.spaces import Discrete
from stepax.typing import Array, Gradient, Key, Metrics, Objective, Tree

__all__ = ["Improve", "Rollouts", "check_policy", "checked", "on_policy", "policy_gradient"]

# ``(state, examples, key, gradient) -> (state, metrics)``: better parameters by the steps of a rollout, in a row.
Improve = Callable[[State, dict[str, Any], Key, Gradient], tuple[State, Metrics]]


class Rollouts(NamedTuple):
    """How steps are gathered and judged.

    Attributes:
        lanes: How many environments run side by side.
        length: Steps of each in a rollout.
        discount: γ, from 0 to 1.
        trace: λ of the generalized advantage estimation, from 0 to 1.
        normalize_rewards: Whether rewards are divided by the standard deviation of the discounted sums so far.
        evaluation_episodes: How many episodes ``evaluate`` runs, each with the likeliest actions.
        evaluation_steps: Where it stops those that have no end.
    """

    lanes: int
    length: int
    discount: Any
    trace: Any
    normalize_rewards: bool
    evaluation_episodes: int
    evaluation_steps: int


def checked(rollouts: Rollouts, **weights: Any) -> Rollouts:
    """The same, once every number was found to be in its range; ``weights`` are numbers of at least 0.

    Raises:
        TypeError: One is no number, or no whole one.
        ValueError: One is out of its range.
    """
    for name in ("lanes", "length", "evaluation_episodes", "evaluation_steps"):
        check_count(name, getattr(rollouts, name))
    for name in ("discount", "trace"):
        check_number(name, getattr(rollouts, name), most=1)
    for name, weight in weights.items():
        check_number(name, weight)
    return rollouts


def policy_gradient(model: Model, value_weight: Any, entropy_weight: Any) -> Objective:
    r"""The objective :math:`-\log \pi(a | s) A + c_v (v(s) - G)^2 - c_e H(\pi(\cdot | s))` of every step.

    Its batches have ``observation``, ``action``, ``advantage`` A and ``target`` G; it tells its three parts.
    """

    def objective(params: Tree, variables: Tree, batch: Any, key: Key | None) -> tuple[Array, tuple[Tree, Metrics]]:
        (policy, value), variables = model.apply(params, variables, batch["observation"], train=True, key=key)
        parts = {
            "policy_loss": -policy.log_probability(batch["action"]) * batch["advantage"],
            "value_loss": (value - batch["target"]) ** 2,
            "entropy": policy.entropy(),
        }
        loss = parts["policy_loss"] + value_weight * parts["value_loss"] - entropy_weight * parts["entropy"]
        return loss, (variables, parts)

    return objective


def on_policy(
    environment: Environment, model: Any, optimizer: optax.GradientTransformation, rollouts: Rollouts, improve: Improve
) -> Learner:
    """A learner whose step is a rollout in all lanes, and what a method makes of it.

    Args:
        environment: Where to act.
        model: From observations to a distribution of actions and values.
        optimizer: An Optax optimizer.
        rollouts: How steps are gathered and judged.
        improve: The method. It gets ``observation``, ``action``, ``value`` and ``log_probability`` of every step as
            they were, its ``advantage``, and the ``target`` of its value, each ``[length · lanes, …]``.

    Returns:
        The learner. Its batches are ``None``, or trajectories that its policy has made elsewhere.

    Raises:
        TypeError: The environment or the model are none. When first traced, the model gives no pair of a distribution
            and values.
        ValueError: The parts of the environment do not fit together; when first traced, the model's distributions do
            not fit its actions.
    """
    check_environment(environment)
    model, space = as_model(model), environment.observation_space
    first = jnp.zeros((1, *space.shape), space.dtype)

    def init(key: Key, batch: Any = None) -> State:
        params_key, lanes_key, steps_key = jax.random.split(key, 3)
        params, variables = model.init(params_key, first)
        check_policy(environment, model, params, variables, first)
        extra: dict[str, Any] = {"lanes": begin(environment, rollouts.lanes, lanes_key)}
        if rollouts.normalize_rewards:
            extra["rewards"] = earned(rollouts.lanes)
        return new_state(steps_key, params, variables, optimizer.init(params), extra)

    def step(state: State, batch: Any = None, gradient: Gradient = gradient) -> tuple[State, Metrics]:
        rollout_key, key = jax.random.split(step_key(state))
        lanes, length = state.extra["lanes"], rollouts.length
        if batch is None:
            policy = acting(model, state.params, state.variables)
            lanes, made = rollout(environment, policy, lanes, rollout_key, length)
        else:
            lanes, made = gathered(environment, lanes, batch, length)
            made = {**made, **_judged(model, state, made)}
        extra, rewards = {**state.extra, "lanes": lanes}, made["reward"]
        if rollouts.normalize_rewards:
            extra["rewards"], rewards = scaled_rewards(state.extra["rewards"], made, rollouts.discount)
        better, metrics = improve(state, _examples(model, state, made, rewards, rollouts), key, gradient)
        variables = seen(better.variables, made["observation"])
        return better._replace(variables=variables, extra=extra, step=state.step + 1), {**metrics, **progress(lanes)}

    def evaluate(state: State, batch: Any, key: Key) -> Metrics:
        policy = acting(model, state.params, state.variables, likeliest=True)
        return episodes(environment, policy, key, rollouts.evaluation_episodes, rollouts.evaluation_steps)

    def predict(state: State, x: Any) -> Any:
        return model.apply(state.params, state.variables, x, train=False, key=None)[0]

    return Learner(init, step, evaluate, predict)


def _judged(model: Model, state: State, made: Any) -> dict[str, Any]:
    """The values of observations and the probabilities of actions, as the policy would have told them."""
    observation, action = (made[name].reshape(-1, *made[name].shape[2:]) for name in ("observation", "action"))
    (policy, value), _ = model.apply(state.params, state.variables, observation, train=False, key=None)
    told = {"value": value, "log_probability": policy.log_probability(action)}
    return {name: leaf.reshape(made["reward"].shape) for name, leaf in told.items()}


def _examples(model: Model, state: State, made: Any, rewards: Array, rollouts: Rollouts) -> dict[str, Any]:
    """All steps of a rollout in a row."""
    after, values = made["next_observation"], made["value"]
    after = after.reshape(-1, *after.shape[2:])
    (_, next_values), _ = model.apply(state.params, state.variables, after, train=False, key=None)
    next_values = next_values.reshape(values.shape)
    ends, rates = (made["terminated"], made["truncated"]), {"discount": rollouts.discount, "trace": rollouts.trace}
    advantages = gae(rewards, values, next_values, *ends, **rates)
    kept = {name: made[name] for name in ("observation", "action", "log_probability", "value")}
    examples = {**kept, "advantage": advantages, "target": advantages + values}
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), examples)


def check_policy(environment: Environment, model: Model, params: Tree, variables: Tree, first: Array) -> None:
    """Refuse an actor–critic whose actions are none of the environment's; traces it, and runs nothing.

    Raises:
        TypeError: It gives no pair of a distribution and values.
        ValueError: The distribution is none over these actions.
    """
    given = jax.eval_shape(lambda *of: model.apply(*of, train=False, key=None)[0], params, variables, first)
    if type(given) is not tuple or len(given) != 2 or not isinstance(given[0], Categorical | Normal):
        raise TypeError(f"model: expected a distribution of actions and values, got {type(given).__name__}")
    policy: Any
    policy, space = given[0], environment.action_space
    takes = f"one of {space.n}" if isinstance(space, Discrete) else f"numbers of shape {space.shape}"
    if isinstance(policy, Categorical) != isinstance(space, Discrete):
        gives = "chooses among actions" if isinstance(policy, Categorical) else "gives real numbers"
        raise ValueError(f"model: its policy {gives}, and the environment takes {takes}")
    if isinstance(space, Discrete) and policy.logits.shape[1:] != (space.n,):
        raise ValueError(
            f"model: its policy chooses among {policy.logits.shape[-1]} actions, and the environment has {space.n}"
        )
    if isinstance(policy, Normal) and policy.mean.shape[1:] != space.shape:
        raise ValueError(
            f"model: its policy gives numbers of shape {policy.mean.shape[1:]}, and the environment takes {takes}"
        )
