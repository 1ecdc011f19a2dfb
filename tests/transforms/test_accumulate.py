"""Gradients of parts, added up, against the gradient of the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.transforms.learners import batch_of, close, cnn, mlp, start

import stepax as sx
from stepax.transforms.accumulate import accumulate


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
@pytest.mark.parametrize("weight", [None, np.float32([1, 0, 2, 1, 0, 3])], ids=["plain", "weighted"])
def test_equals_the_large_batch(parts, weight, x64):
    learner, data = mlp(), batch_of(6)
    if weight is not None:
        data["weight"] = weight
    state = start(learner, data)
    (ours, measured), (whole, expected) = (
        jax.jit(each.step)(state, data) for each in (accumulate(learner, parts), learner)
    )
    close(ours, whole, 1e-12)
    close(measured, expected, 1e-12)


def test_a_part_without_weight_moves_nothing(x64):
    learner, data = mlp(), batch_of(4)
    # Every second row is one part; the second part has no weight, and values that are not finite.
    data["weight"] = np.float32([1, 0, 1, 0])
    data["x"][1] = np.inf
    alone = jax.tree.map(lambda a: a[::2], data)
    state = start(learner, alone)
    close(jax.jit(accumulate(learner, 2).step)(state, data), jax.jit(learner.step)(state, alone), 1e-12)


def test_statistics_move_once_a_part_and_are_those_of_each(x64):
    learner, data = cnn(), batch_of(4, (6, 6, 1))
    state = start(learner, data)
    ours, _ = jax.jit(accumulate(learner, 2).step)(state, data)
    by_hand = state
    for part in (slice(0, None, 2), slice(1, None, 2)):
        rows = jax.tree.map(lambda a, part=part: a[part], data)
        after, _ = learner.step(by_hand._replace(params=state.params), rows)
        by_hand = by_hand._replace(variables=after.variables)
    close(ours.variables, by_hand.variables, 1e-12)


def test_dropout_draws_for_each_part():
    keys = []

    def gradient(objective, params, variables, batch, key):
        jax.debug.callback(lambda data: keys.append(tuple(np.ravel(data).tolist())), jax.random.key_data(key))
        return sx.gradient(objective, params, variables, batch, key)

    data = batch_of(6)
    accumulate(mlp(dropout=0.5), 3).step(start(mlp(), data), data, gradient)
    jax.effects_barrier()
    assert len(set(keys)) == 3


def test_memory_is_that_of_a_part():
    learner, data = mlp((512, 512)), batch_of(4096)
    state = start(learner, data)
    whole, parts = (
        jax.jit(each.step).lower(state, data).compile().memory_analysis().temp_size_in_bytes
        for each in (learner, accumulate(learner, 16))
    )
    assert parts < whole / 2


def test_trains_with_batch_normalisation_from_a_shuffled_source():
    learner = accumulate(cnn(), 2)
    run = sx.fit(learner, batch_of(8, (6, 6, 1)), key=jax.random.key(0), epochs=2, batch_size=4, progress=False)
    assert np.isfinite(run.history["loss"]).all()


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [(0, ValueError, "parts: expected at least 1, got 0"), (2.0, TypeError, "parts: expected a whole number")],
)
def test_bad_counts_are_refused(parts, error, message):
    with pytest.raises(error, match=message):
        accumulate(mlp(), parts)


def test_a_batch_that_cannot_be_cut_is_refused():
    data = batch_of(6)
    state = start(mlp(), data)
    with pytest.raises(ValueError, match="parts: 4 parts do not divide a batch of 6 rows"):
        accumulate(mlp(), 4).step(state, data)


def test_a_learner_that_makes_its_own_data_is_refused():
    def step(state, batch, gradient):
        return gradient(lambda *_: (jnp.ones(1), ({}, {})), state.params, {}, batch, state.key)

    state = start(mlp(), batch_of(6))
    with pytest.raises(ValueError, match="batch: accumulate needs one with a leading axis"):
        accumulate(mlp()._replace(step=step), 2).step(state, None)
