import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tests.cli.processes import environment, process

from stepax import logs
from stepax.cli import train
from stepax.cli.console import program


def test_a_run_leaves_record_checkpoint_logs_and_figures(digits_run):
    left = {path.name for path in digits_run.iterdir()}
    assert left == {"run.json", "checkpoint", "tensorboard", "epochs.jsonl", "figures"}
    assert list((digits_run / "tensorboard").glob("events.out.tfevents.*"))
    rows = [json.loads(line) for line in (digits_run / "epochs.jsonl").read_text().splitlines()]
    record = json.loads((digits_run / "run.json").read_text())
    assert [row["loss"] for row in rows] == record["history"]["loss"]
    assert {"test/accuracy", "test/loss", "test/macro_f1", "validation/loss"} <= record["metrics"].keys()
    assert (record["settings"]["seed"], record["settings"]["key"]) == (0, [0, 0])
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
        "memory     about ",
        "compiling  ",
        "Test rows",
        f"{program()} evaluate {digits_run}",
        f"{program()} predict {digits_run} FILE",
        "epochs.jsonl",
        "the curves, step by step",
    ):
        assert line in out


def test_a_row_for_each_epoch_goes_to_standard_error(digits_run):
    lines = digits_run.with_name("err").read_text().splitlines()
    assert [line.split()[0] for line in lines if line.split()[:1] in (["1"], ["2"])] == ["1", "2"]
    assert lines[-2:] == ["all epochs done (42 steps)", "drawing figures …"]
    assert any(line.startswith("warning: in 42 steps the running averages of batch") for line in lines)


def small(*arguments):
    return ("train", "--no-figures", "--log", *arguments)


def test_lines_of_json_are_always_written_and_gradients_watched_where_they_are_asked_for(call, tmp_path):
    options = ("--data", "iris", "--model", "linear", "--epochs", 2, "--out")
    for answer, columns in {"yes": {"gradient_norm", "update_ratio"}, "no": set()}.items():
        done = call(*small(*options, answer, "--watch", answer))
        assert done.status == 0
        rows = [json.loads(line) for line in (tmp_path / answer / "epochs.jsonl").read_text().splitlines()]
        assert [row["epoch"] for row in rows] == [1, 2]
        assert rows[0].keys() & {"gradient_norm", "update_ratio"} == columns
        assert ("gradient_norm" in done.err) == (answer == "yes")
    assert parameters(tmp_path / "yes") == parameters(tmp_path / "no")
    # A linear model is too small to be watched at no cost.
    assert call(*small(*options, "rule")).status == 0
    assert "gradient_norm" not in (tmp_path / "rule" / "epochs.jsonl").read_text()


def test_what_may_not_fit_is_a_warning_with_a_way_out(call, monkeypatch):
    from stepax import estimation

    monkeypatch.setattr(estimation, "free_memory", lambda: 200_000)
    options = ("--data", "digits", "--model", "mlp", "--batch-size", 512, "--epochs", 1, "--out", "run")
    done = call(*small(*options))
    assert done.status == 0
    assert "200 kB free" in done.out
    assert "warning: that may not fit into memory: try a smaller model or fewer rows" in done.err
    monkeypatch.setattr(estimation, "free_memory", lambda: 1_200_000)
    done = call(*small(*options, "--overwrite"))
    assert "may not fit into memory: try a smaller --batch-size such as " in done.err


def test_a_training_that_diverges_is_saved_with_a_warning_and_a_status_of_its_own(call, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).normal(size=(200, 6)), y=np.arange(200) % 3)
    options = ("--data", "d.npz", "--optimizer", "sgd", "--learning-rate", 1e9, "--epochs", 2, "--log", "--out", "run")
    done = call("train", *options)
    assert done.status == 1
    assert "warning: the loss is not finite since epoch 1: a lower --learning-rate may help\n" in done.err
    assert "warning: figures that need finite outputs are left out: all but the learning curves\n" in done.err
    assert "error" not in done.err
    assert "saved in run:" in done.out
    assert [path.name for path in (tmp_path / "run" / "figures").iterdir()] == ["learning_curves.png"]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"run.json", "checkpoint", "epochs.jsonl", "figures"}


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
        (("--data", "t.csv"), "needs the name of its target column: pass --target one of 'size', 'price'"),
        (("--data", "t.csv", "--target", "price", "--drop", "sise"), "--drop: t.csv has no column 'sise'"),
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


def interrupted(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("where", "log", "what", "left"),
    [
        ("announce", (), "nothing is saved", []),
        ("_trained", (), "nothing is saved", []),
        ("measures", (), "before the end; `{program} train --resume run` goes on from there", ["run"]),
        ("print_tables", (), "the run is saved in run; `{program} plot run` draws figures that are missing", ["run"]),
    ],
)
def test_ctrl_c_ends_in_one_line_that_says_what_is_kept(call, tmp_path, monkeypatch, where, log, what, left):
    monkeypatch.setattr(train, where, interrupted)
    done = call(*small(*log, "--data", "iris", "--model", "linear", "--epochs", 2, "--out", "run"))
    assert done.status == 130
    assert done.err.splitlines()[-1] == "interrupted: " + what.replace("{program}", program())
    assert "Traceback" not in done.err
    assert [path.name for path in tmp_path.iterdir()] == left
    if where == "print_tables":
        assert call("evaluate", "run").status == 0
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    if where == "measures":
        assert call("train", "--resume", "run").status == 0
        assert call("evaluate", "run").status == 0
        assert not {"plan.json", "checkpoints"} & {path.name for path in (tmp_path / "run").iterdir()}


def test_an_interrupted_run_is_not_lost_by_the_next(call, monkeypatch):
    options = small("tensorboard", "--data", "iris", "--model", "linear", "--epochs", 2, "--out", "run")
    with monkeypatch.context() as stopped:
        stopped.setattr(train, "measures", interrupted)
        assert call(*options).status == 130
    done = call(*options)
    assert done.status == 2
    assert "run holds an unfinished run; " in done.err
    assert call(*options, "--overwrite").status == 0
    done = call(*options)
    assert (done.status, done.err) == (2, "error: --out: run holds a finished run; --overwrite replaces it\n")
    assert call(*options, "--overwrite").status == 0


def test_few_rows_are_told_to_leave_none_for_validation(call):
    first = call(*small("--data", "xor", "--epochs", 1)).out.splitlines()[0]
    assert "4 training, validation none (fewer than 100 rows), 4 test rows" in first
    assert "validation none, " in call(*small("--data", "iris", "--validation", 0, "--epochs", 1)).out


def test_a_table_with_text_is_used_by_its_other_columns(call, prices, tmp_path):
    header, *rows = prices.read_text().splitlines()
    lines = [f"id;city;{header}", *(f"{i};Bonn;{row}" for i, row in enumerate(rows))]
    (tmp_path / "t.csv").write_text("\n".join(lines).replace(",", ";"))
    options = small("--data", "t.csv", "--target", "price", "--model", "linear", "--epochs", 2, "--out", "run")
    done = call(*options)
    assert "'city' holds 'Bonn'" in done.err
    assert "--drop or --columns" in done.err
    assert call(*options, "--drop", "id", "city").status == 0
    assert json.loads(call("evaluate", "run", "--data", "t.csv", "--json").out)["examples"] == 200
    assert call("evaluate", "run").status == 0
    done = call("predict", "run", "t.csv", "--rows", 1)
    assert (done.status, done.err) == (0, "")


def test_the_loss_of_a_regression_is_called_that_of_standardized_targets(call, prices):
    done = call(*small("--data", prices, "--target", "price", "--model", "linear", "--epochs", 1, "--out", "run"))
    for text in (done.out, done.err):
        assert "loss (standardized)" in text
    assert "mean_absolute_error" in done.err
    assert "mean absolute error" in done.out
    assert {"loss", "validation/loss"} <= json.loads(pathlib.Path("run/run.json").read_text())["history"].keys()
    assert "loss (standardized)" in call("evaluate", "run").out


def parameters(folder):
    return json.loads((folder / "run.json").read_text())["parameters"]


def test_a_run_that_was_terminated_goes_on_to_the_same_bits(call, tmp_path):
    options = small("--data", "iris", "--dense", 8, "--epochs", 800, "--patience", 800)
    assert call(*options, "--out", "whole").status == 0
    command = [sys.executable, "-m", "stepax", *map(str, options), "--out", "run"]
    log = tmp_path / "run" / "epochs.jsonl"
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True) as running:
        for _ in range(1200):
            if log.exists() and log.stat().st_size:
                break
            time.sleep(0.05)
        running.terminate()
        _, errors = running.communicate(timeout=120)
    assert running.returncode == 128 + signal.SIGTERM
    assert "train --resume run` goes on from there" in errors.splitlines()[-1]
    done = call("train", "--resume", "run")
    assert (done.status, done.out.splitlines()[0][:17]) == (0, "data       iris: ")
    assert parameters(tmp_path / "run") == parameters(tmp_path / "whole")
    histories = [
        [{**json.loads(line), "seconds": 0} for line in (tmp_path / name / "epochs.jsonl").read_text().splitlines()]
        for name in ("run", "whole")
    ]
    assert histories[0] == histories[1]
    assert call("train", "--resume", "run").err == "error: --resume run: the run is finished\n"


def test_nothing_else_is_given_beside_resume(call, tmp_path):
    (tmp_path / "run").mkdir()
    for options in (("--epochs", 3), ("--no-figures",), ("--out", "other"), ("--data", "iris")):
        done = call("train", "--resume", "run", *options)
        assert (done.status, "no other option can be given beside it" in done.err) == (2, True)
    assert call("train", "--resume", "run").err == (
        "error: --resume run: there is no plan.json in it: no run has been begun there\n"
    )
    assert call("train", "--resume", "none").err == "error: --resume none: no such folder\n"


def test_two_processes_train_as_one(call, tmp_path):
    options = ("--no-figures", "--log", "--data", "iris", "--dense", 8, "--epochs", 5)
    done = process("train", *options, "--processes", 2, "--out", "two", cwd=tmp_path)
    assert done.status == 0, done.err
    assert done.out.count("data       iris: ") == 1
    assert call("train", *options, "--out", "one").status == 0
    found, expected = (json.loads((tmp_path / name / "run.json").read_text())["metrics"] for name in ("two", "one"))
    assert found == pytest.approx(expected, rel=1e-4)
    assert call("evaluate", "two").status == 0
    again = process("train", *options, "--processes", 2, "--out", "two", cwd=tmp_path)
    assert again.status == 2
    assert "error: --out: two holds a finished run; --overwrite replaces it" in again.err
    assert call("train", *options, "--processes", 0).err == "error: --processes: expected at least 1, got 0\n"


def test_a_second_command_leaves_a_run_alone_that_is_under_way(call, tmp_path):
    options = small("--data", "iris", "--dense", 8, "--epochs", 100000, "--out", "run")
    command = [sys.executable, "-m", "stepax", *map(str, options)]
    log = tmp_path / "run" / "epochs.jsonl"
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True) as running:
        try:
            for _ in range(1200):
                if log.exists() and log.stat().st_size:
                    break
                time.sleep(0.05)
            for again in (options, (*options, "--overwrite")):
                assert call(*again).err == "error: --out: a training is under way in run\n"
            assert call("train", "--resume", "run").err == "error: --resume: a training is under way in run\n"
            running.terminate()
            _, errors = running.communicate(timeout=120)
        finally:
            running.kill()
    assert "train --resume run` goes on from there" in errors.splitlines()[-1]
    assert (tmp_path / "run" / "plan.json").exists()


def test_a_text_makes_a_language_model(call, play, tmp_path):
    text = ("--context", 8, "--width", 8, "--layers", 1, "--heads", 2, "--epochs", 2, "--out", "run")
    done = call("train", "--data", play, *text)
    assert done.status == 0, done.err
    count = len(play.read_text())
    test = round(0.1 * count)
    validation = round(0.1 * (count - test))
    sizes = f"{count - test - validation:,} training, {validation} validation, {test} test tokens"
    for line in (
        f"data       play: {sizes}; {len(set(play.read_text()))} characters known, context 8\n",
        "model      transformer: ",
        "width 8, layers 1, heads 2, dropout 0.0\n",
        "training   cross-entropy, adam, ",
        "batch 12, 2 epochs, 400 steps, seed 0\n",
        "Test part\n",
        "perplexity  ",
        "bits per character  ",
        "figures      learning_curves\n",
        f"{program()} evaluate run\n",
        f"{program()} generate run\n",
    ):
        assert line in done.out
    assert "bits_per_character" in done.err
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["history"]["validation/loss"][-1] < record["history"]["validation/loss"][0]
    assert {"test/loss", "test/perplexity", "test/bits_per_character"} <= record["metrics"].keys()
    assert (tmp_path / "run" / "tensorboard").is_dir()
    assert call("plot", "run").out == "run/figures/learning_curves.png\n"


@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_a_cut_training_on_a_text_goes_on_to_the_same_bits(call, play, tmp_path, monkeypatch, model):
    options = small("--data", play, "--model", model, "--context", 8, "--width", 8, "--layers", 1, "--epochs", 3)
    options = (*options, *(("--heads", 2) if model == "transformer" else ()))
    assert call(*options, "--out", "whole").status == 0

    def cut(reports, path):
        for report in reports:
            yield report
            if report.row and report.row["epoch"] == 2:
                reports.close()
                raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(logs, "json_lines", cut)
        done = call(*options, "--out", "run")
    assert done.status == 130
    assert "train --resume run` goes on from there" in done.err
    assert json.loads((tmp_path / "run" / "plan.json").read_text())["details"]["subject"]["tokens"]["split"]
    assert call("train", "--resume", "run").status == 0
    assert parameters(tmp_path / "run") == parameters(tmp_path / "whole")


@pytest.mark.parametrize("model", ["textcnn", "lstm", "transformer"])
def test_a_column_of_texts_makes_a_classifier(call, reviews, model):
    sizes = {"textcnn": ("--features", 4), "lstm": (), "transformer": ("--heads", 2)}[model]
    options = ("--data", reviews, "--text", "review", "--target", "mood", "--model", model, "--width", 8, *sizes)
    done = call(*small(*options, "--epochs", 1, "--context", 4, "--class-weights", "--out", "run"))
    assert done.status == 0, done.err
    first = done.out.splitlines()[0]
    assert first.startswith("data       reviews: 96 training, validation none (fewer than 100 texts), 24 test texts; ")
    assert "9 words known, context 4 (" in first
    assert first.endswith(" texts are longer, and cut), 2 classes")
    assert "good" in done.out


def test_a_language_model_has_no_classes_to_weigh(call, play):
    done = call(*small("--data", play, "--class-weights"))
    assert (done.status, done.err) == (
        2,
        "error: --class-weights is for classes, and play has another kind of target\n",
    )


def test_a_part_of_a_text_that_is_too_short_is_named_with_its_option(call, tmp_path):
    (tmp_path / "t.txt").write_text("ab" * 500)
    for option, part in {"--test-fraction": "test", "--validation": "validation"}.items():
        done = call("train", "--data", "t.txt", "--context", 4, option, 0.001)
        assert (done.status, done.err) == (
            2,
            f"error: the {part} part of t has one token only: expected at least two, one to follow the other; "
            f"a larger {option} makes it longer, and {option} 0 goes without it\n",
        )
    assert not (tmp_path / "runs").exists()
