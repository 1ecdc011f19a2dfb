from dataclasses import replace

import jax
import numpy as np
import pytest
from rich.console import Console
from sklearn import metrics as reference

from stepax.cli.learners import build
from stepax.cli.measures import flat, measures, tables, told
from stepax.cli.options import parse
from stepax.cli.planning import plan, read
from stepax.cli.runs import Opened, dataset_of, open_run
from stepax.cli.tokens import as_rows


def test_the_measures_of_classes_are_scikit_learns(iris_run):
    run = open_run(iris_run)
    rows = dataset_of(run).train
    named, output = measures(run, rows)
    answers = output.argmax(axis=1)
    expected = reference.classification_report(
        rows["y"], answers, target_names=run.plan.subject.classes, output_dict=True, zero_division=0
    )
    assert named["accuracy"] == pytest.approx(expected["accuracy"])
    assert named["macro_f1"] == pytest.approx(expected["macro avg"]["f1-score"])
    assert named["loss"] == pytest.approx(reference.log_loss(rows["y"], softmax(output)), rel=1e-4)
    for name, row in named["classes"].items():
        assert row["recall"] == pytest.approx(expected[name]["recall"])
        assert row["precision"] == pytest.approx(expected[name]["precision"])
        assert row["examples"] == expected[name]["support"]


def softmax(output):
    return np.asarray(jax.nn.softmax(output, axis=-1))


def test_the_measures_of_a_regression_are_scikit_learns(prices_run):
    run = open_run(prices_run)
    rows = dataset_of(run).test
    named, output = measures(run, rows)
    answers = output[:, 0]
    assert named["mean_absolute_error"] == pytest.approx(reference.mean_absolute_error(rows["y"], answers), rel=1e-4)
    assert named["root_mean_squared_error"] ** 2 == pytest.approx(
        reference.mean_squared_error(rows["y"], answers), rel=1e-3
    )
    assert named["r_squared"] == pytest.approx(reference.r2_score(rows["y"], answers), abs=1e-5)
    assert named["r_squared"] > 0.999


def untrained(text):
    wanted = parse(["train", *text.split()])
    dataset, subject = read(wanted.data)
    made = plan(wanted, subject, dataset.train)
    built = build(made)
    return Opened(wanted.output.out, {}, made, built, built.learner.init(jax.random.key(1), dataset.train)), dataset


def test_two_classes_have_an_area_under_the_curve():
    run, dataset = untrained("--data breast_cancer --model linear")
    named, output = measures(run, dataset.test)
    assert named["roc_auc"] == pytest.approx(reference.roc_auc_score(dataset.test["y"], output[:, 0]), abs=1e-5)


def test_every_label_is_measured_by_itself():
    run, dataset = untrained("--data gates --model linear")
    named, output = measures(run, dataset.test)
    answers = output > 0
    assert named["accuracy"] == pytest.approx((answers == dataset.test["y"]).mean())
    assert named["rows_all_right"] == pytest.approx((answers == dataset.test["y"]).all(axis=1).mean())
    for i, row in enumerate(named["classes"].values()):
        expected = reference.recall_score(dataset.test["y"][:, i], answers[:, i], zero_division=0)
        assert row["recall"] == pytest.approx(expected)


def test_no_rows_are_refused(iris_run):
    run = open_run(iris_run)
    empty = {name: values[:0] for name, values in dataset_of(run).test.items()}
    with pytest.raises(ValueError, match="no rows"):
        measures(run, empty)


def test_single_numbers_are_flat_and_tables_show_everything():
    row = {"precision": 1.0, "recall": 0.5, "f1": 0.6667, "examples": 7}
    named = {"examples": 1234, "loss": 0.5, "r_squared": 0.25, "classes": {"[cat]": row}}
    assert flat(named, "test/") == {"test/loss": 0.5, "test/r_squared": 0.25}
    console = Console(width=60)
    with console.capture() as capture:
        for table in tables(named, "runs/[x]"):
            console.print(table)
    text = capture.get()
    for shown in ("runs/[x]", "1,234", "0.50000", "R²", "[cat]", "0.667", "7"):
        assert shown in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(34139.4, "34,139"), (1234567.8, "1,234,568"), (4.26614, "4.2661"), (0.0137381, "0.013738"), (2e-7, "2e-07")],
)
def test_numbers_have_five_significant_digits(value, shown):
    table = tables({"loss": value}, "x", "loss (standardized)")[0]
    assert [list(column.cells) for column in table.columns] == [["loss (standardized)"], [shown]]


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("characters", {"loss": 1.0, "bits_per_character": 1 / np.log(2)}),
        ("words", {"loss": 1.0, "perplexity": np.e}),
        ("byte_pairs", {"loss": 1.0, "perplexity": np.e}),
    ],
)
def test_a_row_of_the_history_of_a_text_says_what_its_loss_means(play_run, split, expected):
    made = open_run(play_run).plan
    made = replace(made, subject=replace(made.subject, tokens={**made.subject.tokens, "split": split}))
    row = told(made, {"epoch": 1, "loss": 1.0, "validation/loss": 1.0})
    assert row == pytest.approx({"epoch": 1, **expected, **{f"validation/{name}": x for name, x in expected.items()}})


def test_a_loss_without_bound_has_a_perplexity_without_bound(play_run):
    made = open_run(play_run).plan
    made = replace(made, subject=replace(made.subject, tokens={**made.subject.tokens, "split": "words"}))
    assert told(made, {"loss": 1e4})["perplexity"] == np.inf


def test_bits_are_those_of_a_character_whatever_the_tokens(tmp_path):
    pytest.importorskip("tokenizers")
    run, dataset = untrained_text(tmp_path, "--tokens byte-pairs --vocabulary 300")
    named, output = measures(run, as_rows(run.plan.subject, dataset.train))
    assert output is None
    assert named["bits_per_character"] * (len(dataset.train["x"]) - 1) == pytest.approx(
        named["loss"] * named["tokens"] / np.log(2), rel=0.01
    )


def test_words_have_no_bits_of_characters_as_they_are_not_written_as_they_were_read(tmp_path):
    run, dataset = untrained_text(tmp_path, "--tokens words")
    named, _ = measures(run, as_rows(run.plan.subject, dataset.train))
    assert named.keys() == {"tokens", "loss", "perplexity"}
    assert flat(named, "test/").keys() == {"test/loss", "test/perplexity"}


def untrained_text(folder, options):
    (folder / "t.txt").write_text("to be or not to be, that is the question\n" * 20)
    small = "--context 4 --width 8 --layers 1 --heads 1"
    wanted = parse(["train", "--data", str(folder / "t.txt"), *options.split(), *small.split()])
    dataset, subject = read(wanted.data)
    made = plan(wanted, subject, dataset.train)
    built = build(made)
    rows = as_rows(made.subject, dataset.train)
    return Opened(folder, {}, made, built, built.learner.init(jax.random.key(1), rows)), dataset


def test_characters_that_are_unknown_have_no_bits_as_they_are_lost(tmp_path):
    run, dataset = untrained_text(tmp_path, "")
    rows = as_rows(run.plan.subject, dataset.train)
    assert "bits_per_character" in measures(run, rows)[0]
    rows["y"][0, 0] = 1
    assert "bits_per_character" not in measures(run, rows)[0]
