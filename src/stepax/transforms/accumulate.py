"""Gradient accumulation: a large batch in parts, one after the other, for memory that holds only one of them."""

from typing import Any

import jax
import jax.numpy as jnp

from stepax.checks import check_count
from stepax.gradient import gradient as plain
from stepax.learner import Learner, State, check_learner
from stepax.typing import Array, Gradient, Key, Metrics, Objective, Tree

__all__ = ["accumulate"]


def accumulate(learner: Learner, parts: int) -> Learner:
    """The same learner with every gradient formed from parts of its batch, one after the other.

    Gradients and metrics are the weighted means over all parts, which are those of the whole batch up to rounding. What
    a model computes across a batch is not: batch normalisation takes the statistics of each part, and its running
    averages move once a part; dropout draws for each part by a key of its own.

    A part takes every ``parts``-th row, so that on a mesh each device has its share of every part.

    Args:
        learner: What to train.
        parts: How many there are; they divide the batch.

    Returns:
        A learner with the same state.

    Raises:
        TypeError: No learner, or ``parts`` is no whole number.
        ValueError: ``parts`` is below 1. In the first step: there is no batch, or ``parts`` does not divide it.
    """
    check_learner(learner)
    check_count("parts", parts)

    def step(state: State, batch: Any, gradient: Gradient = plain) -> tuple[State, Metrics]:
        return learner.step(state, batch, gradient=gradient if parts == 1 else _accumulated(gradient, parts))

    return learner._replace(step=step)


def _accumulated(gradient: Gradient, parts: int) -> Gradient:
    def whole(objective: Objective, params: Tree, variables: Tree, batch: Any, key: Key) -> tuple[Tree, Tree, Metrics]:
        rows = _rows(batch, parts)

        def one(i: Array, variables: Tree) -> tuple[Tree, Tree, Metrics]:
            part = jax.tree.map(
                lambda leaf: jax.lax.dynamic_index_in_dim(
                    leaf.reshape(rows // parts, parts, *leaf.shape[1:]), i, 1, keepdims=False
                ),
                batch,
            )
            return gradient(objective, params, variables, part, jax.random.fold_in(key, i))

        def terms(i: Array, variables: Tree) -> tuple[Any, Tree]:
            grads, variables, metrics = one(i, variables)
            weight = metrics.pop("weight")
            # A part without weight has a gradient of zeros, and measures that may be anything.
            weighted = jax.tree.map(lambda leaf: jnp.where(weight == 0, 0, leaf * weight), (grads, metrics))
            return (*weighted, weight), variables

        def add(i: Array, carry: Any) -> Any:
            sums, variables = carry
            own, variables = terms(i, variables)
            return jax.tree.map(jnp.add, sums, own), variables

        grads, _, metrics = jax.eval_shape(one, jnp.int32(0), variables)
        metrics.pop("weight")
        like, _ = jax.eval_shape(terms, jnp.int32(0), variables)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        (*sums, weight), variables = jax.lax.fori_loop(0, parts, add, (zeros, variables))
        total = jnp.where(weight == 0, 1, weight)
        grads, metrics = jax.tree.map(lambda sum, like: (sum / total).astype(like.dtype), tuple(sums), (grads, metrics))
        return grads, variables, {**metrics, "weight": weight}

    return whole


def _rows(batch: Any, parts: int) -> int:
    """How many rows a batch has, if that many parts divide them."""
    counts = {leaf.shape[0] for leaf in jax.tree.leaves(batch) if jnp.ndim(leaf)}
    if len(counts) != 1:
        raise ValueError(f"batch: accumulate needs one with a leading axis of rows, got row counts {sorted(counts)}")
    (rows,) = counts
    if rows % parts:
        raise ValueError(f"parts: {parts} parts do not divide a batch of {rows} rows")
    return rows
