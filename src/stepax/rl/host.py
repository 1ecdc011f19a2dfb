"""Environments outside of compiled programs: those of Gymnasium, stepped in Python.

They are slower than environments that are compiled with the agent, by far: every step waits for Python.
"""

from collections.abc import Generator
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stepax.checks import check_count, check_function, check_key
from stepax.compile import jit
from stepax.learner import Learner, State, check_learner
from stepax.loop import copied
from stepax.rl.environment import Environment, Outside
from stepax.rl.normalization import Returns
from stepax.rl.policies import Policy, drawn
from stepax.rl.replay import Pending
from stepax.rl.rollout import Act, Lanes
from stepax.rl.spaces import Space
from stepax.rl.vector import Make, Vector
from stepax.typing import Array, Key

__all__ = ["environment", "evaluate", "training"]

LANES = 32
AVERAGE = "average"  # what stepax.average keeps under this name in ``extra``, and acts by


def environment(make: Make) -> Environment:
    """What an agent has to know of an environment of Gymnasium: its spaces.

    ``rl.ppo(host.environment("LunarLander-v3"), network, …)`` makes an agent for :func:`training` and :func:`evaluate`.
    A program that would step the environment itself, such as that of ``fit``, is refused when it is traced.

    Args:
        make: A name that Gymnasium knows, or a function without arguments that makes one of its environments.

    Returns:
        The environment, without its steps.

    Raises:
        ImportError: Gymnasium is not installed.
        TypeError: ``make`` is neither, or a space is none of numbers.
    """
    with Vector(make, 1) as one:
        seen, acted, name = one.observation_space, one.action_space, one.name

    def reset(key: Key) -> tuple[tuple, Array]:
        return (), jnp.zeros(seen.shape, seen.dtype)

    return Environment(reset, Outside(name), seen, acted)


def training(
    learner: Learner,
    environment: Make,
    state: State | None = None,
    *,
    key: Key,
    lanes: int,
    length: int,
    policy: Policy = drawn,
) -> Generator[tuple[State, dict[str, float]], None, None]:
    """Trains an agent in an environment of Gymnasium, without end; every turn is one step of the learner.

    Python makes the steps of the environments, and hands what came of them to the compiled step::

        for state, metrics in rl.host.training(agent, "CartPole-v1", key=jax.random.key(0), lanes=8, length=32):
            print(metrics["return"])
            if state.step >= 100:
                break

    Where the environment also exists as a pure function, ``fit`` does the same many times faster.

    Args:
        learner: An agent whose steps take trajectories: :func:`stepax.rl.ppo`, :func:`stepax.rl.a2c`,
            :func:`stepax.rl.dqn` or :func:`stepax.rl.dqfd`, made for ``host.environment(…)`` or for
            another one with the same spaces.
        environment: A name that Gymnasium knows, or a function without arguments that makes one of its environments.
        state: Where to go on; it stays valid. ``None``: at the beginning. Environments in Python cannot be saved: all
            lanes begin new episodes, and what is left of those before is never learnt from.
        key: The root of all randomness. The same key gives the same training where Gymnasium's environments do so.
        lanes: How many environments run side by side, as in the agent.
        length: Steps of each between two steps of the learner, as in the agent.
        policy: How it acts: ``(learner, state) -> act``. :func:`stepax.rl.drawn` for agents with a policy; those of
            action values need :func:`stepax.rl.epsilon_greedy`.

    Yields:
        The state, which is borrowed until the next turn (``jax.tree.map(jnp.copy, state)`` keeps it), and the metrics
        of the step.

    Raises:
        ImportError: Gymnasium is not installed.
        TypeError: An argument is none of its kind; the agent makes its own steps and takes no trajectory.
        ValueError: A number is out of range or not the agent's, the agent does not fit the environment, or an
            observation, a reward or an action is not finite. A policy would be drawn from by an average of its
            parameters, and judged as if it were the policy itself; or the state is that of a population.
    """
    check_learner(learner, state)
    check_key(key)
    check_count("lanes", lanes)
    check_count("length", length)
    init_key, begin_key, act_key = jax.random.split(key, 3)
    state = jit(learner.init)(init_key, None) if state is None else state
    if policy is drawn and AVERAGE in state.extra:
        raise ValueError("learner: expected no stepax.average, which would act in place of the policy that is improved")
    state = _anew(copied(state))
    step = jit(learner.step, donate=(0,))
    # By the number of steps, so that a training that goes on does not see the same episodes again.
    seed = int(jax.random.bits(jax.random.fold_in(begin_key, state.step), dtype=jnp.uint32))
    with Vector(environment, lanes) as vector:
        observation = vector.reset(seed)
        check_act(policy(learner, state), observation, vector.action_space)
        while True:
            turns = range(int(state.step) * length, (int(state.step) + 1) * length)
            trajectory, observation = _trajectory(vector, observation, policy(learner, state), act_key, turns)
            state, metrics = step(state, trajectory)
            yield state, {name: float(value) for name, value in jax.device_get(metrics).items()}


def _trajectory(
    vector: Vector, observation: np.ndarray, act: Act, key: Key, turns: range
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """So many steps of all lanes, each part ``[length, lanes, …]``; and what the policy sees next."""
    steps = []
    for turn in turns:
        action = np.asarray(chosen(act, observation, key, turn))
        made = vector.step(action)
        parts = {"observation": observation, "action": action, "reward": made.reward.astype(np.float32)}
        ends = {"terminated": made.terminated, "truncated": made.truncated}
        steps.append({**parts, **ends, "next_observation": made.next_observation})
        observation = made.observation
    return {name: np.stack([step[name] for step in steps]) for name in steps[0]}, observation


def _anew(state: State) -> State:
    """The state where all episodes begin: what unfinished ones have brought is forgotten."""

    def begun(part: Any) -> Any:
        if isinstance(part, Pending):
            return part._replace(open=jnp.zeros_like(part.open))
        if isinstance(part, Lanes | Returns):
            return part._replace(current=jax.tree.map(jnp.zeros_like, part.current))
        return part

    parts = Lanes | Returns | Pending
    return state._replace(extra=jax.tree.map(begun, state.extra, is_leaf=lambda part: isinstance(part, parts)))


def evaluate(
    act: Act, environment: Make, *, episodes: int = 32, seed: int = 0, steps: int = 10_000
) -> dict[str, np.ndarray]:
    """Plays whole episodes in an environment of Gymnasium.

    Args:
        act: The policy, such as ``stepax.rl.greedy(agent, run.state)``; it is compiled. Real actions outside of their
            space reach the environment as the nearest ones inside.
        environment: A name that Gymnasium knows, such as ``"CartPole-v1"``, or a function without arguments that makes
            one of its environments.
        episodes: How many.
        seed: Of the environments and of the policy.
        steps: Where to cut off episodes that have not ended.

    Returns:
        ``return``, float64, and ``length``, int64, ``[episodes]`` each.

    Raises:
        ImportError: Gymnasium is not installed.
        TypeError: ``act`` is no function, ``environment`` is no name and no function that makes an environment, or its
            spaces are neither whole numbers nor arrays of real numbers.
        ValueError: A number is out of range, the policy's actions do not fit the environment, or an observation, a
            reward or an action is not finite.
    """
    check_function("act", act)
    for name, count, least in (("episodes", episodes, 1), ("seed", seed, 0), ("steps", steps, 1)):
        check_count(name, count, least)
    # A lane plays its share and no more: else short episodes would be among the first to end too often.
    count = min(episodes, LANES)
    shares = np.array([len(range(lane, episodes, count)) for lane in range(count)])
    sums, lengths, played = np.zeros(count), np.zeros(count, np.int64), np.zeros(count, np.int64)
    returns, ends = np.zeros(episodes), np.zeros(episodes, np.int64)
    with Vector(environment, count, steps) as lanes:
        observation, turn, key = lanes.reset(seed), 0, jax.random.key(seed)
        check_act(act, observation, lanes.action_space)
        while (played < shares).any():
            made = lanes.step(chosen(act, observation, key, turn))
            observation, turn = made.observation, turn + 1
            sums, lengths = sums + made.reward, lengths + 1
            ended = made.terminated | made.truncated
            for lane in np.flatnonzero(ended & (played < shares)):
                episode = lane + played[lane] * count
                returns[episode], ends[episode] = sums[lane], lengths[lane]
            sums, lengths, played = np.where(ended, 0, sums), np.where(ended, 0, lengths), played + ended
    return {"return": returns, "length": ends}


def check_act(act: Act, observation: np.ndarray, space: Space) -> None:
    """Refuse a policy whose actions are none of a space; traces it, and runs nothing.

    Raises:
        ValueError: Its actions do not fit.
    """
    given = jax.eval_shape(_act, _tree(act), observation, jax.random.key(0), 0)
    shape, dtype = getattr(given, "shape", None), getattr(given, "dtype", np.dtype(object))
    kind = np.integer if np.issubdtype(space.dtype, np.integer) else np.floating
    if shape != (len(observation), *space.shape) or not np.issubdtype(dtype, kind):
        wanted = f"{'integers' if kind is np.integer else 'real numbers'} of shape {(len(observation), *space.shape)}"
        raise ValueError(f"act: expected actions for the environment, {wanted}, got {dtype} of shape {shape}")


def chosen(act: Act, observation: np.ndarray, key: Key, turn: int) -> Array:
    """What a policy does, compiled once."""
    return _compiled()(_tree(act), observation, key, turn)


def _tree(act: Act) -> Any:
    """A function that is no tree as one without leaves: then it is part of what a program is known by."""
    return act if isinstance(act, jax.tree_util.Partial) else jax.tree_util.Partial(act)


def _act(act: Act, observation: Any, key: Any, turn: Any) -> Any:
    return act(observation, jax.random.fold_in(key, turn))[0]


@cache
def _compiled() -> Any:
    return jit(_act)
