"""Values in a table, one for each pair of an observation and an action, learnt step by step.

The rules differ in one thing: by what the next observation is taken to be worth.
"""

from typing import Any

import jax.numpy as jnp

from stepax.learner import Learner
from stepax.rl.action_table import TableSettings, best_actions, drawn_actions, table_learner
from stepax.rl.environment import Environment
from stepax.typing import Array, Key

__all__ = ["expected_sarsa", "q_learning", "sarsa"]


def q_learning(
    environment: Environment,
    *,
    rate: Any = 0.1,
    epsilon: Any = 0.1,
    lanes: int = 1,
    length: int = 100,
    discount: Any = 0.99,
    initial: Any = 0.0,
    evaluation_episodes: int = 32,
    evaluation_steps: int = 1000,
) -> Learner:
    r"""Learns what acting best is worth, whatever it does itself: :math:`r + \gamma \max_{a'} q(s', a')`.

    It acts ε-greedily by the table as it stood when an observation came; of equally good actions any is as likely.
    Lanes that take the same action at the same observation are learnt from one after the other. A terminated episode
    has nothing after it; after a truncation the value goes on.

    Args:
        environment: Where to act; observations and actions are ``Discrete``.
        rate: How far a value moves to what was found, from 0 to 1: a number, a function of the step's number, or
            :class:`ByVisits`.
        epsilon: How likely an action is a random one: a number from 0 to 1, or a function of the step's number.
        lanes: How many environments run side by side.
        length: Steps of each of them in a step of the learner.
        discount: γ, from 0 to 1.
        initial: The first values, a number or ``[states, actions]``. Where they are too high, every action is tried.
        evaluation_episodes: How many episodes ``evaluate`` runs, each with the best actions.
        evaluation_steps: Where it stops those that have no end.

    Returns:
        The learner. Its batches are ``None``, and it takes no gradient. ``state.params["values"]`` is the table and
        ``state.extra["visits"]`` how often each pair was met, both ``[states, actions]``. Metrics of a step: ``loss``,
        the mean squared difference between values and what was found; ``return`` and ``length``, means over lanes of
        the last episode that has ended; ``weight``, the steps in all lanes. ``predict`` maps observations ``[batch]``
        to values ``[batch, actions]``.

    Raises:
        TypeError: An argument is none of its kind, or a space is no ``Discrete``.
        ValueError: A number is out of its range; ``initial`` has another shape or is not finite.

    Reference:
        Watkins, Learning from delayed rewards, 1989.
    """

    def following(values: Array, epsilon: Any, key: Key) -> Array:
        return values.max(-1)

    return table_learner(
        environment,
        following,
        TableSettings(rate, epsilon, lanes, length, discount, initial, evaluation_episodes, evaluation_steps),
    )


def sarsa(
    environment: Environment,
    *,
    rate: Any = 0.1,
    epsilon: Any = 0.1,
    lanes: int = 1,
    length: int = 100,
    discount: Any = 0.99,
    initial: Any = 0.0,
    evaluation_episodes: int = 32,
    evaluation_steps: int = 1000,
) -> Learner:
    r"""Learns what its own actions are worth, random ones among them: :math:`r + \gamma q(s', a')`.

    The best actions' values are those it comes to where ``epsilon`` falls to 0.

    Args:
        environment: As in :func:`q_learning`, and so are all arguments.
        rate: As there.
        epsilon: As there.
        lanes: As there.
        length: As there.
        discount: As there.
        initial: As there.
        evaluation_episodes: As there.
        evaluation_steps: As there.

    Returns:
        The learner, as there.

    Raises:
        TypeError: As there.
        ValueError: As there.

    Reference:
        Rummery and Niranjan, On-line Q-learning using connectionist systems, 1994.
    """

    def following(values: Array, epsilon: Any, key: Key) -> Array:
        # By the key of the action to come, so that it is this one where the episode goes on.
        return jnp.take_along_axis(values, drawn_actions(values, epsilon, key)[:, None], -1)[:, 0]

    return table_learner(
        environment,
        following,
        TableSettings(rate, epsilon, lanes, length, discount, initial, evaluation_episodes, evaluation_steps),
    )


def expected_sarsa(
    environment: Environment,
    *,
    rate: Any = 0.1,
    epsilon: Any = 0.1,
    lanes: int = 1,
    length: int = 100,
    discount: Any = 0.99,
    initial: Any = 0.0,
    evaluation_episodes: int = 32,
    evaluation_steps: int = 1000,
) -> Learner:
    r"""Sarsa without the chance of a draw: :math:`r + \gamma \sum_{a'} \pi(a' | s') q(s', a')`.

    Args:
        environment: As in :func:`q_learning`, and so are all arguments.
        rate: As there.
        epsilon: As there.
        lanes: As there.
        length: As there.
        discount: As there.
        initial: As there.
        evaluation_episodes: As there.
        evaluation_steps: As there.

    Returns:
        The learner, as there.

    Raises:
        TypeError: As there.
        ValueError: As there.

    Reference:
        Van Seijen et al., A theoretical and empirical analysis of expected Sarsa, 2009.
    """

    def following(values: Array, epsilon: Any, key: Key) -> Array:
        best = best_actions(values).astype(values.dtype)
        return (1 - epsilon) * (best * values).sum(-1) / best.sum(-1) + epsilon * values.mean(-1)

    return table_learner(
        environment,
        following,
        TableSettings(rate, epsilon, lanes, length, discount, initial, evaluation_episodes, evaluation_steps),
    )
