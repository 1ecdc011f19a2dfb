"""The folder of a run: what goes in comes out, and a folder that is no run is told apart from a damaged one."""

import getpass
import json
import pathlib
import re
import socket
import subprocess
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stepax as sx
from stepax import record
from stepax.checkpoint import CheckpointError
from stepax.fit import Run
from stepax.record import RunError

LEARNER = sx.supervised(sx.nn.MLP(features=(4, 3)), sx.losses.cross_entropy, optax.sgd(0.1))
DATA = {"x": np.eye(6, 5, dtype=np.float32), "y": np.arange(6) % 3}
DETAILS = {
    "data": {"name": "toy", "classes": ("a", "NaN", "c")},
    "model": {"name": "mlp", "features": (4, 3)},
    "mean": np.float32(0.5),
}


@pytest.fixture(scope="module")
def run() -> Run:
    return sx.fit(LEARNER, DATA, key=jax.random.key(3), epochs=4, batch_size=3, validation=DATA, progress=False)


@pytest.fixture
def folder(run: Run, tmp_path: pathlib.Path) -> pathlib.Path:
    record.save(tmp_path / "run", run, DETAILS, metrics={"test/loss": float("nan")})
    return tmp_path / "run"


def like() -> sx.State:
    return jax.eval_shape(LEARNER.init, jax.random.key(0), DATA)


def test_round_trip(run: Run, folder: pathlib.Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint", "run.json"]
    kept = record.load(folder)
    assert kept["settings"] == run.record["settings"]
    assert kept["settings"]["key"] == [0, 3]
    assert {name: kept[name] for name in run.record} == run.record
    assert kept["seconds"].keys() == {"compile", "run"}
    assert kept["history"] == run.history
    assert kept["details"] == {
        "data": {"name": "toy", "classes": ["a", "NaN", "c"]},
        "model": {"name": "mlp", "features": [4, 3]},
        "mean": 0.5,
    }
    assert kept["metrics"]["validation/loss"] == run.history["validation/loss"][-1]
    assert np.isnan(kept["metrics"]["test/loss"])
    assert kept["environment"] == record.environment()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", kept["finished"])
    json.loads((folder / "run.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_restores_the_bits(run: Run, folder: pathlib.Path) -> None:
    state = record.restore(folder, like())
    for before, after in zip(
        jax.tree.leaves(run.state._replace(key=())), jax.tree.leaves(state._replace(key=())), strict=True
    ):
        np.testing.assert_array_equal(before, after)
    more = {"key": jax.random.key(3), "epochs": 6, "batch_size": 3, "progress": False}
    assert (
        sx.fit(LEARNER, DATA, state=state, **more).record["parameters"]
        == sx.fit(LEARNER, DATA, **more).record["parameters"]
    )


def test_metrics_are_those_of_the_best_state(run: Run, tmp_path: pathlib.Path) -> None:
    best = run._replace(state=run.state._replace(step=jnp.int32(run.history["step"][1])))
    record.save(tmp_path, best)
    assert record.load(tmp_path)["metrics"] == {name: run.history[name][1] for name in ("loss", "validation/loss")}


def test_saving_again_replaces(run: Run, folder: pathlib.Path) -> None:
    (folder / "notes.txt").write_text("kept")
    record.save(folder, run, {"second": True})
    assert record.load(folder)["details"] == {"second": True}
    record.restore(folder, like())
    assert (folder / "notes.txt").read_text() == "kept"


def test_details_that_json_cannot_hold_write_nothing(run: Run, tmp_path: pathlib.Path) -> None:
    with pytest.raises(TypeError, match=r"\['details'\]\['model'\].*of type MLP"):
        record.save(tmp_path / "run", run, {"model": sx.nn.MLP(features=(2,))})
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RunError, match=r"missing: no such folder"):
        record.load(tmp_path / "missing")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=re.escape(f"run {tmp_path}: there is no run.json in it")):
        record.load(tmp_path)
    with pytest.raises(RunError, match="it is a file, not a folder"):
        record.load(tmp_path / "notes.txt")
    for text in ("[]", '{"format": 1}', '{"format": "stepax.run/9"}', '{"name": "of another tool"}'):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(RunError, match=r"has the format .*; this version of stepax reads 'stepax\.run/1'"):
            record.load(tmp_path)


def test_a_damaged_record_is_refused(folder: pathlib.Path) -> None:
    whole = (folder / "run.json").read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 3):
        (folder / "run.json").write_bytes(whole[:length])
        with pytest.raises(RunError, match="damaged or cut short"):
            record.load(folder)
    (folder / "run.json").write_bytes(whole[:50] + b"\xff" + whole[51:])
    with pytest.raises(RunError, match="damaged or cut short"):
        record.load(folder)
    for name in record.FIELDS:
        fields = {**json.loads(whole), name: 1.5}
        (folder / "run.json").write_text(json.dumps(fields))
        with pytest.raises(RunError, match=f"damaged: {name} missing"):
            record.load(folder)
    for history in ({}, {"step": [1, 2]}, {"epoch": [1], "step": 2}, {"epoch": [1, 2], "step": [5]}):
        (folder / "run.json").write_text(json.dumps({**json.loads(whole), "history": history}))
        with pytest.raises(RunError, match="damaged: history holds"):
            record.load(folder)


def test_a_state_of_another_run_is_refused(run: Run, folder: pathlib.Path) -> None:
    other = run._replace(state=run.state._replace(params=jax.tree.map(lambda leaf: leaf + 1, run.state.params)))
    sx.checkpoint.save(folder / "checkpoint", other.state)
    with pytest.raises(RunError, match="are not those that"):
        record.restore(folder, like())
    wider = sx.supervised(sx.nn.MLP(features=(5, 3)), sx.losses.cross_entropy, optax.sgd(0.1))
    with pytest.raises(CheckpointError, match=r"tree\.params"):
        record.restore(folder, jax.eval_shape(wider.init, jax.random.key(0), DATA))


def test_environment_says_what_ran_and_not_who() -> None:
    found = record.environment()
    assert found["versions"]["jax"] == jax.__version__
    assert found["versions"]["stepax"] == sx.__version__
    assert found["device"] == {"platform": "cpu", "kind": "cpu", "count": jax.device_count()}
    assert found["processor"]["model"]
    assert found["processor"]["cores"] >= 1
    text = json.dumps(found)
    assert str(pathlib.Path.cwd()) not in text
    assert str(pathlib.Path.home()) not in text
    words = re.findall(r"[\w.-]+", text)
    assert socket.gethostname() not in words
    assert getpass.getuser() not in words


def git(folder: pathlib.Path, *arguments: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_environment_knows_the_commit(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)

    def found() -> Any:
        return record.environment()["git"]

    assert found() is None  # no repository
    git(tmp_path, "init", "-q")
    assert found() is None  # no commit
    (tmp_path / "a.py").write_text("1")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    (tmp_path / "result.txt").write_text("not tracked")
    assert found() == {"commit": commit, "dirty": False}
    (tmp_path / "a.py").write_text("2")
    assert found() == {"commit": commit, "dirty": True}
    monkeypatch.setenv("PATH", "")
    assert found() is None  # no git


def test_parameter_hash_sees_every_bit_and_name() -> None:
    trees = [{"a": np.zeros(2, np.float32)}, {"b": np.zeros(2, np.float32)}, {"a": np.zeros((2, 1), np.float32)}]
    trees += [{"a": -np.zeros(2, np.float32)}, {"a": np.zeros(2, np.int32)}]
    assert len({record.parameter_hash(tree) for tree in trees}) == len(trees)
    assert record.parameter_hash({"a": jnp.zeros(2)}) == record.parameter_hash(trees[0])
