"""Deep Q-learning: action values by one-step (or longer) predictions from a replay, against a network that lags behind.

The four parts that it is usually made of are objects of their own: a replay (:func:`stepax.rl.prioritised`, in
:func:`stepax.rl.n_step`), what the next observation is worth (:func:`maximum` or :func:`double`), how the second
network follows (:func:`periodic` or :func:`gradual`), and the network (:class:`stepax.rl.Dueling` or another).

Reference:
    Mnih et al., Human-level control through deep reinforcement learning, Nature 518, 2015.
    Van Hasselt, Guez and Silver, Deep reinforcement learning with double Q-learning, AAAI 2016.
    Hessel et al., Rainbow: combining improvements in deep reinforcement learning, AAAI 2018.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from stepax.checks import check_count, check_function
from stepax.gradient import gradient, update
from stepax.keys import pairs
from stepax.learner import Learner, State, new_state, step_key
from stepax.model import Model, as_model
from stepax.rl.deep_q import check_settings, check_values, exploring, taken, targets, transition
from stepax.rl.environment import Environment
from stepax.rl.estimators import check_number
from stepax.rl.normalization import same_eyes, seen
from stepax.rl.replay import Replay, check_replay, uniform
from stepax.rl.rollout import begin, episodes, gathered, progress, rollout
from stepax.typing import Array, Gradient, Key, Metrics, Tree

__all__ = ["double", "dqn", "gradual", "maximum", "periodic"]


def dqn(
    environment: Environment,
    model: Any,
    optimizer: optax.GradientTransformation,
    *,
    replay: Replay | None = None,
    bootstrap: Callable[[Array, Array], Array] | None = None,
    follow: Callable[[Tree, Tree, Array], Tree] | None = None,
    epsilon: Any = 0.05,
    lanes: int = 1,
    length: int = 4,
    updates: int = 1,
    batch_size: int = 64,
    warmup: int = 250,
    discount: Any = 0.99,
    loss: Callable[[Array], Array] = optax.losses.squared_error,
    evaluation_episodes: int = 32,
    evaluation_steps: int = 1000,
) -> Learner:
    """Learns action values; one step is some steps of the environment in all lanes, and some updates from the replay.

    Args:
        environment: Where to act; its actions are discrete.
        model: From observations ``[batch, …]`` to action values ``[batch, actions]``; in :func:`stepax.rl.normalized`,
            it sees observations of mean 0 and variance 1 by all that was seen.
        optimizer: An Optax optimizer, which makes ``updates`` updates a step.
        replay: What is learnt from, 50,000 transitions unless given. One that is prioritised is told errors.
        bootstrap: What the next observation is worth: ``(its action values by the network, by the one that lags) ->
            [batch]``; :func:`double` unless given.
        follow: How the second network follows: ``(params, its params, number of updates) -> its params``;
            ``periodic(500)`` unless given.
        epsilon: ε, the probability of an action that is drawn uniformly: a number, or a function of the step's
            number, such as an Optax schedule.
        lanes: How many environments run side by side.
        length: Steps of each between updates.
        updates: How many batches are learnt from then.
        batch_size: Transitions a batch.
        warmup: Steps of this learner before the first update. A replay over several steps has its first entries later,
            and an update with none changes nothing.
        discount: γ, from 0 to 1. A replay over several steps knows its own.
        loss: From errors ``[batch]`` to what is made small.
        evaluation_episodes: How many episodes ``evaluate`` runs, each with the best actions.
        evaluation_steps: Where it stops those that have no end.

    Returns:
        The learner. Its batches are ``None``, or trajectories that were made elsewhere, as in :func:`stepax.rl.ppo`.
        Metrics of a step: means over its updates of ``loss``, ``error`` (its absolute value) and ``value`` (of the
        actions taken), zeros before the first; ``return`` and ``length``, means over lanes of the last episode that has
        ended. ``predict`` maps observations to action values.

    Raises:
        TypeError: An argument is none of its kind, or the actions are not discrete.
        ValueError: A number is out of its range; when first traced, the model does not fit the actions, or there are
            fewer transitions after the warmup than a batch has.
    """
    counts = {"lanes": lanes, "length": length, "updates": updates, "batch_size": batch_size}
    ends = {"evaluation_episodes": evaluation_episodes, "evaluation_steps": evaluation_steps}
    _check(environment, {**counts, **ends}, warmup, discount, epsilon)
    replay = uniform(50_000) if replay is None else replay
    check_replay(replay)
    bootstrap, follow = bootstrap or double, follow or periodic(500)
    for name, function in {"bootstrap": bootstrap, "follow": follow, "loss": loss}.items():
        check_function(name, function)
    model, space = as_model(model), environment.observation_space
    first = jnp.zeros((1, *space.shape), space.dtype)

    def init(key: Key, batch: Any = None) -> State:
        params_key, lanes_key, steps_key = jax.random.split(key, 3)
        params, variables = model.init(params_key, first)
        check_values(environment, model, params, variables, first)
        begun = begin(environment, lanes, lanes_key)
        extra = {"lanes": begun, "replay": replay.init(transition(environment)), "target": (params, variables)}
        # A copy: a donated state may hold an array once.
        extra["target"] = jax.tree.map(jnp.copy, extra["target"])
        return new_state(steps_key, params, variables, optimizer.init(params), extra)

    learnt = _learning(model, optimizer, replay, bootstrap, follow, loss, batch_size, discount)

    def step(state: State, batch: Any = None, gradient: Gradient = gradient) -> tuple[State, Metrics]:
        rollout_key, updates_key = jax.random.split(step_key(state))
        if batch is None:
            chance = epsilon(state.step) if callable(epsilon) else epsilon
            act = exploring(model, state, chance)
            stand, made = rollout(environment, act, state.extra["lanes"], rollout_key, length)
        else:
            stand, made = gathered(environment, state.extra["lanes"], batch, length)
        buffer, _ = lax.scan(lambda buffer, one: (replay.insert(buffer, one), None), state.extra["replay"], made)
        variables = seen(state.variables, made["observation"])
        # The lagging network is the other one as it was, eyes included; before it was anything, they are the same.
        params, others = state.extra["target"]
        begun = partial(jnp.where, state.step > warmup)
        others = jax.tree.map(begun, others, same_eyes(variables, others))
        own = {"lanes": stand, "replay": buffer, "target": (params, others)}
        state = state._replace(variables=variables, extra={**state.extra, **own})

        def learn(state: State) -> tuple[State, Metrics]:
            turns = jnp.arange(updates)
            count = (state.step - warmup) * updates + turns + 1
            keys = pairs(updates_key, updates)
            return lax.scan(lambda state, turn: learnt(state, *turn, gradient), state, (keys, count))

        def wait(state: State) -> tuple[State, Metrics]:
            told = jax.eval_shape(learn, state)[1]
            return state, jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), told)

        state, told = lax.cond(state.step >= warmup, learn, wait, state)
        metrics = {**jax.tree.map(lambda values: values.mean(0), told), **progress(stand)}
        return state._replace(step=state.step + 1), metrics

    def evaluate(state: State, batch: Any, key: Key) -> Metrics:
        return episodes(environment, exploring(model, state, 0.0), key, evaluation_episodes, evaluation_steps)

    def predict(state: State, x: Any) -> Any:
        return model.apply(state.params, state.variables, x, train=False, key=None)[0]

    return Learner(init, step, evaluate, predict)


def maximum(online: Array, lagging: Array) -> Array:
    """The greatest action value by the network that lags behind, ``[batch]``: as in 2015, and too high in the mean."""
    return lagging.max(-1)


def double(online: Array, lagging: Array) -> Array:
    """The value by the one network of the action that is the other's best, ``[batch]``."""
    return taken(lagging, online.argmax(-1))


def periodic(period: int) -> Callable[[Tree, Tree, Array], Tree]:
    """The second network becomes equal to the first every so many updates.

    Raises:
        TypeError: ``period`` is no whole number.
        ValueError: It is below 1.
    """
    check_count("period", period)
    return lambda params, lagging, count: jax.tree.map(
        lambda new, old: jnp.where(count % period == 0, new, old), params, lagging
    )


def gradual(rate: Any) -> Callable[[Tree, Tree, Array], Tree]:
    """The second network moves by a fraction of the distance with every update.

    Raises:
        TypeError: ``rate`` is no number.
        ValueError: It is not in [0, 1].
    """
    check_number("rate", rate, most=1)
    return lambda params, lagging, count: jax.tree.map(
        lambda new, old: (old + rate * (new - old)).astype(old.dtype), params, lagging
    )


def _check(environment: Environment, counts: dict[str, int], warmup: int, discount: Any, epsilon: Any) -> None:
    check_settings(environment, counts, discount, epsilon)
    check_count("warmup", warmup, 0)
    made, batch_size = counts["lanes"] * counts["length"], counts["batch_size"]
    if (warmup + 1) * made < batch_size:
        raise ValueError(
            f"warmup: {warmup} steps of {counts['lanes']} · {counts['length']} transitions, and those of the next "
            f"step, are fewer than a batch of {batch_size}; expected at least {-(-batch_size // made) - 1}"
        )


def _learning(
    model: Model,
    optimizer: optax.GradientTransformation,
    replay: Replay,
    bootstrap: Callable[[Array, Array], Array],
    follow: Callable[[Tree, Tree, Array], Tree],
    loss: Callable[[Array], Array],
    batch_size: int,
    discount: Any,
) -> Callable[[State, Key, Array, Gradient], tuple[State, Metrics]]:
    """An update by a batch from the replay: ``(state, two keys, its number, gradient) -> (state, metrics)``."""

    def objective(params: Tree, variables: Tree, batch: Any, key: Key | None) -> tuple[Array, tuple[Tree, Metrics]]:
        values, variables = model.apply(params, variables, batch["observation"], train=True, key=key)
        values = taken(values, batch["action"])
        error = batch["target"] - values
        return loss(error), (variables, {"error": jnp.abs(error), "value": values})

    def learnt(state: State, keys: Key, count: Array, gradient: Gradient) -> tuple[State, Metrics]:
        drawn = replay.sample(state.extra["replay"], keys[0], batch_size)
        batch = {**drawn.batch, "weight": drawn.weight}
        batch["target"] = targets(model, bootstrap, state, batch, discount)
        # By the parameters before the update, as the gradient sees them: XLA computes this once, or, where no priority
        # depends on it, not at all.
        before = model.apply(state.params, state.variables, batch["observation"], train=False, key=None)[0]
        errors = batch["target"] - taken(before, batch["action"])
        grads, variables, told = gradient(objective, state.params, state.variables, batch, keys[1])
        params, opt_state, rate = update(optimizer, grads, state.opt_state, state.params)
        extra = {
            **state.extra,
            "replay": replay.update(state.extra["replay"], drawn.indices, errors),
            "target": follow((params, variables), state.extra["target"], count),
        }
        state = state._replace(params=params, variables=variables, opt_state=opt_state, extra=extra)
        return state, {**told, **rate}

    return learnt
