import json

import numpy as np
import pytest

import stepax as sx


def test_the_table_has_the_measures_of_every_class(call, iris_run):
    done = call("evaluate", iris_run)
    assert done.status == 0
    for shown in ("test rows of iris", "accuracy", "macro F1", "setosa", "versicolor", "virginica", "examples"):
        assert shown in done.out


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_run_that_has_diverged_is_measured_with_a_warning(call, diverged_run, form):
    done = call("evaluate", diverged_run, *form)
    assert done.status == 0
    assert "nan" in done.out
    assert done.err == "warning: for 30 of 30 rows the model has no finite answer: its training may have diverged\n"


def test_json_holds_the_numbers_of_the_record(call, iris_run):
    found = json.loads(call("evaluate", iris_run, "--json").out)
    metrics = json.loads((iris_run / "run.json").read_text())["metrics"]
    assert found["accuracy"] == pytest.approx(metrics["test/accuracy"])
    assert found["classes"]["setosa"]["examples"] == 10
    assert found["data"] == "test rows of iris"


@pytest.mark.parametrize(("part", "count"), [("train", 120), ("test", 30), ("all", 150)])
def test_the_parts_of_the_data(call, iris_run, part, count):
    assert json.loads(call("evaluate", iris_run, "--part", part, "--json").out)["examples"] == count


def iris_rows(order):
    train, _ = dataset = sx.data.load("iris")
    header = [dataset.features[i] for i in order]
    return header, train["x"][:, order], [dataset.classes[label] for label in train["y"]]


def test_other_data_are_measured_on_all_rows_by_the_names_of_columns_and_classes(call, iris_run, tmp_path):
    # The columns stand in another order, and the first class does not occur: labels cannot be compared by number.
    header, x, labels = iris_rows([3, 1, 0, 2])
    lines = [",".join([*map(str, row), label]) for row, label in zip(x, labels, strict=True) if label != "setosa"]
    (tmp_path / "mine.csv").write_text("\n".join([",".join([*header, "kind"]), *lines]))
    done = call("evaluate", iris_run, "--data", "mine.csv", "--json")
    assert done.status == 2
    assert "its target column is not known" in done.err


def test_another_table_of_a_run_on_a_table(call, prices, prices_run, tmp_path):
    header, *rows = prices.read_text().splitlines()
    swapped = [",".join(reversed(row.split(","))) for row in [header, *rows[:50]]]
    (tmp_path / "other.csv").write_text("\n".join(swapped))
    found = json.loads(call("evaluate", prices_run, "--data", "other.csv", "--json").out)
    assert found["examples"] == 50
    assert found["r_squared"] > 0.999


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size,price\n1,2\n", "other.csv has no column 'age': known are 'size', 'price'\n"),
        ("size,age,price\n1,,2\n", "other.csv, line 2: column 'age' holds '': expected a finite number\n"),
    ],
)
def test_what_another_table_lacks_is_told_without_options_of_training(call, prices_run, tmp_path, text, message):
    (tmp_path / "other.csv").write_text(text)
    done = call("evaluate", prices_run, "--data", "other.csv")
    assert (done.status, done.err) == (2, f"error: {message}")


def test_columns_that_the_training_had_not_may_be_text(call, prices, prices_run, tmp_path):
    lines = prices.read_text().splitlines()
    (tmp_path / "other.csv").write_text("\n".join(f"{'x' if i else 'city'},{line}" for i, line in enumerate(lines)))
    assert json.loads(call("evaluate", prices_run, "--data", "other.csv", "--json").out)["examples"] == 200


def test_an_archive_with_test_rows_of_its_own(call, digits_run, tmp_path):
    train, test = sx.data.load("digits")
    np.savez(
        tmp_path / "own.npz",
        x_train=train["x"][:20],
        y_train=train["y"][:20],
        x_test=test["x"][:30],
        y_test=test["y"][:30],
    )
    assert json.loads(call("evaluate", digits_run, "--data", "own.npz", "--json").out)["examples"] == 50
    done = call("evaluate", digits_run, "--data", "own.npz", "--part", "test", "--json")
    assert json.loads(done.out)["examples"] == 30


def test_labels_are_compared_by_the_names_of_classes(call, digits_run, tmp_path):
    _, test = sx.data.load("digits")
    chosen = test["y"] >= 5
    np.savez(tmp_path / "high.npz", x=test["x"][chosen], y=test["y"][chosen])
    found = json.loads(call("evaluate", digits_run, "--data", "high.npz", "--json").out)
    assert sum(row["examples"] for name, row in found["classes"].items() if int(name) >= 5) == chosen.sum()
    assert found["classes"]["0"]["examples"] == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("iris", "inputs of shape 4, and the model was trained on 8×8×1"),
        ("nothing", "unknown data set 'nothing'"),
        ("classes.npz", "the class '10', which the training had not"),
        ("numbers.npz", "cannot|whole numbers"),
    ],
)
def test_data_that_do_not_fit_are_refused(call, digits_run, tmp_path, data, message):
    x = np.zeros((4, 8, 8, 1), np.float32)
    np.savez(tmp_path / "classes.npz", x=x, y=np.array([0, 1, 0, 10]))
    np.savez(tmp_path / "numbers.npz", x=x, y=np.array([0.5, 1.5, 2.5, 3.5]))
    done = call("evaluate", digits_run, "--data", data)
    assert done.status == 2
    assert done.out == ""
    assert any(part in done.err for part in message.split("|"))
