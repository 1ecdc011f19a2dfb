"""Every transformation around every other, over learners of several kinds."""

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.transforms.learners import (
    batch_of,
    close,
    in_default_precision,
    normalized,
    reader,
    self_taught,
    texts_of,
    two_networks,
)

import stepax as sx
from stepax.transforms.trim import trim

LANES = 2
MESH = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

# None of them, as it is set here, is to change where a training goes.
TRANSFORMATIONS = {
    "accumulate": lambda learner: sx.accumulate(learner, 2),
    "average": lambda learner: sx.average(learner, 0.9),
    "guard": sx.guard,
    "population": lambda learner: sx.population(learner, LANES),
    "precise": lambda learner: sx.precise(learner, jnp.float32),
    "shard": lambda learner: sx.shard(learner, MESH),
    "sweep": lambda learner: sx.sweep(lambda unused: learner, unused=[1.0] * LANES),
    "trim": lambda learner: trim(learner, (2, 4, 6)),
    "watch": sx.watch,
}
LEARNERS = {
    "batch normalisation": (normalized, batch_of(6)),
    "two networks": (two_networks, batch_of(6)),
    "its own data": (self_taught, None),
    "texts": (reader, texts_of(3, 1, 2, 2, 1, 0, time=6)),
}
LANED = {"population", "sweep"}
PAIRS = [*itertools.permutations(TRANSFORMATIONS, 2), ("population",) * 2]


def kind(outer, inner):
    """Which learner a pair is tried with: each transformation, outside and inside, meets every one."""
    if "trim" in (outer, inner):
        return "texts"  # what is trimmed are texts, and what are no texts is refused
    places = [list(TRANSFORMATIONS).index(name) for name in (outer, inner)]
    return [name for name in LEARNERS if name != "texts"][sum(places) % 3]


CASES = [(*pair, kind(*pair)) for pair in PAIRS]


def first_lane(state):
    """The single model that came of the first key."""
    while state.key.shape:
        state = sx.lane(state, 0)
    return state


def trained(learner, data):
    """All that a learner does: two steps, and its use before and after."""

    def run(key, data, x):
        before = learner.init(key, data)
        state, _ = learner.step(before, data)
        state, metrics = learner.step(state, data)
        return before, state, metrics, learner.evaluate(state, data, key.reshape(-1)[0]), learner.predict(state, x)

    x = np.zeros((4, 3), np.float32) if data is None else np.zeros_like(data["x"][:4])
    return lambda key: run(key, data, x)  # without jit: compiling would take most of the time


@cache
def alone(name):
    make, data = LEARNERS[name]
    return trained(make(), data)


@pytest.mark.parametrize(("outer", "inner", "name"), CASES)
def test_both_together_train_as_neither(outer, inner, name):
    make, data = LEARNERS[name]
    key = jax.random.key(0)
    before, state, metrics, measured, output = trained(TRANSFORMATIONS[outer](TRANSFORMATIONS[inner](make())), data)(
        key
    )
    for transformation in (outer, inner):
        key = jax.random.split(key, LANES)[0] if transformation in LANED else key
    start, single, expected, _, _ = alone(name)(key)
    close(first_lane(before).params, start.params, 0)
    assert jax.eval_shape(lambda s: s, state) == jax.eval_shape(lambda s: s, before)
    assert set(state.extra) == {"average", "guard", "sweep"} & {outer, inner}
    lanes = (LANES,) * sum(transformation in LANED for transformation in (outer, inner))
    assert {jnp.shape(value) for value in (*metrics.values(), *measured.values())} == {lanes}
    assert output.shape[: 1 + len(lanes)] == (4, *lanes)
    # Parts of a batch have statistics, and noise, of their own.
    if "accumulate" not in (outer, inner) or name in ("its own data", "texts"):
        close(first_lane(state).params, single.params, 1e-4)
        np.testing.assert_allclose(np.ravel(metrics["loss"])[0], expected["loss"], 1e-4)


@pytest.mark.parametrize("name", ["average", "guard", "sweep"])
def test_a_name_that_is_taken_is_refused(name):
    twice = TRANSFORMATIONS[name](TRANSFORMATIONS[name](normalized()))
    with pytest.raises(ValueError, match=f"{name}: the learner keeps something under this name"):
        twice.init(jax.random.key(0), batch_of(6))


@pytest.mark.parametrize("outside", ["average", "guard", "watch", "precise"])
def test_around_a_population_is_as_inside_of_it(outside, x64):
    transform, many = TRANSFORMATIONS[outside], TRANSFORMATIONS["population"]
    states, data = [], batch_of(6)
    for learner in (transform(many(normalized())), many(transform(normalized()))):
        state = in_default_precision(jax.jit(learner.init)(jax.random.key(0), data))
        for _ in range(3):
            state, metrics = jax.jit(learner.step)(state, data)
        states.append((state, metrics, learner.evaluate(state, data, jax.random.key(1))))
    tolerance = 1e-6 if outside == "precise" else 1e-12  # it makes products in float32
    close(states[0], states[1], tolerance)


def test_around_a_population_guard_takes_back_one_lane_alone():
    learner = sx.guard(sx.population(normalized(), 2, lanes_of_data=True))
    data = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), batch_of(6))
    data["x"][1] = np.nan
    state = learner.init(jax.random.key(0), data)
    after, metrics = jax.jit(learner.step)(state, data)
    assert after.extra["guard"]["skipped"].tolist() == [0, 1]
    assert metrics["weight"].tolist() == [6, 0]
    kernels = after.params["head"]["kernel"], state.params["head"]["kernel"]
    assert [bool((kernels[0][k] == kernels[1][k]).all()) for k in (0, 1)] == [False, True]
