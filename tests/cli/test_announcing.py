import pytest

from stepax.cli import announcing
from stepax.cli.announcing import Part, announce
from stepax.cli.runs import open_run
from stepax.estimation import Estimate

NEEDED = Estimate(4000, 8000, 0, 100, 5000, 17_100, 10**9, 0, 32)


def told(capsys, folder, parts, *, few=False):
    run = open_run(folder)
    announce(run.plan, run.built, parts, NEEDED, False, few=few)
    return capsys.readouterr().out.splitlines()[0]


def test_data_are_told_in_rows_texts_or_tokens(capsys, iris_run, play, play_run, reviews_run):
    parts = {"training": Part(1200), "validation": None, "test": Part(300)}
    counts = "1,200 training, validation none, 300 test"
    assert told(capsys, iris_run, parts) == f"data       iris: {counts} rows; inputs 4, 3 classes"
    known = f"{len(set(play.read_text()))} characters known"
    assert told(capsys, play_run, parts) == f"data       play: {counts} tokens; {known}, context 16"
    line = told(capsys, reviews_run, parts)
    assert line == f"data       reviews: {counts} texts; 9 words known, context 6, 2 classes"


def test_what_is_lost_of_texts_is_told(capsys, reviews_run):
    parts = {"training": Part(1200, cut=20), "validation": Part(30, 1, 0.25), "test": Part(300, 0, 0.001)}
    assert told(capsys, reviews_run, parts).endswith(
        "context 6 (21 texts are longer, and cut), 2 classes, tokens unknown: 25.0% of validation, 0.1% of test"
    )


def test_few_rows_are_why_none_are_held_out(capsys, iris_run):
    parts = {"training": Part(12), "validation": None, "test": Part(3)}
    assert "12 training, validation none (fewer than 100 rows), 3 test" in told(capsys, iris_run, parts, few=True)


def test_tokens_that_the_training_rows_have_not_are_told(call, tmp_path):
    (tmp_path / "t.txt").write_text("ab" * 900 + "xy" * 100)
    done = call(
        "train",
        "--no-figures",
        "--log",
        "--data",
        "t.txt",
        "--context",
        4,
        "--width",
        8,
        "--layers",
        1,
        "--heads",
        1,
        "--epochs",
        1,
    )
    assert "test tokens; 2 characters known, context 4, tokens unknown: 100.0% of test\n" in done.out


@pytest.mark.parametrize(("found", "command"), [("/bin/tensorboard", "tensorboard --logdir ."), (None, None)])
def test_tensorboard_is_named_where_it_is_installed(call, monkeypatch, found, command):
    monkeypatch.setattr(announcing.shutil, "which", lambda name: found)
    monkeypatch.setattr(announcing.importlib.util, "find_spec", lambda name: None)
    out = call("train", "--no-figures", "--log", "tensorboard", "--data", "xor", "--epochs", 1, "--out", "run").out
    assert ("pip install tensorboard shows them" in out) == (command is None)
    assert (out.splitlines()[-1].strip() == command) == (command is not None)


def test_few_characters_are_no_rows(capsys, play_run, reviews_run):
    parts = {"training": Part(12), "validation": None, "test": Part(3)}
    assert "validation none (fewer than 100 characters)" in told(capsys, play_run, parts, few=True)
    assert "validation none (fewer than 100 texts)" in told(capsys, reviews_run, parts, few=True)
