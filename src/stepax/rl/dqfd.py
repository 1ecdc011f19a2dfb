r"""Deep Q-learning from demonstrations: what somebody has shown is learnt first, and never forgotten.

Demonstrations lie in the replay for ever. Four losses are added up, of which one is for them alone: the value of a
demonstrated action is to be greater than all others by a margin,

.. math:: J = J_{DQ} + \lambda_1 J_n + \lambda_2 J_E + \lambda_3 \lVert \theta \rVert^2, \quad
    J_E(s) = \max_a [Q(s, a) + \ell(a_E, a)] - Q(s, a_E)

with the errors of one step in :math:`J_{DQ}` and of ``n`` steps in :math:`J_n`.

Reference:
    Hester et al., Deep Q-learning from demonstrations, AAAI 2018, arXiv:1704.03732.
"""

from collections.abc import Callable, Mapping
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
from stepax.rl.demonstrations import check_demonstrations
from stepax.rl.dqn import double, periodic
from stepax.rl.environment import Environment
from stepax.rl.estimators import check_number
from stepax.rl.normalization import seen
from stepax.rl.prioritised import prioritised
from stepax.rl.replay import Replay, check_replay, n_step
from stepax.rl.rollout import Lanes, begin, episodes, gathered, progress, rollout
from stepax.typing import Array, Gradient, Key, Metrics, Tree

__all__ = ["dqfd", "large_margin"]

# The paper's α and β. What is added to errors comes from here.
PRIORITIES = partial(prioritised, exponent=0.4, correction=0.6, offset=0.0)

# ``(values [batch, actions], batch) -> values [batch], metrics``.
Losses = Callable[[Array, Any], tuple[Array, Metrics]]


def dqfd(
    environment: Environment,
    model: Any,
    optimizer: optax.GradientTransformation,
    demonstrations: Any,
    *,
    pretraining: int = 1000,
    capacity: int = 50_000,
    replay: Callable[..., Replay] | None = None,
    steps: int = 10,
    several: Any = 1.0,
    imitation: Any = 1.0,
    margin: Any = 0.8,
    decay: Any = 1e-5,
    bonus: tuple[Any, Any] = (1.0, 0.001),
    bootstrap: Callable[[Array, Array], Array] = double,
    follow: Callable[[Tree, Tree, Array], Tree] | None = None,
    epsilon: Any = 0.01,
    lanes: int = 1,
    length: int = 4,
    updates: int = 1,
    batch_size: int = 64,
    discount: Any = 0.99,
    loss: Callable[[Array], Array] = optax.losses.squared_error,
    evaluation_episodes: int = 32,
    evaluation_steps: int = 1000,
) -> Learner:
    """Learns action values from demonstrations, and then from them and from what it does itself.

    Args:
        environment: Where to act; its actions are discrete.
        model: From observations ``[batch, …]`` to action values ``[batch, actions]``; in :func:`stepax.rl.normalized`,
            it sees observations of mean 0 and variance 1 by all that was shown and seen.
        optimizer: An Optax optimizer, which makes ``updates`` updates a step.
        demonstrations: Whole episodes, as :func:`stepax.rl.recorded` or :func:`stepax.data.demonstrations` gives them.
        pretraining: How many steps of this learner, the first ones, do not act.
        capacity: How many own transitions are kept, beside the demonstrations.
        replay: Makes what is learnt from: ``(capacity, protected=…) -> Replay``, with the paper's α and β of priorities
            unless given. :func:`stepax.rl.uniform` is another.
        steps: n, of the errors over several steps.
        several: λ₁, the weight of their loss.
        imitation: λ₂, the weight of the margin loss.
        margin: ℓ, by how much a demonstrated action is to be better than all others.
        decay: λ₃, the weight of the squares of all parameters.
        bonus: What is added to errors for the priority of a demonstration, and of an own transition.
        bootstrap: As in :func:`stepax.rl.dqn`.
        follow: How the second network follows, as in ``dqn``; ``periodic(500)`` unless given.
        epsilon: ε, the probability of an action that is drawn uniformly: a number, or a function of the step's number.
        lanes: How many environments run side by side.
        length: Steps of each between updates.
        updates: How many batches are learnt from then.
        batch_size: Transitions a batch.
        discount: γ, from 0 to 1.
        loss: From errors ``[batch]`` to what is made small.
        evaluation_episodes: How many episodes ``evaluate`` runs, each with the best actions.
        evaluation_steps: Where it stops those that have no end.

    Returns:
        The learner. Its batches are ``None``, or trajectories that were made elsewhere, as in :func:`stepax.rl.ppo`;
        these are learnt from at any step. Metrics of a step: means over its updates of ``loss``, ``error`` (of one
        step, its absolute value), ``value`` (of the actions taken), ``margin`` (the margin loss) and ``demonstrations``
        (their fraction in a batch); ``return`` and ``length``, means over lanes of the last episode that has ended, 0
        before the first step of the environment. ``predict`` maps observations to action values.

    Raises:
        TypeError: An argument is none of its kind, or the actions are not discrete.
        ValueError: A number is out of its range; the demonstrations are none in this environment; the capacity is less
            than a batch, or than ``steps`` transitions in each lane. When first traced, the model does not fit the
            actions.
    """
    counts = {"lanes": lanes, "length": length, "updates": updates, "batch_size": batch_size, "steps": steps}
    ends = {"evaluation_episodes": evaluation_episodes, "evaluation_steps": evaluation_steps}
    check_settings(environment, {**counts, **ends, "capacity": capacity}, discount, epsilon)
    weights = {"several": several, "imitation": imitation, "margin": margin, "decay": decay}
    _check(weights, bonus, pretraining, capacity, counts)
    follow, replay = follow or periodic(500), replay or PRIORITIES
    for name, function in {"bootstrap": bootstrap, "follow": follow, "loss": loss, "replay": replay}.items():
        check_function(name, function)
    shown = check_demonstrations(environment, demonstrations)
    count = len(shown["reward"])
    kept = replay(count + capacity, protected=count)
    check_replay(kept)
    entries = n_step(kept, steps, discount, lanes=lanes)
    model, space = as_model(model), environment.observation_space
    first = jnp.zeros((1, *space.shape), space.dtype)

    def init(key: Key, batch: Any = None) -> State:
        params_key, lanes_key, steps_key = jax.random.split(key, 3)
        params, variables = model.init(params_key, first)
        check_values(environment, model, params, variables, first)
        variables = seen(variables, jnp.asarray(shown["observation"]))
        buffer = entries.init(_marked(transition(environment), False))
        buffer = buffer._replace(buffer=_filled(n_step(kept, steps, discount), environment, shown))
        extra = {"lanes": begin(environment, lanes, lanes_key), "replay": buffer, "target": (params, variables)}
        # A copy: a donated state may hold an array once.
        extra["target"] = jax.tree.map(jnp.copy, extra["target"])
        return new_state(steps_key, params, variables, optimizer.init(params), extra)

    losses = _losses(loss, several, imitation, margin)
    learnt = _learning(model, optimizer, entries, bootstrap, follow, losses, decay, bonus, batch_size, discount)

    def act(state: State, key: Key) -> tuple[Lanes, Any, Array]:
        """Where the lanes stand, what they have made, and whether they have."""
        chance = epsilon(state.step) if callable(epsilon) else epsilon

        def go(lanes: Lanes) -> tuple[Lanes, Any]:
            return rollout(environment, exploring(model, state, chance), lanes, key, length)

        def stand(lanes: Lanes) -> tuple[Lanes, Any]:
            return lanes, jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), jax.eval_shape(go, lanes)[1])

        acts = state.step >= pretraining
        return *lax.cond(acts, go, stand, state.extra["lanes"]), acts

    def step(state: State, batch: Any = None, gradient: Gradient = gradient) -> tuple[State, Metrics]:
        rollout_key, updates_key = jax.random.split(step_key(state))
        if batch is None:
            stand, made, acts = act(state, rollout_key)
        else:
            stand, made = gathered(environment, state.extra["lanes"], batch, length)
            acts = jnp.ones((), bool)
        keep = jnp.broadcast_to(acts, (lanes,))
        buffer, _ = lax.scan(
            lambda buffer, one: (entries.insert(buffer, one, keep), None), state.extra["replay"], _marked(made, False)
        )
        more = seen(state.variables, made["observation"])
        variables = jax.tree.map(lambda new, old: jnp.where(acts, new, old), more, state.variables)
        state = state._replace(variables=variables, extra={**state.extra, "lanes": stand, "replay": buffer})
        turns = jnp.arange(updates)
        keys = pairs(updates_key, updates)
        number = state.step * updates + turns + 1
        state, told = lax.scan(lambda state, turn: learnt(state, *turn, gradient), state, (keys, number))
        metrics = {**jax.tree.map(lambda values: values.mean(0), told), **progress(stand)}
        return state._replace(step=state.step + 1), metrics

    def evaluate(state: State, batch: Any, key: Key) -> Metrics:
        return episodes(environment, exploring(model, state, 0.0), key, evaluation_episodes, evaluation_steps)

    def predict(state: State, x: Any) -> Any:
        return model.apply(state.params, state.variables, x, train=False, key=None)[0]

    return Learner(init, step, evaluate, predict)


def large_margin(values: Array, action: Array, margin: Any) -> Array:
    r"""How far an action is from being better than all others by a margin.

    .. math:: \max_a [Q(a) + \ell \, [a \ne a_E]] - Q(a_E)

    Args:
        values: Action values Q, ``[batch, actions]``.
        action: The one that is to be the best, ``[batch]``.
        margin: ℓ.

    Returns:
        ``[batch]``, at least 0.

    >>> large_margin(jnp.array([[1.0, 3.0], [1.0, 3.0]]), jnp.array([0, 1]), 0.5).tolist()
    [2.5, 0.0]
    """
    others = 1 - jax.nn.one_hot(action, values.shape[-1], dtype=values.dtype)
    return (values + margin * others).max(-1) - taken(values, action)


def _check(weights: Mapping[str, Any], bonus: Any, pretraining: Any, capacity: int, counts: Mapping[str, int]) -> None:
    check_count("pretraining", pretraining, 0)
    for name, weight in weights.items():
        check_number(name, weight)
    if not isinstance(bonus, tuple) or len(bonus) != 2:
        raise TypeError(f"bonus: expected two numbers, of demonstrations and of own transitions, got {bonus!r}")
    for number in bonus:
        check_number("bonus", number)
    open_, batch_size = counts["lanes"] * counts["steps"], counts["batch_size"]
    if capacity < max(open_, batch_size):
        raise ValueError(
            f"capacity: expected at least {max(open_, batch_size)} beside the demonstrations, for a batch of "
            f"{batch_size} and {counts['steps']} steps in each of {counts['lanes']} lanes, got {capacity}"
        )


def _marked(made: Mapping[str, Any], demonstrated: bool) -> dict[str, Any]:
    """Transitions that know whose they are, and keep what their own step led to beside what several did."""
    single = {name: made[name] for name in ("reward", "terminated", "next_observation")}
    return {**made, "single": single, "demonstration": jnp.full(jnp.shape(made["reward"]), demonstrated)}


def _filled(entries: Replay, environment: Environment, shown: Mapping[str, Any]) -> Any:
    """The inner buffer with all demonstrations in it."""
    rows = jax.tree.map(lambda leaf: jnp.asarray(leaf)[:, None], _marked(shown, True))
    empty = entries.init(_marked(transition(environment), True))
    return lax.scan(lambda buffer, row: (entries.insert(buffer, row), None), empty, rows)[0].buffer


def _losses(loss: Callable[[Array], Array], several: Any, imitation: Any, margin: Any) -> Losses:
    """All losses but that of the parameters."""

    def losses(values: Array, batch: Any) -> tuple[Array, Metrics]:
        of = taken(values, batch["action"])
        error, error_n = batch["single_target"] - of, batch["target"] - of
        margins = jnp.where(batch["demonstration"], large_margin(values, batch["action"], margin), 0)
        total = loss(error) + several * loss(error_n) + imitation * margins
        shown = batch["demonstration"].astype(of.dtype)
        return total, {"error": jnp.abs(error), "value": of, "margin": margins, "demonstrations": shown}

    return losses


def _learning(
    model: Model,
    optimizer: optax.GradientTransformation,
    replay: Replay,
    bootstrap: Callable[[Array, Array], Array],
    follow: Callable[[Tree, Tree, Array], Tree],
    losses: Losses,
    decay: Any,
    bonus: tuple[Any, Any],
    batch_size: int,
    discount: Any,
) -> Callable[[State, Key, Array, Gradient], tuple[State, Metrics]]:
    """An update by a batch from the replay: ``(state, two keys, its number, gradient) -> (state, metrics)``."""

    def objective(params: Tree, variables: Tree, batch: Any, key: Key | None) -> tuple[Array, tuple[Tree, Metrics]]:
        values, variables = model.apply(params, variables, batch["observation"], train=True, key=key)
        total, metrics = losses(values, batch)
        # The same for each example, so that it is in the mean once.
        return total + decay * optax.tree.norm(params, squared=True), (variables, metrics)

    def learnt(state: State, keys: Key, count: Array, gradient: Gradient) -> tuple[State, Metrics]:
        drawn = replay.sample(state.extra["replay"], keys[0], batch_size)
        batch = {**drawn.batch, "weight": drawn.weight}
        batch["target"] = targets(model, bootstrap, state, batch, discount)
        batch["single_target"] = targets(model, bootstrap, state, batch["single"], discount)
        # By the parameters before the update, as the gradient sees them.
        before = model.apply(state.params, state.variables, batch["observation"], train=False, key=None)[0]
        errors = jnp.abs(batch["single_target"] - taken(before, batch["action"]))
        errors = errors + jnp.where(batch["demonstration"], bonus[0], bonus[1])
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
