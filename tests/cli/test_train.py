import json

import numpy as np
import pytest


def test_a_run_leaves_record_checkpoint_logs_and_figures(digits_run):
    left = {path.name for path in digits_run.iterdir()}
    assert left == {"run.json", "checkpoint", "tensorboard", "epochs.jsonl", "figures"}
    assert list((digits_run / "tensorboard").glob("events.out.tfevents.*"))
    rows = [json.loads(line) for line in (digits_run / "epochs.jsonl").read_text().splitlines()]
    record = json.loads((digits_run / "run.json").read_text())
    assert [row["loss"] for row in rows] == record["history"]["loss"]
    assert {"test/accuracy", "test/loss", "test/macro_f1", "validation/loss"} <= record["metrics"].keys()
    assert record["settings"]["seed"] == 0
    assert {path.stem for path in (digits_run / "figures").iterdir()} == {
        "learning_curves",
        "confusion_matrix",
        "filters",
        "feature_maps",
        "representation",
    }


def test_it_says_what_is_trained_how_it_went_and_what_can_be_done_next(digits_run):
    out = digits_run.with_name("out").read_text()
    for line in (
        "data       digits: 1,293 training, 144 validation, 360 test rows; inputs 8×8×1, 10 classes",
        "model      cnn: 662 parameters, features 4, dense 8, kernel 3 3, dropout 0.3, normalize yes, activation relu",
        "training   cross-entropy, adam, cosine schedule, rate 0.003, batch 64, 2 epochs, 42 steps, seed 0",
        "Test rows",
        f"stepax evaluate {digits_run}",
        f"stepax predict {digits_run} FILE",
        f"tensorboard --logdir {digits_run.parent}",
    ):
        assert line in out


def test_a_row_for_each_epoch_goes_to_standard_error(digits_run):
    lines = digits_run.with_name("err").read_text().splitlines()
    assert [line.split()[0] for line in lines if line.split()[:1] in (["1"], ["2"])] == ["1", "2"]
    assert lines[-1] == "all epochs done (42 steps)"


def small(*arguments):
    return ("train", "--no-figures", "--log", *arguments)


def test_equal_seeds_give_equal_runs_and_others_do_not(call, tmp_path):
    hashes = []
    for i, seed in enumerate([0, 0, 1]):
        assert call(*small("--data", "iris", "--model", "linear", "--seed", seed, "--epochs", 2)).status == 0
        record = json.loads((tmp_path / "runs" / f"iris-linear-{i + 1}" / "run.json").read_text())
        hashes.append(record["parameters"])
    assert hashes[0] == hashes[1] != hashes[2]


def test_class_weights_help_the_rare_class(call, tmp_path):
    rng = np.random.default_rng(0)
    y = (np.arange(400) % 20 == 0).astype(np.int64)
    np.savez(tmp_path / "rare.npz", x=rng.normal(size=(400, 2)) + 1.2 * y[:, None], y=y)
    found = {}
    for name, options in {"plain": (), "weighted": ("--class-weights",)}.items():
        done = call(*small("--data", "rare.npz", "--model", "linear", "--out", name, "--epochs", 60, *options))
        assert done.status == 0
        found[name] = json.loads(call("evaluate", name, "--part", "all", "--json").out)["classes"]["1"]["recall"]
    assert found["plain"] + 0.2 < found["weighted"]


def test_the_perceptron_learns_and_separates_the_gates_but_one(call, tmp_path):
    done = call(*small("--data", "gates", "--model", "perceptron", "--epochs", 60, "--out", "run"))
    assert done.status == 0
    assert "training   rate 1, batch 4, 60 epochs, 60 steps, seed 0" in done.out
    classes = json.loads(call("evaluate", "run", "--json").out)["classes"]
    assert [name for name, row in classes.items() if row["accuracy"] < 1] == ["xor"]


def test_early_stopping_keeps_the_best_state_and_says_so(call, tmp_path):
    options = ("--data", "diabetes", "--dense", 64, "--dropout", 0, "--epochs", 200, "--patience", 5, "--out", "run")
    assert call(*small(*options)).status == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    losses = record["history"]["validation/loss"]
    assert len(losses) < 200
    assert "has not improved for 5 epochs" in record["stopped"]
    assert record["metrics"]["validation/loss"] == min(losses)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "diabetes", "--class-weights"), "--class-weights is for classes"),
        (("--data", "t.csv"), "needs the name of its target column"),
        (("--data", "t.csv", "--target", "prise"), "did you mean 'price'"),
        (("--data", "no.csv"), "no file or folder 'no.csv'"),
        (("--out", "."), "holds something already"),
    ],
)
def test_what_cannot_be_trained_is_an_error_before_anything_is_made(call, tmp_path, options, message):
    (tmp_path / "t.csv").write_text("size,price\n1,2\n2,4.5\n")
    done = call(*small(*options))
    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
