import shutil

import numpy as np
import pytest

import stepax as sx
from stepax.checkpoint import CheckpointError
from stepax.cli.runs import dataset_of, new_folder, open_run
from stepax.record import RunError


def test_folders_are_numbered_and_never_used_twice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [str(new_folder(None, "digits-cnn")) for _ in range(2)] == ["runs/digits-cnn-1", "runs/digits-cnn-2"]


def test_an_empty_folder_is_taken_and_a_full_one_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert new_folder(tmp_path / "empty", "x") == tmp_path / "empty"
    assert new_folder(tmp_path / "a" / "b", "x").is_dir()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="holds something already"):
        new_folder(tmp_path, "x")
    with pytest.raises(ValueError, match="is a file"):
        new_folder(tmp_path / "file", "x")


@pytest.mark.parametrize("foreign", ["notes.txt", "tensorboard/notes.txt", "figures/mine.png", "checkpoint/model.pt"])
def test_overwriting_takes_a_run_away_and_nothing_else(tmp_path, digits_run, foreign):
    run = shutil.copytree(digits_run, tmp_path / "run")
    (run / foreign).write_text("mine")
    with pytest.raises(ValueError, match="holds a finished run; --overwrite replaces it"):
        new_folder(run, "x")
    new_folder(run, "x", overwrite=True)
    assert [path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()] == [foreign]
    for overwrite in (False, True):  # without a run it is no folder of ours
        with pytest.raises(ValueError, match=f"holds something already, such as {foreign}"):
            new_folder(run, "x", overwrite=overwrite)
    assert (run / foreign).read_text() == "mine"


def test_every_figure_and_file_of_a_run_is_known_as_ours(tmp_path, digits_run):
    run = shutil.copytree(digits_run, tmp_path / "run")
    (run / "run.json").unlink()  # as if it had been cut short
    assert list(new_folder(run, "x").iterdir()) == []


def test_a_foreign_record_is_not_overwritten(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(RunError, match="has the format None"):
        new_folder(tmp_path, "x", overwrite=True)


def test_an_opened_run_answers_as_the_record_says(digits_run):
    run = open_run(digits_run)
    dataset = dataset_of(run)
    accuracy = sx.evaluate(run.built.learner, run.state, dataset.test)["accuracy"]
    assert accuracy == pytest.approx(run.record["metrics"]["test/accuracy"], abs=1e-6)


def test_the_scaling_comes_back_with_the_run(iris_run):
    run = open_run(iris_run)
    mean = run.state.variables["scaling"]["inputs"]["mean"]
    np.testing.assert_allclose(mean, dataset_of(run).train["x"].mean(axis=0), rtol=0.05)


def test_folders_that_are_no_run_are_refused(tmp_path, iris_run):
    with pytest.raises(RunError, match="no such folder"):
        open_run(tmp_path / "none")
    with pytest.raises(RunError, match="no run of stepax"):
        open_run(tmp_path)
    copy = shutil.copytree(iris_run, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoint")
    with pytest.raises(CheckpointError, match="no such folder"):
        open_run(copy)


def test_a_run_of_the_library_is_told_from_one_of_the_command_line(tmp_path, iris_run):
    copy = shutil.copytree(iris_run, tmp_path / "copy")
    text = (copy / "run.json").read_text().replace('"subject"', '"other"')
    (copy / "run.json").write_text(text)
    with pytest.raises(RunError, match="stepax train"):
        open_run(copy)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"mlp"', '"mpl"', "--model: unknown name 'mpl'"),
        ('"adam"', '"adm"', "--optimizer: unknown name 'adm'"),
        ('"kind": "classes"', '"kind": "several"', r"subject\.kind: expected"),
        ('"relu"', '"rely"', "no model can be made of what run.json tells: --activation: unknown name 'rely'"),
        ('"shape": [4]', '"shape": [-4]', "no model can be made of what run.json tells"),
    ],
)
def test_a_damaged_record_is_refused_by_folder_and_field(tmp_path, iris_run, old, new, message):
    copy = shutil.copytree(iris_run, tmp_path / "copy")
    text = (copy / "run.json").read_text()
    assert old in text
    (copy / "run.json").write_text(text.replace(old, new))
    with pytest.raises(RunError, match=f"run {copy}: .*{message}"):
        open_run(copy)


def test_data_that_changed_since_the_training_are_refused(prices, prices_run):
    text = prices.read_text()
    try:
        prices.write_text(text.replace("age", "years", 1))
        with pytest.raises(ValueError, match="has changed since the training: its columns"):
            dataset_of(open_run(prices_run))
    finally:
        prices.write_text(text)


def test_a_change_of_rows_is_told_and_a_missing_file_names_the_option(prices, prices_run, capsys):
    text = prices.read_text()
    try:
        assert dataset_of(open_run(prices_run)).features == ("size", "age")
        assert capsys.readouterr().err == ""
        prices.write_text(text + "1,2,3\n")
        dataset_of(open_run(prices_run))
        assert "has changed since the training" in capsys.readouterr().err
        prices.unlink()
        with pytest.raises(FileNotFoundError, match="no longer there; to evaluate on other data pass --data FILE"):
            dataset_of(open_run(prices_run))
    finally:
        prices.write_text(text)
