"""Acting: many lanes of one environment and a policy, step by step in a compiled loop."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from stepax.checks import check_count
from stepax.keys import pairs, plain, unrolled
from stepax.model import Model
from stepax.rl.environment import Environment, Step, auto_reset
from stepax.rl.spaces import Box
from stepax.typing import Array, Key, Metrics, Tree

__all__ = [
    "Act",
    "Lanes",
    "acting",
    "begin",
    "check_no_batch",
    "episodes",
    "gathered",
    "inside",
    "progress",
    "rollout",
    "whole_episodes",
]

# ``(observations [lanes, …], key) -> (actions [lanes, …], what else is to be kept of each step, by name)``.
Act = Callable[[Array, Key], tuple[Array, dict[str, Any]]]


class Lanes(NamedTuple):
    """Where every environment stands, and what its episodes have brought.

    Attributes:
        state: The environments' states, each leaf ``[lanes, …]``.
        observation: What the policy sees next, ``[lanes, …]``.
        current: Return and length of the episode that is going on, ``[lanes]`` each.
        last: The same of the last one that has ended; before that, of the one that is going on.
        finished: How many have ended, ``[lanes]``.
    """

    state: Tree
    observation: Array
    current: tuple[Array, Array]
    last: tuple[Array, Array]
    finished: Array


def acting(model: Model, params: Tree, variables: Tree, *, likeliest: bool = False) -> Act:
    """The policy of an actor–critic: draws actions, or takes the likeliest; keeps values and probabilities.

    Args:
        model: From observations ``[lanes, …]`` to a distribution of actions and values ``[lanes]``.
        params: Its parameters.
        variables: Its statistics.
        likeliest: Whether to take the likeliest action.
    """

    def act(observation: Array, key: Key) -> tuple[Array, dict[str, Any]]:
        (policy, value), _ = model.apply(params, variables, observation, train=False, key=None)
        action = policy.mode() if likeliest else policy.sample(key)
        return action, {"value": value, "log_probability": policy.log_probability(action)}

    return act


def begin(environment: Environment, lanes: int, key: Key) -> Lanes:
    """Every lane at the beginning of an episode."""
    check_count("lanes", lanes)
    state, observation = jax.vmap(auto_reset(environment).reset)(jax.random.split(key, lanes))
    nothing = jnp.zeros(lanes), jnp.zeros(lanes, jnp.int32)
    return Lanes(state, observation, nothing, nothing, nothing[1])


def rollout(environment: Environment, act: Act, lanes: Lanes, key: Key, length: int) -> tuple[Lanes, dict[str, Any]]:
    """A number of steps in every lane; an episode that ends is followed by a new one.

    Args:
        environment: As ``begin`` had it.
        act: The policy. Real actions outside of their space reach the environment as the nearest ones inside.
        lanes: Where to go on.
        key: For the policy and the environments.
        length: How many steps.

    Returns:
        Where the lanes stand; and the trajectory, each array ``[length, lanes, …]``: ``observation``, ``action``,
        ``reward``, ``terminated``, ``truncated``, ``next_observation`` (the one at the end of an episode, and not that
        of the next one) and what else ``act`` told.
    """
    step = partial(_transition, environment, jax.vmap(auto_reset(_plain(environment)).step), act)

    def one(lanes: Lanes, keys: Key) -> tuple[Lanes, dict[str, Any]]:
        made, transition = step(lanes.state, lanes.observation, keys)
        lanes = lanes._replace(state=made.state, observation=made.observation)
        lanes = _counted(lanes, made.reward, made.terminated | made.truncated)
        return lanes, {**transition, "next_observation": made.state.final_observation}

    return lax.scan(one, lanes, pairs(key, length))


def whole_episodes(environment: Environment, act: Act, key: Key, lanes: int, length: int) -> dict[str, Any]:
    """One episode in each lane, from its beginning; the program stops when all have ended.

    Args:
        environment: The environment.
        act: The policy, as in ``rollout``.
        key: For both.
        lanes: How many episodes.
        length: Where those that have no end are left.

    Returns:
        The trajectory as ``rollout`` gives it, ``[length, lanes, …]``, and its ``weight``: 1 for the steps of an
        episode, 0 after its end.
    """
    reset_key, run_key = jax.random.split(key)
    state, observation = jax.vmap(environment.reset)(jax.random.split(reset_key, lanes))
    step = partial(_transition, environment, jax.vmap(_plain(environment).step), act)
    keys = pairs(run_key, length)
    like = jax.eval_shape(lambda *given: step(*given)[1], state, observation, keys[0])
    made = jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape), leaf.dtype), like)
    weight = jnp.zeros((length, lanes))

    def one(carry: Any) -> Any:
        i, state, observation, done, made, weight = carry
        after, transition = step(state, observation, keys[i])
        made = jax.tree.map(lambda whole, new: lax.dynamic_update_index_in_dim(whole, new, i, 0), made, transition)
        weight = lax.dynamic_update_index_in_dim(weight, (~done).astype(weight.dtype), i, 0)
        return i + 1, after.state, after.observation, done | after.terminated | after.truncated, made, weight

    begun = jnp.int32(0), state, observation, jnp.zeros(lanes, bool), made, weight
    *_, made, weight = lax.while_loop(lambda carry: (carry[0] < length) & ~carry[3].all(), one, begun)
    return {**made, "weight": weight}


def _plain(environment: Environment) -> Environment:
    """The same for unrolled keys: a state that holds one holds it as JAX's own, as a checkpoint can."""
    return environment._replace(
        reset=lambda key: plain(environment.reset(key)),
        step=lambda state, action, key: plain(environment.step(state, action, key)),
    )


def _transition(
    environment: Environment, step: Callable[..., Step], act: Act, state: Tree, observation: Array, keys: Key
) -> tuple[Step, dict[str, Any]]:
    """One step in every lane, and what is to be kept of it but where it led."""
    act_key, step_key = unrolled(keys)
    action, kept = act(observation, act_key)
    made = step(state, inside(environment, action), jax.random.split(step_key, len(observation)))
    ends = {"terminated": made.terminated, "truncated": made.truncated}
    transition = {"observation": observation, "action": action, "reward": made.reward, **ends}
    return made, {**transition, "next_observation": made.observation, **kept}


def gathered(environment: Environment, lanes: Lanes, trajectory: Any, length: int) -> tuple[Lanes, dict[str, Any]]:
    """A trajectory that was made elsewhere, as :func:`rollout` gives those of its own.

    Args:
        environment: Whose spaces its observations and actions are of.
        lanes: What episodes have brought so far; where their environments stand is left as it is.
        trajectory: ``observation``, ``action``, ``reward``, ``terminated``, ``truncated`` and ``next_observation``,
            each ``[length, lanes, …]``; other names are not read.
        length: How many steps it is to have.

    Returns:
        The lanes with what its episodes have brought, and the trajectory.

    Raises:
        TypeError: It is no dict of arrays, or a part has a dtype of another kind.
        ValueError: A part is missing or has another shape.
    """
    made = _checked(environment, trajectory, (length, len(lanes.observation)))

    def one(lanes: Lanes, step: tuple[Array, Array]) -> tuple[Lanes, None]:
        return _counted(lanes, *step), None

    return lax.scan(one, lanes, (made["reward"], made["terminated"] | made["truncated"]))[0], made


def check_no_batch(batch: Any) -> None:
    """Refuse a batch where an agent learns from nothing but steps of its own.

    Raises:
        TypeError: There is one.
    """
    if batch is not None:
        raise TypeError(f"batch: expected None, this agent makes its own steps, got {type(batch).__name__}")


def _checked(environment: Environment, trajectory: Any, leading: tuple[int, int]) -> dict[str, Any]:
    """The parts of a trajectory, in the dtypes of their spaces."""
    if not isinstance(trajectory, Mapping):
        raise TypeError(f"batch: expected None or a trajectory, a dict of arrays, got {type(trajectory).__name__}")
    flag, seen = jax.ShapeDtypeStruct((), jnp.bool_), environment.observation_space
    wanted = {
        "observation": seen,
        "action": environment.action_space,
        "reward": jax.ShapeDtypeStruct((), jnp.float32),
        "terminated": flag,
        "truncated": flag,
        "next_observation": seen,
    }
    if missing := [name for name in wanted if name not in trajectory]:
        raise ValueError(f"batch: expected a trajectory with {sorted(wanted)}, {missing[0]!r} is missing")
    made = {name: jnp.asarray(trajectory[name]) for name in wanted}
    for name, like in wanted.items():
        shape, kind = (*leading, *like.shape), jnp.dtype(like.dtype).kind
        if made[name].shape != shape:
            got = list(made[name].shape)
            raise ValueError(f'batch["{name}"]: expected the shape {list(shape)}, [length, lanes, …], got {got}')
        if jnp.dtype(made[name].dtype).kind != kind:
            raise TypeError(f'batch["{name}"]: expected {like.dtype}, got {made[name].dtype}')
    return {name: made[name].astype(like.dtype) for name, like in wanted.items()}


def _counted(lanes: Lanes, reward: Array, ended: Array) -> Lanes:
    """The lanes with what a step has brought."""
    sums = lanes.current[0] + reward, lanes.current[1] + 1
    told = ended | (lanes.finished == 0)
    last, current = (
        jax.tree.map(partial(jnp.where, where), new, old)
        for where, new, old in ((told, sums, lanes.last), (~ended, sums, jax.tree.map(jnp.zeros_like, sums)))
    )
    return lanes._replace(current=current, last=last, finished=lanes.finished + ended)


def progress(lanes: Lanes) -> Metrics:
    """``return`` and ``length`` of the last episodes that have ended, means over lanes."""
    total, length = lanes.last
    return {"return": total.mean(), "length": length.astype(jnp.float32).mean()}


def inside(environment: Environment, action: Array) -> Array:
    """Actions, real ones cut to the bounds of their space."""
    space = environment.action_space
    return jnp.clip(action, space.low[None], space.high[None]) if isinstance(space, Box) else action


def episodes(environment: Environment, act: Act, key: Key, count: int, steps: int) -> Metrics:
    """Whole episodes, one in each lane.

    Args:
        environment: The environment.
        act: The policy.
        key: For both.
        count: How many episodes.
        steps: Where to stop those that have not ended.

    Returns:
        ``return`` and ``length``, means over episodes, ``ended``, the fraction of them that came to their end, and
        ``weight``, how many there were.
    """
    reset_key, run_key = jax.random.split(key)
    state, observation = jax.vmap(environment.reset)(jax.random.split(reset_key, count))
    nothing, keys = (jnp.zeros(count), jnp.zeros(count, jnp.int32), jnp.zeros(count, bool)), pairs(run_key, steps)

    def wanted(carry: Any) -> Array:
        return (carry[0] < steps) & ~carry[3][2].all()

    def one(carry: Any) -> Any:
        i, state, observation, (total, length, done) = carry
        act_key, step_key = unrolled(keys[i])
        action = inside(environment, act(observation, act_key)[0])
        made = jax.vmap(_plain(environment).step)(state, action, jax.random.split(step_key, count))
        counts = total + jnp.where(done, 0, made.reward), length + ~done, done | made.terminated | made.truncated
        return i + 1, made.state, made.observation, counts

    _, _, _, (total, length, done) = lax.while_loop(wanted, one, (jnp.int32(0), state, observation, nothing))
    return {
        "return": total.mean(),
        "length": length.astype(jnp.float32).mean(),
        "ended": done.astype(jnp.float32).mean(),
        "weight": jnp.float32(count),
    }
