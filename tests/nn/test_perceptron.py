"""Rosenblatt's rule by hand, by a loop in NumPy, and by Novikoff's bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stepax as sx

KEY = jax.random.key(0)


def start(learner, x, y):
    return learner.init(KEY, {"x": x, "y": y})


def numpy_rule(x, y, rate=1.0, weight=None):
    """One pass over the rows: weights, biases, and the wrong answers of each row and unit."""
    y = y.reshape(len(x), -1)
    w, b, wrong = np.zeros((x.shape[1], y.shape[1])), np.zeros(y.shape[1]), []
    for i in range(len(x)):
        error = y[i] - (x[i] @ w + b > 0)
        if weight is not None and weight[i] == 0:
            error = 0 * error
        w, b = w + rate * np.outer(x[i], error), b + rate * error
        wrong.append(np.abs(error))
    return w, b, np.array(wrong)


def test_the_rule_by_hand():
    # OR: (0,0) is right; (0,1) is wrong, w = (0,1), b = 1; (1,0) is right by its bias; (1,1) is right.
    x, y = np.float32([[0, 0], [0, 1], [1, 0], [1, 1]]), np.int32([0, 1, 1, 1])
    learner = sx.nn.rosenblatt(sx.nn.Perceptron())
    state, metrics = learner.step(start(learner, x, y), {"x": x, "y": y})
    np.testing.assert_array_equal(state.params["kernel"], [[0], [1]])
    np.testing.assert_array_equal(state.params["bias"], [1])
    assert metrics == {"loss": 0.25, "weight": 4}
    # Second pass: (0,0) is wrong now, b = 0; (0,1) is right; (1,0) is wrong, w = (1,1), b = 1; (1,1) is right.
    state, metrics = learner.step(state, {"x": x, "y": y})
    np.testing.assert_array_equal(state.params["kernel"], [[1], [1]])
    np.testing.assert_array_equal(state.params["bias"], [1])
    assert metrics["loss"] == 0.5
    assert state.step == 2
    assert learner.evaluate(state, {"x": x, "y": y}, KEY)["loss"] == 0.25
    np.testing.assert_array_equal(learner.predict(state, x), [[1], [1], [1], [1]])


def test_the_unit_starts_at_zero_and_answers_no_on_its_threshold():
    params, _ = sx.as_model(sx.nn.Perceptron(2)).init(KEY, np.ones((1, 2, 2), np.float32))
    assert jax.tree.map(jnp.shape, params) == {"kernel": (4, 2), "bias": (2,)}
    output = sx.nn.Perceptron(2).apply({"params": params}, np.ones((3, 2, 2), np.float32))
    np.testing.assert_array_equal(output, np.zeros((3, 2)))
    assert output.dtype == np.float32


steps = jax.jit(sx.nn.rosenblatt(sx.nn.Perceptron()).step)
ROWS = 12


@given(st.integers(0, 10**6), st.floats(0.05, 0.4))
@settings(max_examples=25, deadline=None)
def test_novikoffs_bound_on_data_that_a_unit_separates(seed, margin):
    """With the bias as a weight of a constant input: R² counts it, and so does the margin."""
    random = np.random.default_rng(seed)
    direction = random.normal(size=3)
    direction /= np.linalg.norm(direction)
    x = random.uniform(-1, 1, (ROWS, 2))
    distance = np.c_[x, np.ones(ROWS)] @ direction
    keep = np.abs(distance) > margin
    if not keep.any():
        return
    # All batches have one shape: rows that are too near repeat one that is not.
    rows = np.where(keep, np.arange(ROWS), np.flatnonzero(keep)[0])
    x, y = x[rows].astype(np.float32), (distance[rows] > 0).astype(np.int32)
    bound = (np.linalg.norm(np.c_[x, np.ones(ROWS)], axis=1).max() / np.abs(distance[keep]).min()) ** 2
    learner = sx.nn.rosenblatt(sx.nn.Perceptron())
    state, mistakes, before = start(learner, x, y), 0, -1
    while mistakes != before:
        state, metrics = steps(state, {"x": x, "y": y})
        before, mistakes = mistakes, mistakes + round(float(metrics["loss"]) * ROWS)
        assert mistakes <= bound
    np.testing.assert_array_equal(learner.predict(state, x)[:, 0], y)


@pytest.mark.parametrize("units", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_a_plain_loop(units, weighted):
    random = np.random.default_rng(units)
    # Few digits: all sums are exact, and so is every threshold.
    x = random.integers(-8, 9, (15, 4)).astype(np.float32) / 4
    y = random.integers(0, 2, (15, units) if units > 1 else 15)
    batch = {"x": x, "y": y}
    if weighted:
        batch["weight"] = random.integers(0, 3, 15).astype(np.float32)
    learner = sx.nn.rosenblatt(sx.nn.Perceptron(units), rate=0.5)
    state, metrics = jax.jit(learner.step)(start(learner, x, y), batch)
    w, b, wrong = numpy_rule(x, y, 0.5, batch.get("weight"))
    np.testing.assert_array_equal(state.params["kernel"], w)
    np.testing.assert_array_equal(state.params["bias"], b)
    expected = np.average(wrong.mean(1), weights=batch.get("weight"))
    assert float(metrics["loss"]) == pytest.approx(expected)
    assert metrics["weight"] == (batch["weight"].sum() if weighted else 15)


def test_the_rate_scales_weights_and_changes_no_answer():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(9, 2)).astype(np.float32), random.integers(0, 2, 9)
    results = []
    for rate in (1.0, 4.0):
        learner = sx.nn.rosenblatt(sx.nn.Perceptron(), rate)
        state, metrics = learner.step(start(learner, x, y), {"x": x, "y": y})
        results.append((np.asarray(state.params["kernel"]), metrics["loss"]))
    np.testing.assert_array_equal(4 * results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def test_one_unit_takes_targets_with_and_without_an_axis():
    x = np.float32([[1, 2], [3, -1]])
    learner = sx.nn.rosenblatt(sx.nn.Perceptron())
    for y in (np.int32([1, 0]), np.int32([[1], [0]])):
        state, _ = learner.step(start(learner, x, y), {"x": x, "y": y})
        np.testing.assert_array_equal(state.params["kernel"], [[-2], [3]])


@pytest.mark.parametrize(("units", "shape"), [(2, (3,)), (2, (3, 1)), (1, (3, 2))])
def test_targets_for_another_number_of_units_are_refused(units, shape):
    x, learner = np.ones((3, 2), np.float32), sx.nn.rosenblatt(sx.nn.Perceptron(units))
    state = start(learner, x, np.zeros(shape))
    with pytest.raises(ValueError, match=rf"y: expected 0 or 1 for each of {units} units"):
        learner.step(state, {"x": x, "y": np.zeros(shape)})


def test_other_labels_than_0_and_1_are_refused():
    x, y = np.ones((3, 2), np.float32), np.int32([1, -1, 1])
    learner = sx.nn.rosenblatt(sx.nn.Perceptron())
    with pytest.raises(ValueError, match=r"y: .*-1"):
        sx.fit(learner, {"x": x, "y": y}, key=KEY, epochs=1, batch_size=3, progress=False)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, bool, jnp.bfloat16])
def test_the_rule_counts_in_float32_whatever_the_inputs(dtype):
    x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.int32([0, 1, 1, 1])
    learner = sx.nn.rosenblatt(sx.nn.Perceptron())
    expected, _ = learner.step(start(learner, x.astype(np.float32), y), {"x": x.astype(np.float32), "y": y})
    state, metrics = learner.step(start(learner, x.astype(dtype), y), {"x": x.astype(dtype), "y": y})
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.float32)}
    assert metrics == {"loss": 0.25, "weight": 4}
    np.testing.assert_array_equal(state.params["kernel"], expected.params["kernel"])
    assert learner.predict(state, x.astype(dtype)).dtype == jnp.float32


def test_another_input_shape_is_an_error_about_x():
    learner = sx.nn.rosenblatt(sx.nn.Perceptron())
    state = start(learner, np.ones((3, 2), np.float32), np.zeros(3))
    with pytest.raises(ValueError, match=r"x: examples of shape \(5,\) do not fit"):
        learner.predict(state, np.ones((3, 5), np.float32))


@pytest.mark.parametrize(
    ("features", "x", "error", "message"),
    [
        (0, np.ones((2, 3)), ValueError, "features: expected at least 1, got 0"),
        (1.0, np.ones((2, 3)), TypeError, "features: expected a whole number"),
        (1, np.float32(1), ValueError, "x: expected the shape .*, got a scalar"),
    ],
)
def test_what_makes_no_unit_is_named(features, x, error, message):
    with pytest.raises(error, match=message):
        sx.nn.Perceptron(features).init(KEY, x)


def test_the_rule_is_for_threshold_units_alone():
    with pytest.raises(TypeError, match=r"model: expected a stepax\.nn\.Perceptron, got MLP"):
        sx.nn.rosenblatt(sx.nn.MLP((1,)))


def test_an_empty_batch():
    learner = sx.nn.rosenblatt(sx.nn.Perceptron())
    x, y = np.ones((2, 2, 3), np.float32), np.zeros(2, np.int32)
    state = start(learner, x, y)
    assert learner.predict(state, x[:0]).shape == (0, 1)
    after, _ = learner.step(state, {"x": x[:0], "y": y[:0]})
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
