"""What a learner does in an environment, by what it predicts: the same for networks and tables."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from stepax.learner import Learner, State, check_learner, lanes_of
from stepax.rl.distributions import Categorical, Normal
from stepax.rl.estimators import check_number
from stepax.rl.rollout import Act
from stepax.typing import Array, Key

__all__ = ["Policy", "drawn", "epsilon_greedy", "greedy"]

# ``(learner, state) -> act``.
Policy = Callable[[Learner, State], Act]


def greedy(learner: Learner, state: State) -> Act:
    """The best that a learner knows: the likeliest actions of a policy, or those of the greatest value.

    Args:
        learner: An agent whose ``predict`` maps observations ``[lanes, …]`` to a distribution of actions, alone or with
            values, or to action values ``[lanes, actions]``: every one in :mod:`stepax.rl` does.
        state: Its state, of a single agent.

    Returns:
        ``(observations, key) -> (actions [lanes, …], {})``. It is a tree with the state's arrays as leaves, so that as
        an argument of a compiled function it is compiled once for all states.

    Raises:
        TypeError: No learner, or no state; when first traced, ``predict`` gives something else.
        ValueError: It is the state of a population.
    """
    return _policy(_best, learner, state)


def drawn(learner: Learner, state: State) -> Act:
    """Draws actions from the distribution that a learner predicts, as it does while it learns.

    Args:
        learner: An agent that predicts a distribution, alone or with values.
        state: Its state, of a single agent.

    Returns:
        As :func:`greedy` does.

    Raises:
        TypeError: No learner, or no state; when first traced, ``predict`` gives no distribution.
        ValueError: It is the state of a population.
    """
    return _policy(_sampled, learner, state)


def epsilon_greedy(epsilon: Any) -> Policy:
    """Draws one of all actions with the probability ε, and takes the best else.

    Args:
        epsilon: A number from 0 to 1, or a function of the number of steps that the learner has made.

    Returns:
        A function like :func:`greedy`, for agents that predict action values.

    Raises:
        TypeError: ``epsilon`` is neither a number nor a function.
        ValueError: It is not in [0, 1].
    """
    if not callable(epsilon):
        check_number("epsilon", epsilon, most=1)
    # Named by ε, so that equal ones share a program.
    rule = _Exploring(epsilon)
    return lambda learner, state: _policy(rule, learner, state)


@dataclasses.dataclass(frozen=True)
class _Acting:
    """A rule and what it reads; two of the same functions are equal, which is what a compiled program asks for."""

    rule: Callable[[Any, State, Key], Array]
    predict: Callable[[State, Any], Any]

    def __call__(self, state: State, observation: Array, key: Key) -> tuple[Array, dict[str, Any]]:
        return self.rule(self.predict(state, observation), state, key), {}


@dataclasses.dataclass(frozen=True)
class _Exploring:
    epsilon: Any

    def __call__(self, answer: Any, state: State, key: Key) -> Array:
        best = _best(answer, state, key)
        if not isinstance(answer, jax.Array):
            raise TypeError(f"epsilon_greedy: expected a learner of action values, got {_kind(answer)}")
        chance = self.epsilon(state.step) if callable(self.epsilon) else self.epsilon
        chosen, any_key = jax.random.split(key)
        explores = jax.random.uniform(chosen, best.shape) < chance
        return jnp.where(explores, jax.random.randint(any_key, best.shape, 0, answer.shape[-1]), best)


def _policy(rule: Callable[[Any, State, Key], Array], learner: Any, state: Any) -> Act:
    check_learner(learner, state)
    if state is None:
        raise TypeError("state: expected a stepax.State, such as run.state, got None")
    if state.key.shape:
        raise ValueError(f"state: it has {lanes_of(state.key.shape)}; take one with stepax.lane(state, k)")
    return jax.tree_util.Partial(_Acting(rule, learner.predict), state)


def _best(answer: Any, state: State, key: Key) -> Array:
    of = _distribution(answer)
    if of is not None:
        return of.mode()
    if not isinstance(answer, jax.Array) or answer.ndim != 2:
        raise TypeError(f"learner: expected it to predict a distribution or action values, got {_kind(answer)}")
    return answer.argmax(-1).astype(jnp.int32)


def _sampled(answer: Any, state: State, key: Key) -> Array:
    of = _distribution(answer)
    if of is None:
        raise TypeError(
            f"learner: expected it to predict a distribution, got {_kind(answer)}; for action values there is "
            "stepax.rl.epsilon_greedy"
        )
    return of.sample(key)


def _distribution(answer: Any) -> Any:
    """The distribution in what was predicted, ``None`` where there is none."""
    first = answer[0] if type(answer) is tuple and answer else answer
    return first if isinstance(first, Categorical | Normal) else None


def _kind(answer: Any) -> str:
    return f"shape {answer.shape}" if isinstance(answer, jax.Array) else type(answer).__name__
