"""Lanes against single runs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.transforms.learners import batch_of, close, cnn, mlp

import stepax as sx
from stepax.transforms.accumulate import accumulate
from stepax.transforms.average import average
from stepax.transforms.guard import guard
from stepax.transforms.population import population
from stepax.transforms.watch import watch

INSIDE = {
    "plain": lambda learner: learner,
    "accumulate": lambda learner: accumulate(learner, 2),
    "average": lambda learner: average(learner, 0.9),
    "guard": guard,
    "watch": watch,
}


def double(tree):
    return jax.tree.map(lambda a: a.astype(float) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


def lane(tree, k):
    """Of a population's state, metrics or output ``[lanes, …]``."""
    if isinstance(tree, sx.State):
        return jax.tree.map(lambda a: a[k], tree._replace(step=tree.step[None].repeat(3)))
    return jax.tree.map(lambda a: a[k], tree)


@pytest.mark.parametrize("inside", INSIDE)
def test_every_lane_is_the_run_from_its_key(inside, x64):
    learner, data = INSIDE[inside](cnn(optax.sgd(0.1))), batch_of(6, (6, 6, 1))  # Adam divides rounding by rounding
    many = population(learner, 3)
    together = double(jax.jit(many.init)(jax.random.key(0), data))
    singles = [double(jax.jit(learner.init)(key, data)) for key in jax.random.split(jax.random.key(0), 3)]
    for _ in range(3):
        together, metrics = jax.jit(many.step)(together, data)
        for k, single in enumerate(singles):
            singles[k], own = jax.jit(learner.step)(single, data)
            close(lane(metrics, k), own, 1e-9)
    measured = many.evaluate(together, data, jax.random.key(1))
    output = many.predict(together, data["x"])
    assert output.shape == (6, 3, 3)
    for k, single in enumerate(singles):
        close(lane(together, k), single, 1e-9)
        close(lane(measured, k), learner.evaluate(single, data, jax.random.key(1)), 1e-9)
        close(output[:, k], learner.predict(single, data["x"]), 1e-9)


def test_every_lane_with_data_of_its_own(x64):
    parts = [double(batch_of(4, seed=k)) for k in range(3)]
    data = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)
    many = population(mlp(), 3, lanes_of_data=True)
    together = double(many.init(jax.random.key(0), data))
    after, metrics = jax.jit(many.step)(together, data)
    for k, part in enumerate(parts):
        single, own = mlp().step(lane(together, k), part)
        close(lane(after, k), single, 1e-12)
        close(lane(metrics, k), own, 1e-12)


def test_the_count_of_steps_is_one_for_all():
    data = batch_of(6)
    many = population(mlp(), 3)
    state = many.init(jax.random.key(0), data)
    after, _ = jax.jit(many.step)(state, data)
    assert after.step.shape == ()
    assert after.step == 1
    assert after.key.shape == (3,)
    assert jax.eval_shape(lambda s: s, after) == jax.eval_shape(lambda s: s, state)


def test_lanes_differ():
    state = population(mlp(), 3).init(jax.random.key(0), batch_of(6))
    kernels = np.asarray(state.params["head"]["kernel"])
    assert len({kernel.tobytes() for kernel in kernels}) == 3


def test_predict_gives_one_row_per_input():
    data = batch_of(7)
    many = population(mlp(), 3)
    state = many.init(jax.random.key(0), data)
    output = sx.predict(many, state, data["x"], batch_size=4)
    assert output.shape == (7, 3, 3)
    np.testing.assert_allclose(output, many.predict(state, data["x"]), 1e-5, 1e-6)


def test_a_bad_lane_is_taken_back_alone():
    learner = population(guard(mlp(optimizer=optax.sgd(0.1))), 2, lanes_of_data=True)
    good = batch_of(4)
    data = jax.tree.map(lambda a: np.stack([a, a]), good)
    data["x"][1] = np.nan
    state = learner.init(jax.random.key(0), data)
    after, metrics = jax.jit(learner.step)(state, data)
    assert after.extra["guard"]["skipped"].tolist() == [0, 1]
    assert metrics["weight"].tolist() == [4, 0]
    assert not (after.params["head"]["kernel"][0] == state.params["head"]["kernel"][0]).all()
    assert (after.params["head"]["kernel"][1] == state.params["head"]["kernel"][1]).all()


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [(0, ValueError, "size: expected at least 1, got 0"), ("3", TypeError, "size: expected a whole number, got")],
)
def test_bad_sizes_are_refused(size, error, message):
    with pytest.raises(error, match=message):
        population(mlp(), size)
