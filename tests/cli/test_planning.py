import pathlib
from dataclasses import replace

import numpy as np
import pytest

from stepax.cli.options import parse
from stepax.cli.planning import held_out, plan, read


def planned(text):
    wanted = parse(["train", *text.split()])
    dataset, subject = read(wanted.data)
    return plan(wanted, subject, dataset.train), dataset


def test_the_default_job():
    made, dataset = planned("")
    assert (made.subject.kind, made.subject.shape, made.network.model) == ("classes", (8, 8, 1), "cnn")
    assert (made.network.outputs, made.network.loss, made.network.standardize) == (10, "cross-entropy", False)
    course = made.course
    assert (course.optimizer, course.rate, course.schedule, course.batch_size) == ("adam", 0.003, "cosine", 64)
    train, validation = held_out(made, dataset.train)
    assert (len(train["y"]), len(validation["y"]), course.steps) == (1293, 144, 30 * 21)


@pytest.mark.parametrize(
    ("text", "model", "loss", "outputs", "standardize"),
    [
        ("--data iris", "mlp", "cross-entropy", 3, True),
        ("--data breast_cancer", "mlp", "binary-cross-entropy", 1, True),
        ("--data breast_cancer --loss cross-entropy", "mlp", "cross-entropy", 2, True),
        ("--data diabetes", "mlp", "mean-squared-error", 1, True),
        ("--data gates", "mlp", "binary-cross-entropy", 4, True),
        ("--data and --model perceptron", "perceptron", None, 1, False),
        ("--data gates --model perceptron", "perceptron", None, 4, False),
        ("--model mlp --standardize yes", "mlp", "cross-entropy", 10, True),
    ],
)
def test_what_is_left_open_follows_the_data(text, model, loss, outputs, standardize):
    network = planned(text)[0].network
    assert (network.model, network.loss, network.outputs, network.standardize) == (model, loss, outputs, standardize)


def test_the_targets_of_a_regression_are_scaled_by_the_rows_that_are_learnt_from():
    made, dataset = planned("--data diabetes --seed 3")
    train, _ = held_out(made, dataset.train)
    np.testing.assert_allclose(made.network.target_scaling, (train["y"].mean(), train["y"].std()), rtol=1e-5)
    assert planned("--data diabetes --standardize no")[0].network.target_scaling is None


def test_held_out_rows_are_stratified_seeded_and_disjoint():
    made, dataset = planned("--validation 0.2 --seed 1")
    train, validation = held_out(made, dataset.train)
    again = held_out(made, dataset.train)[1]
    other = held_out(replace(made, course=replace(made.course, seed=2)), dataset.train)[1]
    np.testing.assert_array_equal(validation["x"], again["x"])
    assert not np.array_equal(validation["x"], other["x"])
    shares = np.bincount(validation["y"]) / np.bincount(dataset.train["y"])
    np.testing.assert_allclose(shares, 0.2, atol=0.01)
    assert len(train["y"]) + len(validation["y"]) == len(dataset.train["y"])


def test_few_rows_are_not_held_out_by_default_and_all_of_them_may_be_one_batch():
    made, dataset = planned("--data xor --batch-size full")
    assert held_out(made, dataset.train) == (dataset.train, None)
    assert (made.course.batch_size, made.course.steps) == (None, made.course.epochs)


def test_a_path_is_kept_so_that_the_run_can_be_read_from_elsewhere(prices, monkeypatch):
    monkeypatch.chdir(prices.parent)
    _, subject = read(parse(["train", "--data", "prices.csv", "--target", "price"]).data)
    assert pathlib.Path(subject.data) == prices.resolve()
    assert (subject.reading, subject.columns) == ({"target": "price"}, ("size", "age"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--data minst", "did you mean 'mnist'"),
        ("--model cn", "did you mean 'cnn'"),
        ("--optimizer adm", "did you mean 'adam'"),
        ("--data iris --model cnn", "--model cnn is for images"),
        ("--model mlp --features 3", "--features does not apply to --model mlp, which has --dense"),
        ("--optimizer adam --momentum 0.9", "--momentum does not apply to --optimizer adam"),
        ("--data iris --model perceptron", "two classes apart, and iris has 3 classes"),
        ("--data diabetes --model perceptron", "two classes apart, and diabetes has numbers"),
        ("--data and --model perceptron --optimizer sgd", "--optimizer does not apply to --model perceptron"),
        ("--data and --model perceptron --loss hinge", "--loss does not apply to --model perceptron"),
        ("--data and --model perceptron --standardize yes", "--standardize yes does not apply"),
        ("--data and --model perceptron --class-weights", "--class-weights does not apply to --model perceptron"),
        ("--data and --model perceptron --learning-rate 0", "--learning-rate"),
        ("--data diabetes --loss cross-entropy", "is not for numbers; there are mean-squared-error"),
        ("--epochs 0", "--epochs: expected at least 1"),
        ("--batch-size -2", "--batch-size: expected at least 1"),
        ("--validation 1", "--validation"),
        ("--validation 0.001", "--validation 0.001 cannot be held out of 1437 rows"),
        ("--validation 0 --patience 3", "patience"),
        ("--patience 0", "patience"),
        ("--learning-rate -1", "--learning-rate"),
        ("--schedule cosin", "did you mean 'cosine'"),
        ("--target y", "--target does not apply to the built-in data set digits; did you forget --data FILE.csv"),
        ("--size 3 4", "--size does not apply to the built-in data set digits; did you forget --data FOLDER"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason(text, message):
    with pytest.raises(ValueError, match=message):
        planned(text)
