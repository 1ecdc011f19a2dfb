"""Each step only as long as its batch: padding that all rows of a batch have is not computed."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from stepax.bucketing import check_lengths, reach, tokens_of
from stepax.gradient import gradient as plain
from stepax.learner import Learner, State, check_learner
from stepax.typing import Array, Gradient, Key, Metrics, Tree

__all__ = ["trim"]


def trim(learner: Learner, lengths: Sequence[int]) -> Learner:
    """The same learner, each of whose batches is cut to the least of some lengths that holds all of its tokens.

    The program has a branch for each length, and a step runs the one that its batch needs. What is cut off is padding,
    so that nothing changes but the time, up to rounding, for a model that does not see padded places; only dropout over
    places draws other numbers at another length, from the same distribution. With batches of rows of like length
    (:func:`stepax.bucketed`) most of the padding goes.

    Cut are the tokens, which are the whole numbers ``[batch, time]`` in ``x``, an array or a tree, with padding of 0 at
    the end; and every array of the batch whose first axes are ``[batch, time]`` too, such as ``y`` and ``weight`` for
    each place. Outputs of ``predict`` for each place are filled up with zeros.

    Args:
        learner: What to train.
        lengths: To which lengths batches may be cut, increasing; the last holds the longest row.

    Returns:
        A learner with the same state.

    Raises:
        TypeError: No learner, or lengths that are no whole numbers. In the first step: ``x`` are no tokens.
        ValueError: There are no lengths, one is below 1, or they do not increase. In the first step: the data are
            longer than the last one; there is no batch; there is a ``y`` for each place and no such ``weight``.
    """
    check_learner(learner)
    lengths = check_lengths(lengths)

    def step(state: State, batch: Any, gradient: Gradient = plain) -> tuple[State, Metrics]:
        return _cut_to_fit(lambda part: learner.step(state, part, gradient=gradient), batch, lengths, state)

    def evaluate(state: State, batch: Any, key: Key) -> Metrics:
        return _cut_to_fit(lambda part: learner.evaluate(state, part, key), batch, lengths, state)

    def predict(state: State, x: Any) -> Any:
        return _cut_to_fit(lambda part: learner.predict(state, part["x"]), {"x": x}, lengths, state)

    return learner._replace(step=step, evaluate=evaluate, predict=predict)


def _cut_to_fit(compute: Callable[[Any], Any], batch: Any, lengths: tuple[int, ...], state: State) -> Any:
    """``compute`` of the batch, as short as one of the lengths lets it be."""
    lanes = state.key.ndim
    longest = max(leaf.shape[-1] for leaf in tokens_of(batch, lanes))
    check_lengths(lengths, longest)
    cuts = (*(length for length in lengths if length < longest), longest)
    if len(cuts) == 1:
        return compute(batch)
    traced, whole = _parted(batch)
    like = jax.eval_shape(lambda traced: compute(whole(traced)), traced)
    needed = _largest(reach(batch, lanes))
    branches = [partial(_at, compute, length, lanes, like, whole) for length in cuts]
    return jax.lax.switch((needed > jnp.asarray(cuts[:-1])).sum(), branches, traced)


def _parted(batch: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """The traced leaves of a batch, and how it is made of them again: concrete labels stay so, to be checked."""
    leaves, structure = jax.tree.flatten(batch)
    is_traced = [isinstance(leaf, jax.core.Tracer) for leaf in leaves]

    def whole(traced: list[Any]) -> Any:
        rest = iter(traced)
        pairs = zip(leaves, is_traced, strict=True)
        return jax.tree.unflatten(structure, [next(rest) if is_one else leaf for leaf, is_one in pairs])

    return [leaf for leaf, is_one in zip(leaves, is_traced, strict=True) if is_one], whole


def _at(
    compute: Callable[[Any], Any],
    length: int,
    lanes: int,
    like: Tree,
    whole: Callable[[list[Any]], Any],
    traced: list[Any],
) -> Any:
    """One branch, whose results have the shapes of the whole."""

    def filled(leaf: Array, like: jax.ShapeDtypeStruct) -> Array:
        missing = [(0, full - size) for full, size in zip(like.shape, leaf.shape, strict=True)]
        return jnp.pad(leaf, missing) if any(after for _, after in missing) else leaf

    return jax.tree.map(filled, compute(_cut(whole(traced), length, lanes)), like)


def _cut(batch: Any, length: int, lanes: int) -> Any:
    tokens = tokens_of(batch, lanes)
    shapes, axis = [leaf.shape for leaf in tokens], tokens[0].ndim - 1

    def cut(leaf: Any) -> Any:
        if jnp.shape(leaf)[: axis + 1] not in shapes or leaf.shape[axis] <= length:
            return leaf
        if isinstance(leaf, jax.core.Tracer):
            return jax.lax.slice_in_dim(leaf, 0, length, axis=axis)
        with jax.ensure_compile_time_eval():
            return jax.lax.slice_in_dim(leaf, 0, length, axis=axis)

    return jax.tree.map(cut, batch)


@custom_vmap
def _largest(reach: Array) -> Array:
    return reach.max(initial=0)


@_largest.def_vmap
def _of_all_lanes(lanes: int, batched: Any, reach: Array) -> tuple[Array, bool]:
    # Lanes with batches of their own go on together: a branch for each would be all branches for all.
    del lanes, batched
    return _largest(reach), False
