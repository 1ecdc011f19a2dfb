import json

import numpy as np
import pytest

import stepax as sx
from stepax.cli.runs import open_run
from stepax.cli.tokens import vocabulary


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


def test_a_language_model_is_measured_on_the_end_of_its_text_or_on_another(call, play, play_run, tmp_path):
    found = json.loads(call("evaluate", play_run, "--json").out)
    metrics = json.loads((play_run / "run.json").read_text())["metrics"]
    assert found["loss"] == pytest.approx(metrics["test/loss"])
    assert found["perplexity"] == pytest.approx(np.exp(found["loss"]))
    assert found["bits_per_character"] == pytest.approx(found["loss"] / np.log(2))
    count = len(play.read_text())
    assert (found["data"], found["tokens"]) == ("test part of play", round(0.1 * count) - 1)
    (tmp_path / "other.txt").write_text(play.read_text()[:501])
    other = json.loads(call("evaluate", play_run, "--data", "other.txt", "--json").out)
    assert (other["data"], other["tokens"]) == ("all part of other.txt", 500)
    assert json.loads(call("evaluate", play_run, "--part", "all", "--json").out)["tokens"] == count - 1
    shown = call("evaluate", play_run).out
    assert all(text in shown for text in ("test part of play", "perplexity", "bits per character"))


def test_the_loss_of_a_language_model_is_that_of_every_next_token(call, play, play_run):
    run = open_run(play_run)
    text = play.read_text()[-round(0.1 * len(play.read_text())) :]
    tokens = np.array(vocabulary(run.plan.subject.tokens).encode(text))
    losses = []
    for first in range(0, len(tokens) - 1, 16):
        x, y = tokens[first : first + 16], tokens[first + 1 : first + 17]
        logits = sx.predict(run.built.learner, run.state, x[None, : len(y)])[0]
        losses += [
            np.log(np.exp(row - row.max()).sum()) + row.max() - row[label] for row, label in zip(logits, y, strict=True)
        ]
    assert json.loads(call("evaluate", play_run, "--json").out)["loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_texts_with_classes_are_measured_like_other_rows(call, reviews, reviews_run, tmp_path):
    found = json.loads(call("evaluate", reviews_run, "--json").out)
    assert (found["examples"], found["classes"]["good"]["examples"], found["data"]) == (24, 12, "test rows of reviews")
    assert found["accuracy"] > 0.9
    (tmp_path / "other.csv").write_text('mood,review\ngood,a joy I loved\nbad,"dull, a waste of unheard of words"\n')
    other = json.loads(call("evaluate", reviews_run, "--data", "other.csv", "--json").out)
    assert (other["examples"], other["accuracy"]) == (2, 1)


@pytest.mark.parametrize(
    ("fixture", "data", "message"),
    [
        ("play_run", "iris", "iris is no text, and the model was trained on a text to go on with"),
        ("iris_run", "t.txt", "t.txt is a text to go on with, and the model was trained on no text"),
        ("reviews_run", "t.txt", "t.txt is a text to go on with, and the model was trained on texts with classes"),
        ("reviews_run", "t.csv", "t.csv has no column 'review'"),
        ("reviews_run", "other.csv", "has the class 'ugly', which the training had not"),
        ("play_run", "latin.txt", "latin.txt, byte 1 (line 1) is fc: not utf-8"),
    ],
)
def test_texts_that_do_not_fit_are_refused(call, request, tmp_path, fixture, data, message):
    (tmp_path / "t.txt").write_text("a text")
    (tmp_path / "t.csv").write_text("text,mood\na,good\n")
    (tmp_path / "other.csv").write_text("review,mood\na,good\nb,ugly\n")
    (tmp_path / "latin.txt").write_bytes("für Elise".encode("latin-1"))
    done = call("evaluate", request.getfixturevalue(fixture), "--data", data)
    assert (done.status, done.out) == (2, "")
    assert message in done.err


def test_other_texts_may_be_written_in_another_encoding(call, play_run, tmp_path):
    text = "once upon a midnight dreary\n" * 3
    (tmp_path / "wide.txt").write_bytes(text.encode("utf-16"))
    (tmp_path / "plain.txt").write_text(text)
    wide = json.loads(call("evaluate", play_run, "--data", "wide.txt", "--encoding", "utf-16", "--json").out)
    plain = json.loads(call("evaluate", play_run, "--data", "plain.txt", "--json").out)
    assert wide | {"data": ""} == plain | {"data": ""}
    assert "pass --encoding ('cp1252'" in call("evaluate", play_run, "--data", "wide.txt").err


@pytest.mark.parametrize(
    ("fixture", "options", "message"),
    [
        ("play_run", (), "--encoding is for texts of another file: pass --data FILE"),
        ("iris_run", ("--data", "iris"), "--encoding is for texts, and"),
        ("play_run", ("--data", "tinyshakespeare"), "--encoding does not apply to tinyshakespeare, which is a text"),
        ("play_run", ("--data", "t.txt"), "--encoding: t.txt cannot be read as 'latin-2026'"),
    ],
)
def test_an_encoding_for_nothing_is_refused(call, request, tmp_path, fixture, options, message):
    (tmp_path / "t.txt").write_text("a text")
    done = call("evaluate", request.getfixturevalue(fixture), *options, "--encoding", "latin-2026")
    assert (done.status, done.out) == (2, "")
    assert message in done.err


@pytest.mark.parametrize(("header", "column"), [("text,mood", "review"), ("review,feeling", "mood")])
def test_what_other_texts_lack_is_told_without_options_of_training(call, reviews_run, tmp_path, header, column):
    (tmp_path / "t.csv").write_text(f"{header}\na,good\nb,bad\n")
    done = call("evaluate", reviews_run, "--data", "t.csv")
    assert done.err.startswith(f"error: t.csv has no column {column!r}: known are")
    assert "--text" not in done.err
    assert "--target" not in done.err


def test_texts_of_one_class_are_measured(call, reviews_run, tmp_path):
    (tmp_path / "one.csv").write_text("review,mood\ngreat joy,good\nloved joy,good\n")
    found = json.loads(call("evaluate", reviews_run, "--data", "one.csv", "--json").out)
    assert (found["examples"], found["classes"]["good"]["examples"], found["accuracy"]) == (2, 2, 1)


def test_what_is_lost_of_texts_comes_with_a_warning(call, play_run, reviews_run, tmp_path):
    (tmp_path / "t.csv").write_text("review,mood\nunheard of,good\nthe the the the the the the joy,bad\n")
    assert call("evaluate", reviews_run, "--data", "t.csv").err == (
        "warning: 1 of 2 texts are longer than the 6 tokens that the model sees, and cut\n"
        "warning: 20.0% of 10 tokens are unknown to the model\n"
    )
    (tmp_path / "t.txt").write_text("the rest is SILENCE!")
    done = call("evaluate", play_run, "--data", "t.txt", "--json")
    assert done.err == "warning: 40.0% of 20 tokens are unknown to the model\n"
    assert json.loads(done.out).keys() == {"run", "data", "tokens", "loss", "perplexity"}


def test_a_text_without_a_next_token_is_called_too_short(call, play_run, tmp_path):
    (tmp_path / "t.txt").write_text("a")
    assert call("evaluate", play_run, "--data", "t.txt").err == (
        "error: t.txt has one token only: expected at least two, one to follow the other\n"
    )
