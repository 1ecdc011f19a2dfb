"""Many settings in one program: a learner for each value of its hyper-parameters, side by side."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stepax.gradient import gradient as plain
from stepax.learner import Learner, State
from stepax.transforms.owned import held, released
from stepax.transforms.population import LANES, keys_axis
from stepax.typing import Array, Gradient, Key, Metrics

__all__ = ["grid", "sweep"]

NAME = "sweep"


def grid(**axes: Sequence[float]) -> dict[str, list[float]]:
    """Every combination of the values, as the columns of a table with one row for each.

    Args:
        **axes: The values of each hyper-parameter.

    Returns:
        What :func:`sweep` takes: as many values for each name as there are combinations; the last name varies fastest.

    >>> grid(rate=[0.1, 0.01], dropout=[0.0, 0.5])
    {'rate': [0.1, 0.1, 0.01, 0.01], 'dropout': [0.0, 0.5, 0.0, 0.5]}
    """
    rows = list(itertools.product(*axes.values()))
    return {name: [row[i] for row in rows] for i, name in enumerate(axes)}


def sweep(make: Callable[..., Learner], **axes: Sequence[float] | np.ndarray | Array) -> Learner:
    """Trains the learners that a factory makes of many values at once, in one program.

    Lane ``k`` is the run of ``make(name=values[k], …)`` that starts at ``jax.random.split(key, lanes)[k]``, up to
    rounding. Any number may vary that leaves shapes as they are: a rate, a value in a schedule, dropout, the weight of
    a loss. It reaches ``make`` as a traced scalar, so that Python cannot decide by it (:class:`stepax.nn.Dropout`
    takes one, Flax's does not). For every combination of several values pass ``**stepax.grid(rate=…, dropout=…)``; for
    several seeds of each put the sweep into a ``population``.

    Args:
        make: ``(name=value, …) -> Learner``; pure.
        **axes: The values of each hyper-parameter, one per lane, all of one length.

    Returns:
        A learner as from ``population``, which keeps the values under ``"sweep"`` in ``extra``.

    Raises:
        TypeError: ``make`` is no function; values that are no numbers.
        ValueError: There are no values, they are not finite, or of several lengths. In ``init``: a value changes
            shapes, or ``make`` decides by one in Python; the message names it.
    """
    if not callable(make):
        raise TypeError(f"make: expected a function that makes a learner, got {type(make).__name__}")
    values = _checked(axes)
    size = len(next(iter(values.values())))

    def init(key: Key, batch: Any) -> State:
        _check_shapes(make, values, key, batch)

        def one(key: Key, own: dict[str, Array]) -> State:
            state = make(**own).init(key, batch)
            # Around a population every one of its lanes has the value.
            return held(state, NAME, {name: jnp.broadcast_to(value, state.key.shape) for name, value in own.items()})

        return jax.vmap(one, (0, 0), LANES)(jax.random.split(key, size), _arrays(values))

    def made(own: dict[str, Array]) -> Learner:
        return make(**{name: value.reshape(-1)[0] for name, value in own.items()})

    def step(state: State, batch: Any, gradient: Gradient = plain) -> tuple[State, Metrics]:
        def one(state: State) -> tuple[State, Metrics]:
            inner, own = released(state, NAME)
            inner, metrics = made(own).step(inner, batch, gradient=gradient)
            return held(inner, NAME, own), metrics

        return jax.vmap(one, (LANES,), (LANES, 0))(state)

    def evaluate(state: State, batch: Any, key: Key) -> Metrics:
        def one(state: State, key: Key) -> Metrics:
            inner, own = released(state, NAME)
            return made(own).evaluate(inner, batch, key)

        return jax.vmap(one, (LANES, keys_axis(key)))(state, key)

    def predict(state: State, x: Any) -> Any:
        def one(state: State) -> Any:
            inner, own = released(state, NAME)
            return made(own).predict(inner, x)

        return jax.vmap(one, (LANES,), 1)(state)

    return Learner(init, step, evaluate, predict)


def _checked(axes: dict[str, Any]) -> dict[str, np.ndarray]:
    values = {name: np.asarray(axis) for name, axis in axes.items()}
    if not values:
        raise ValueError("axes: expected values by name, such as rate=[1e-3, 1e-2], got none")
    for name, array in values.items():
        if array.dtype.kind not in "iuf":
            raise TypeError(f"{name}: expected numbers, got {axes[name]!r}")
        if array.ndim != 1 or not array.size:
            raise ValueError(f"{name}: expected a list of one value or more, got {axes[name]!r}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: expected finite numbers, got {axes[name]!r}")
    lengths = {name: len(array) for name, array in values.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{length} of {name}" for name, length in lengths.items())
        raise ValueError(f"axes: there are {told}; every lane needs one of each: stepax.grid makes all combinations")
    return values


def _arrays(values: dict[str, np.ndarray]) -> dict[str, Array]:
    return {name: jnp.asarray(array) for name, array in values.items()}


def _check_shapes(make: Callable[..., Learner], values: dict[str, np.ndarray], key: Key, batch: Any) -> None:
    """Finds by name what cannot vary, each value by itself: all the others are plain numbers of the first lane."""
    first = {name: array[0].item() for name, array in values.items()}

    def shapes(own: dict[str, Any]) -> State:
        return jax.eval_shape(lambda key, batch: make(**own).init(key, batch), key, batch)

    def moved(own: dict[str, Any]) -> State:
        learner = make(**own)
        return learner.step(learner.init(key, batch), batch)[0]

    for name, array in values.items():
        try:
            jax.eval_shape(lambda own, name=name: moved({**first, name: own}), jax.typeof(jnp.asarray(array[0])))
        except (jax.errors.ConcretizationTypeError, jax.errors.TracerIntegerConversionError, TypeError) as error:
            like, why = (
                shapes(first),
                f"Python cannot decide by it or make a shape of it ({str(error).splitlines()[0]})",
            )
            for value in sorted(set(array[1:].tolist()) - {first[name]}):
                if shapes({**first, name: value}) != like:
                    why = f"{first[name]} and {value} give states of different shapes"
                    break
            raise ValueError(
                f"{name}: make cannot take it as a traced number: {why}; leave it fixed, or train its values one after "
                "the other"
            ) from error
