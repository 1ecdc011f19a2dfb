"""Many models in one program: the same learner from several keys."""

from typing import Any

import jax
import jax.numpy as jnp

from stepax.checks import check_count
from stepax.gradient import gradient as plain
from stepax.learner import Learner, State, check_learner
from stepax.typing import Array, Gradient, Key, Metrics

__all__ = ["LANES", "lane", "population"]

# Axes of a state's fields: all lanes make the same step.
LANES: Any = State(0, 0, 0, 0, None, 0)  # type: ignore[arg-type]  # axes in place of arrays


def population(learner: Learner, size: int, *, lanes_of_data: bool = False) -> Learner:
    """Trains one learner from ``size`` keys at once, in one program.

    Lane ``k`` is the run that starts at ``jax.random.split(key, size)[k]``, up to rounding. Every array of the state
    but ``step`` has a leading axis of lanes. Histories hold a list of numbers, one per lane, in place of each number,
    and early stopping keeps the best state of every lane.

    Other transformations may come inside or outside, with the same result: ``guard`` takes back the steps of one lane
    alone, ``watch`` has norms for each.

    Args:
        learner: What to train.
        size: How many lanes.
        lanes_of_data: Whether every lane has a batch of its own, as from :func:`stepax.folds`: arrays of batches are
            then ``[lanes, batch, …]``. Otherwise all see the same, in the same order.

    Returns:
        A learner whose metrics are ``[lanes]`` and whose predictions are ``[batch, lanes, …]``.

    Raises:
        TypeError: No learner, or ``size`` is no whole number.
        ValueError: ``size`` is below 1.
    """
    check_learner(learner)
    check_count("size", size)
    batches = 0 if lanes_of_data else None

    def init(key: Key, batch: Any) -> State:
        if lanes_of_data and (found := {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(batch)}) != {(size,)}:
            shapes = ", ".join(sorted(map(str, found)))
            raise ValueError(f"batch: expected a leading axis of {size} lanes in every array, got {shapes}")
        return jax.vmap(learner.init, (0, batches), LANES)(jax.random.split(key, size), batch)

    def step(state: State, batch: Any, gradient: Gradient = plain) -> tuple[State, Metrics]:
        def one(state: State, batch: Any) -> tuple[State, Metrics]:
            return learner.step(state, batch, gradient=gradient)

        return jax.vmap(one, (LANES, batches), (LANES, 0))(state, batch)

    def evaluate(state: State, batch: Any, key: Key) -> Metrics:
        return jax.vmap(learner.evaluate, (LANES, batches, keys_axis(key)))(state, batch, key)

    def predict(state: State, x: Any) -> Any:
        return jax.vmap(learner.predict, (LANES, None), 1)(state, x)

    return Learner(init, step, evaluate, predict)


def keys_axis(key: Key) -> int | None:
    """The axis of lanes of a key: one key serves all of them, several are one each."""
    return 0 if key.shape else None


def lane(state: State, index: int | Array) -> State:
    """One model of many: the state that the single learner would have.

    Args:
        state: Of a :func:`population` or a :func:`stepax.sweep`.
        index: Which lane, from 0.

    Returns:
        Its state, for the learner that was given to ``population`` or made by a sweep's factory.

    Raises:
        IndexError: There is no such lane.
        ValueError: The state is that of a single model.
    """
    if not state.key.shape:
        raise ValueError("state: expected that of a population, with an axis of lanes, got that of a single model")
    if not isinstance(index, jax.core.Tracer) and not -len(state.key) <= int(index) < len(state.key):
        raise IndexError(f"index: expected a lane below {len(state.key)}, got {index}")
    fields = {
        name: jax.tree.map(lambda leaf: leaf[index], tree) for name, tree in state._asdict().items() if name != "step"
    }
    return state._replace(**fields)
