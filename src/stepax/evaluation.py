"""Measuring and using a trained learner: exact weighted means over data, and whole outputs."""

import contextlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stepax.checks import check, check_count
from stepax.compile import jit
from stepax.keys import fold_in
from stepax.learner import Learner, State, check_lanes, check_learner
from stepax.loop import Chunks, capacity, taken
from stepax.placement import Beside, mesh_of, next_of
from stepax.processes import fetched
from stepax.source import Source, Stream, example, in_order
from stepax.stream_labels import labelled
from stepax.typing import Array, Key, Metrics, Tree

__all__ = ["Evaluation", "evaluate", "missing", "plain", "predict", "rehearse"]

# Examples that go through a model at once: enough to fill a machine, few enough to stay in its caches.
BATCH = 256


class Evaluation:
    """``evaluate`` for data that are measured again and again: they are prepared once.

    Args:
        learner: Whose ``evaluate`` is used.
        data: A dict of arrays, as in training, or a source.
        batch_size: Examples that go through the model at once.

    Raises:
        TypeError: Data that are no dict of arrays of numbers.
        ValueError: Data that are empty, ragged or not finite, or have negative weights.
    """

    def __init__(self, learner: Learner, data: Any, batch_size: int = BATCH) -> None:
        self._source = data if isinstance(data, Source | Stream) else in_order(data, batch_size)
        self._learner, self._beside = learner, Beside()
        self._checked: Stream | None = None
        if isinstance(self._source, Source):
            self._order = self._source.order(0)

    def __call__(self, state: State, key: Key | None = None) -> Metrics:
        """The metrics of all the data for a state, on the device; ``key`` as in :func:`evaluate`."""
        # Steps count from 0 to the largest int32: no step's key is at this number.
        key = fold_in(state.key, np.uint32(2**32 - 1)) if key is None else key
        source = self._source
        if isinstance(source, Source):
            program = _whole(self._learner, source.take)
            return program(state, self._beside(state, self._order), jnp.int32(source.length), key)
        if self._checked is None:
            self._checked = labelled(source, self._learner, state)
        source = self._checked
        mesh, totals, number = mesh_of(state), None, 0
        part, means = _parts(self._learner, next_of if mesh else taken(source))
        with contextlib.closing(Chunks(source, 0, 0, capacity(source), mesh)) as chunks:
            for arrays, _, count in chunks:
                batches = self._beside(state, arrays)
                totals = part(state, batches, jnp.int32(count), key, jnp.int32(number), totals)
                number += count
        return means(totals)


@lru_cache(maxsize=32)
def _whole(learner: Learner, take: Callable[[Tree, Any], Any]) -> Callable[..., Metrics]:
    """Weighted means over an epoch's batches, as one program."""

    def measure(state: State, order: Tree, length: Array, key: Key) -> Metrics:
        return _means(_sums(learner, take)(state, order, length, key, 0, None))

    return jit(measure)


@lru_cache(maxsize=32)
def _parts(learner: Learner, take: Callable[[Tree, Any], Any]) -> tuple[Callable[..., Metrics], Callable[..., Metrics]]:
    """The same for a stream: a program for the sums of a chunk, and one for the means of all."""
    return jit(_sums(learner, take)), jit(_means)


def _means(totals: Metrics) -> Metrics:
    weight = totals.pop("weight")
    # Where nothing counts nothing was measured, as in a history; 0 would be the best of losses.
    some, divisor = weight != 0, jnp.where(weight == 0, 1, weight)
    return {**{name: jnp.where(some, value / divisor, jnp.nan) for name, value in totals.items()}, "weight": weight}


def _sums(learner: Learner, take: Callable[[Tree, Any], Any]) -> Callable[..., Metrics]:
    """Weighted sums over batches, the first of which has a number in the epoch; they go on from those before."""

    def part(state: State, order: Tree, length: Array, key: Key, number: Any, totals: Metrics | None) -> Metrics:
        def one(i: Any) -> Metrics:
            metrics = learner.evaluate(state, take(order, i), fold_in(key, number + i))
            weight = metrics.pop("weight")
            return {
                **{name: jnp.where(weight == 0, 0, value * weight) for name, value in metrics.items()},
                "weight": weight,
            }

        if totals is None:
            like = jax.eval_shape(one, jnp.int32(0))
            totals = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        return jax.lax.fori_loop(0, length, lambda i, totals: jax.tree.map(jnp.add, totals, one(i)), totals)

    return part


def rehearse(learner: Learner, state: State, data: Any, name: str = "data") -> Metrics:
    """Traces the learner's measure over all the data, so that losses see wrong labels before anything is compiled.

    Inputs are abstract, all else is as it is.

    Args:
        learner: Whose ``evaluate`` is used.
        state: Its state, or the shapes of one.
        data: A dict of arrays, as in training. Of a source nothing is looked at.
        name: What the caller calls the argument.

    Returns:
        The shapes of the metrics; of a source ``{}``.

    Raises:
        TypeError: Labels of the wrong kind.
        ValueError: Labels outside the classes, shapes that do not match, or a field that is missing.
    """
    if not isinstance(data, Mapping):
        return {}

    def shape(array: Any) -> jax.ShapeDtypeStruct:
        # In the dtype that JAX will make of it: NumPy's float64 is float32 in most programs.
        return jax.ShapeDtypeStruct(array.shape, jax.dtypes.canonicalize_dtype(array.dtype))

    inputs = {"x": jax.tree.map(shape, data["x"])} if "x" in data else {}
    try:
        return jax.eval_shape(
            lambda state, inputs: learner.evaluate(state, {**data, **inputs}, state.key), state, inputs
        )
    except KeyError as error:
        raise missing(name, data, error) from error
    except (TypeError, ValueError) as error:
        error.add_note(f"(found in the argument {name!r}, before compiling)")
        raise


def missing(name: str, data: Any, error: KeyError) -> Exception:
    """What to raise where a learner looked up a field that the data lack: a sentence that names both."""
    if not isinstance(data, Mapping):
        return error
    # Our losses say in words what they miss; a plain look-up says the name alone.
    said = str(error.args[0])
    if " " in said:
        return ValueError(f"{name}: {said}")
    return ValueError(f"{name}: the learner reads the field {said!r}, and there are only {sorted(data)}")


def evaluate(
    learner: Learner, state: State, data: Any, *, key: Key | None = None, batch_size: int = BATCH
) -> dict[str, Any]:
    """The learner's metrics over data: exact weighted means, whatever the batch size.

    Args:
        learner: What was trained.
        state: Its state; unchanged, and so are batch statistics.
        data: A dict of arrays, as in training, or a source (one epoch of it).
        key: For methods whose measure is random (a diffusion model's loss); ``None`` derives one from the state that no
            step uses.
        batch_size: Examples that go through the model at once.

    Returns:
        The metrics by name, ``loss`` and ``weight`` among them: numbers, and of a population arrays ``[lanes]``. Where
        no example counts they are nan, at a ``weight`` of 0.

    Raises:
        TypeError: Before anything is compiled: no learner or state; data that are no dict of arrays of numbers; labels
            of the wrong kind.
        ValueError: Likewise: data that are empty, ragged or not finite, have negative weights, or lack a field; labels
            outside the classes; inputs that do not fit the parameters (see :func:`predict`); the state of a population
            for a single learner, or the other way round.
    """
    check_learner(learner, state)
    evaluation = Evaluation(learner, data, batch_size)
    try:
        rehearse(learner, state, data)
        measured = fetched(evaluation(state, key))
    except (TypeError, ValueError):
        _check_lanes(learner, state, data)
        raise
    return {name: plain(value) for name, value in measured.items()}


def _check_lanes(learner: Learner, state: State, data: Any) -> None:
    """Whether what has failed was the state of a population in place of a single one, or the other way round."""
    try:
        batch = example(data) if isinstance(data, Source | Stream) else data
        like = jax.eval_shape(learner.init, jax.random.key(0), batch)
    except Exception:
        return  # inputs alone need not be enough for it; what has failed tells itself
    check_lanes(like, state)


def plain(value: np.ndarray) -> Any:
    """A number of Python, or of a population an array ``[lanes]``."""
    return float(value) if np.ndim(value) == 0 else np.asarray(value)


def predict(learner: Learner, state: State, x: Any, *, batch_size: int = BATCH) -> Any:
    """The model's output for inputs of any number.

    Inputs are held against the parameters, not against the examples of the training, which a state does not keep. A
    model that flattens (:class:`stepax.nn.MLP`, and :class:`stepax.nn.CNN` after its convolutions) takes any shape that
    gives as many features; a model over time or space may take any length or size.

    Args:
        learner: What was trained.
        state: Its state.
        x: Inputs, ``[n, …]``, or a tree of them.
        batch_size: Inputs that go through the model at once.

    Returns:
        The output, ``[n, …]``, as NumPy arrays; of a population ``[n, lanes, …]``.

    Raises:
        TypeError: No learner or state; inputs that are no arrays of numbers, or a dict where the model takes an array.
        ValueError: Inputs that are empty, not finite, or do not fit the parameters; a state as in :func:`evaluate`.
    """
    check_learner(learner, state)
    check(x, "x")
    check_count("batch_size", batch_size)
    count = jax.tree.leaves(x)[0].shape[0]
    # A power of two at most: any number of inputs shares a few programs.
    size = min(batch_size, 1 << (count - 1).bit_length())
    program = _predictor(learner)

    def batch(first: int) -> Any:
        rows = np.minimum(np.arange(first, first + size), count - 1)
        return jax.tree.map(lambda leaf: leaf[rows], x)

    try:
        outputs = [fetched(program(state, batch(first))) for first in range(0, count, size)]
    except (AttributeError, TypeError, ValueError) as error:
        _check_lanes(learner, state, {"x": x})
        if isinstance(error, ValueError) or not (isinstance(x, Mapping) and "x" in x):
            raise
        raise TypeError(f'x: the model cannot take a dict with {sorted(x)}; of data pass data["x"] alone') from error
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *outputs)


@lru_cache(maxsize=32)
def _predictor(learner: Learner) -> Callable[[State, Any], Any]:
    return jit(learner.predict)
