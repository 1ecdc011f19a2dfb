import jax
import numpy as np
import pytest

import stepax as sx
from stepax.cli.learners import build, input_scaling, like, target_scaling
from stepax.cli.options import parse
from stepax.cli.planning import plan, read


def prepared(text):
    wanted = parse(["train", *text.split()])
    dataset, subject = read(wanted.data)
    return plan(wanted, subject, dataset.train), dataset.train


def begun(made, rows):
    built = build(made, input_scaling(made, rows["x"]))
    return built, jax.jit(built.learner.init)(jax.random.key(0), rows)


@pytest.mark.parametrize(
    "text",
    ["--features 2 --dense 3", "--data gates --model perceptron", "--data diabetes", "--data gates --loss hinge"],
)
def test_the_like_of_a_plan_has_the_structure_of_its_state(text):
    made, rows = prepared(text)
    _, state = begun(made, rows)
    empty = like(made, build(made))
    assert jax.tree.structure(empty) == jax.tree.structure(state)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), empty) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), state
    )


def test_tables_are_standardized_column_by_column_and_images_by_channel():
    made, rows = prepared("--data diabetes")
    np.testing.assert_allclose(input_scaling(made, rows["x"]).mean, rows["x"].mean(axis=0), rtol=1e-5)
    made, rows = prepared("--standardize yes")
    scaling = input_scaling(made, rows["x"])
    assert scaling.mean.shape == (8, 8, 1)
    np.testing.assert_allclose(scaling.apply(rows["x"]).std(), 1, rtol=1e-4)
    assert input_scaling(prepared("")[0], rows["x"]) is None


def test_a_regression_answers_in_raw_units_and_its_loss_has_none():
    made, rows = prepared("--data diabetes --model linear")
    built, state = begun(made, rows)
    mean, scale = target_scaling(made)
    zero = state._replace(params=jax.tree.map(np.zeros_like, state.params))
    np.testing.assert_allclose(sx.predict(built.learner, zero, rows["x"]), np.full((len(rows["x"]), 1), mean))
    measured = sx.evaluate(built.learner, zero, rows)
    assert measured["loss"] == pytest.approx(np.mean(np.square((rows["y"] - mean) / scale)), rel=1e-4)
    assert measured["mean_absolute_error"] == pytest.approx(np.abs(rows["y"] - mean).mean(), rel=1e-4)


@pytest.mark.parametrize(
    ("text", "metric"), [("", "accuracy"), ("--data gates", "accuracy"), ("--data diabetes", "mean_absolute_error")]
)
def test_training_reports_the_measure_of_its_kind_and_the_rate(text, metric):
    made, rows = prepared(text)
    built, state = begun(made, rows)
    batch = {name: values[:4] for name, values in rows.items()}
    _, metrics = jax.eval_shape(built.learner.step, state, batch)
    assert {metric, "loss", "learning_rate"} <= set(metrics)
