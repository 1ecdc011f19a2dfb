"""A table of action values, and how environments fill it step by step: what its rules share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from stepax.checks import check_count
from stepax.learner import Learner, State, new_state, step_key
from stepax.rl.environment import Environment, check_environment
from stepax.rl.estimators import check_number
from stepax.rl.rollout import Lanes, begin, check_no_batch, episodes, progress, rollout
from stepax.rl.spaces import Discrete
from stepax.targets import host_values
from stepax.typing import Array, Gradient, Key, Metrics

__all__ = ["ByVisits", "Following", "TableSettings", "best_actions", "drawn_actions", "table_learner"]

# ``(values [lanes, actions], epsilon, key) -> [lanes]``: what the next observations are taken to be worth.
Following = Callable[[Array, Any, Key], Array]


class ByVisits(NamedTuple):
    r"""A learning rate of :math:`(c / (c - 1 + n))^p` at the ``n``-th visit of a pair: 1 at first, then less and less.

    With a power above 1/2 and at most 1 its sum is infinite and that of its squares is not: so values converge although
    what follows an action is random. A large ``scale`` forgets faster what the first values were.

    Attributes:
        scale: ``c``, at least 1, where the rate is a mean of all visits. May be traced.
        power: ``p``, from 0 to 1. May be traced.

    Reference:
        Robbins and Monro, A stochastic approximation method, 1951.
        Even-Dar and Mansour, Learning rates for Q-learning, 2003 (the power).
        Jin et al., Is Q-learning provably efficient?, 2018, arXiv:1807.03863 (the scale).
    """

    scale: Any = 1.0
    power: Any = 1.0


class TableSettings(NamedTuple):
    """How a table is learnt.

    Attributes:
        rate: A number, a function of the step's number, or :class:`ByVisits`.
        epsilon: A number, or a function of the step's number.
        lanes: How many environments run side by side.
        length: Steps of each of them in a step of the learner.
        discount: γ, from 0 to 1.
        initial: The first values.
        evaluation_episodes: How many episodes ``evaluate`` runs.
        evaluation_steps: Where it stops those that have no end.
    """

    rate: Any
    epsilon: Any
    lanes: int
    length: int
    discount: Any
    initial: Any
    evaluation_episodes: int
    evaluation_steps: int


class _Learning(NamedTuple):
    """What changes from one step of the environments to the next.

    Attributes:
        values: ``[states, actions]``.
        visits: The same shape, int32.
        lanes: Where every environment stands.
        action: What every lane does next, ``[lanes]``.
    """

    values: Array
    visits: Array
    lanes: Lanes
    action: Array


def table_learner(environment: Environment, following: Following, settings: TableSettings) -> Learner:
    """A learner whose step is ``length`` steps of every lane, each learnt from as it is made.

    Args:
        environment: Where to act; observations and actions are ``Discrete``.
        following: The rule.
        settings: The rest, as the arguments of :func:`stepax.rl.q_learning` say.

    Returns:
        The learner, as there.

    Raises:
        TypeError: As there.
        ValueError: As there.
    """
    states, actions = _sizes(environment)
    _check(settings, (states, actions))
    lanes, length = settings.lanes, settings.length

    def init(key: Key, batch: Any = None) -> State:
        lanes_key, action_key, steps_key = jax.random.split(key, 3)
        values = jnp.broadcast_to(jnp.asarray(settings.initial, jnp.float32), (states, actions))
        begun = begin(environment, lanes, lanes_key)
        action = drawn_actions(values[begun.observation], _now("epsilon", settings.epsilon, jnp.int32(0)), action_key)
        extra = {"visits": jnp.zeros((states, actions), jnp.int32), "lanes": begun, "action": action}
        return new_state(steps_key, {"values": values}, {}, (), extra)

    def step(state: State, batch: Any = None, gradient: Gradient | None = None) -> tuple[State, Metrics]:
        del gradient
        check_no_batch(batch)
        key, extra = step_key(state), state.extra
        epsilon = _now("epsilon", settings.epsilon, state.step)
        rate = settings.rate if isinstance(settings.rate, ByVisits) else _now("rate", settings.rate, state.step)

        def one(learning: _Learning, i: Array) -> tuple[_Learning, Array]:
            rollout_key, action_key = jax.random.split(jax.random.fold_in(key, i))
            made_lanes, made = rollout(
                environment, lambda observation, key: (learning.action, {}), learning.lanes, rollout_key, 1
            )
            made = {name: leaf[0] for name, leaf in made.items()}
            found = _found(learning.values, made, following, settings.discount, epsilon, action_key)
            action = drawn_actions(learning.values[made_lanes.observation], epsilon, action_key)
            values, visits, errors = _learnt(learning, made, found, rate)
            return _Learning(values, visits, made_lanes, action), (errors**2).mean()

        begun = _Learning(state.params["values"], extra["visits"], extra["lanes"], extra["action"])
        after, losses = lax.scan(one, begun, jnp.arange(length))
        kept = {**extra, "visits": after.visits, "lanes": after.lanes, "action": after.action}
        state = state._replace(params={"values": after.values}, extra=kept, step=state.step + 1)
        return state, {"loss": losses.mean(), "weight": jnp.float32(lanes * length), **progress(after.lanes)}

    def evaluate(state: State, batch: Any, key: Key) -> Metrics:
        best = state.params["values"].argmax(-1).astype(jnp.int32)

        def act(observation: Array, key: Key) -> tuple[Array, dict[str, Any]]:
            return best[observation], {}

        return episodes(environment, act, key, settings.evaluation_episodes, settings.evaluation_steps)

    def predict(state: State, x: Any) -> Array:
        _check_observations(x, states)
        return state.params["values"][jnp.asarray(x)]

    return Learner(init, step, evaluate, predict)


def _found(values: Array, made: dict[str, Any], following: Following, discount: Any, epsilon: Any, key: Key) -> Array:
    """What every lane has found its action to be worth, ``[lanes]``."""
    after = following(values[made["next_observation"]], epsilon, key)
    return (made["reward"] + discount * jnp.where(made["terminated"], 0, after)).astype(values.dtype)


def _learnt(learning: _Learning, made: dict[str, Any], found: Array, rate: Any) -> tuple[Array, Array, Array]:
    """The tables with the pairs of all lanes, one lane after the other; and the errors, ``[lanes]``."""
    values, visits = learning.values, learning.visits
    observation, action = made["observation"], made["action"]
    pair, lane = observation * values.shape[1] + action, jnp.arange(len(action))
    same = pair[:, None] == pair[None]
    before, errors = values[observation, action], found - values[observation, action]
    met = visits[observation, action]
    rates = _rates(rate, met + (same & (lane[None] <= lane[:, None])).sum(-1)).astype(values.dtype)
    # Of a lane's move this is left when all later lanes at the same pair have made theirs.
    left = jnp.where(same & (lane[None] > lane[:, None]), 1 - rates[None], 1).prod(-1)
    moved = jnp.where(same, (rates * left * errors)[None], 0).sum(-1)
    # Set, not added: lanes at one pair write the same number, and so their order matters to no device.
    values = values.at[observation, action].set(before + moved)
    return values, visits.at[observation, action].set(met + same.sum(-1)), errors


def _rates(rate: Any, visits: Array) -> Array:
    if isinstance(rate, ByVisits):
        return (rate.scale / (rate.scale - 1 + visits.astype(jnp.float32))) ** rate.power
    return jnp.full(visits.shape, rate)


def best_actions(values: Array) -> Array:
    """Which actions are the best ones, ``[lanes, actions]``."""
    return values == values.max(-1, keepdims=True)


def drawn_actions(values: Array, epsilon: Any, key: Key) -> Array:
    """ε-greedy actions by their values ``[lanes, actions]``: any of the best, or any at all."""
    lanes, actions = values.shape
    draws = jax.random.uniform(key, (lanes, actions + 1), jnp.float32)
    allowed = best_actions(values) | (draws[:, -1:] < epsilon)
    return jnp.where(allowed, draws[:, :-1], -1).argmax(-1).astype(jnp.int32)


def _now(name: str, value: Any, step: Array) -> Any:
    """A number, or what a function of the step's number gives."""
    if not callable(value):
        return value
    if jnp.shape(now := value(step)) != ():
        raise ValueError(f"{name}: expected a function of the step to one number, got shape {jnp.shape(now)}")
    return now


def _sizes(environment: Environment) -> tuple[int, int]:
    """How many observations and actions there are."""
    check_environment(environment)
    return _size("observation_space", environment.observation_space), _size("action_space", environment.action_space)


def _size(name: str, space: Any) -> int:
    if not isinstance(space, Discrete):
        raise TypeError(f"environment.{name}: expected a Discrete, for a table, got a {type(space).__name__}")
    return space.n


def _check(settings: TableSettings, shape: tuple[int, int]) -> None:
    for name in ("lanes", "length", "evaluation_episodes", "evaluation_steps"):
        check_count(name, getattr(settings, name))
    check_number("discount", settings.discount, most=1)
    if isinstance(settings.rate, ByVisits):
        check_number("rate.scale", settings.rate.scale, least=1)
        check_number("rate.power", settings.rate.power, most=1)
    elif not callable(settings.rate):
        check_number("rate", settings.rate, most=1)
    if not callable(settings.epsilon):
        check_number("epsilon", settings.epsilon, most=1)
    _check_initial(settings.initial, shape)


def _check_initial(initial: Any, shape: tuple[int, int]) -> None:
    initial = initial if isinstance(initial, jax.Array) else np.asarray(initial)
    if not jnp.issubdtype(initial.dtype, jnp.number):
        raise TypeError(f"initial: expected numbers, got {initial.dtype}")
    if initial.shape not in ((), shape):
        raise ValueError(f"initial: expected a number or an array of shape {shape}, got shape {initial.shape}")
    known = host_values(initial)
    if known is not None and not np.isfinite(known).all():
        raise ValueError("initial: expected finite numbers, got NaN or inf")


def _check_observations(x: Any, states: int) -> None:
    if not jnp.issubdtype(jnp.result_type(x), jnp.integer):
        raise TypeError(f"x: expected observations, whole numbers of shape [batch], got {jnp.result_type(x)}")
    known = host_values(jnp.asarray(x))
    if known is not None and known.size and not (known.min() >= 0 and known.max() < states):
        raise ValueError(f"x: expected observations from 0 to {states - 1}, got {known.min()} to {known.max()}")
