import json
import pathlib

import pytest
from tests.cli.conftest import PPO

from stepax import logs
from stepax.cli.agents import train
from stepax.cli.agents.plan import planned
from stepax.cli.console import program
from stepax.cli.options import parse
from stepax.cli.reading import fingerprint
from stepax.cli.unfinished import Unfinished, begin

LAKE = ("train", "--env", "FrozenLake-v1", "--agent", "q-learning", "--lanes", 2, "--length", 10)
QUIET = ("--no-figures", "--log")


def test_a_run_leaves_record_checkpoint_logs_and_figures(lake_run):
    left = {path.name for path in lake_run.iterdir()}
    assert left == {"run.json", "checkpoint", "tensorboard", "epochs.jsonl", "figures"}
    assert list((lake_run / "tensorboard").glob("events.out.tfevents.*"))
    rows = [json.loads(line) for line in (lake_run / "epochs.jsonl").read_text().splitlines()]
    record = json.loads((lake_run / "run.json").read_text())
    assert len(rows) == record["details"]["agent"]["epochs"] == 50
    assert [row["return"] for row in rows] == record["history"]["return"]
    assert {"validation/return", "validation/length", "loss"} <= rows[0].keys()
    assert record["metrics"]["evaluation/episodes"] == 100
    assert 0 <= record["metrics"]["evaluation/return"] <= 1
    assert {path.name for path in (lake_run / "figures").iterdir()} == {
        "returns.png",
        "learning_curves.png",
        "episode.png",
        "episode.gif",
    }


def test_it_says_what_is_trained_how_it_went_and_what_can_be_done_next(call):
    done = call("train", "--env", "CartPole-v1", *PPO, *QUIET, "--out", "run")
    assert done.status == 0, done.err
    for line in (
        "data       CartPole-v1: observations of 4 numbers, 2 actions\n",
        "model      ppo: ",
        ", lanes 2, dense 4, normalize no, learning rate 0.001, schedule linear, average 0.0, ",
        "training   64 steps, 4 epochs of 1 × 16 steps, seed 0\n",
        "memory     about ",
        "compiling  ",
        "Episodes played with the actions thought best\n",
        "return, mean ± standard error",
        f"{program()} evaluate run\n",
        f"{program()} record run --out demonstrations.npz\n",
        f"{program()} plot run\n",
    ):
        assert line in done.out
    lines = done.err.splitlines()
    assert [line.split()[0] for line in lines if line.split()[:1] and line.split()[0].isdigit()] == ["1", "2", "3", "4"]
    assert "best actions" in done.err
    assert lines[-1] == "all epochs done (4 steps)"


@pytest.mark.parametrize("agent", ["a2c", "reinforce"])
def test_other_agents_learn_too(call, agent):
    length = ("--length", 4, "--steps", 24) if agent == "a2c" else ("--episodes", 6)
    done = call(
        "train", "--env", "Catch", "--agent", agent, "--lanes", 2, "--dense", 4, *length, *QUIET, "--out", "run"
    )
    assert done.status == 0, done.err
    assert call("evaluate", "run", "--episodes", 2).status == 0


DIVE = ("--env", "DeepSea", "--depth", 3, "--agent", "dqfd", "--demonstrations", "d.npz", "--dense", 4)


def test_dqfd_learns_from_a_file(call):
    assert call("record", "--env", "DeepSea", "--depth", 3, "--episodes", 2, "--out", "d.npz").status == 0
    small = ("--lanes", 2, "--length", 1, "--batch-size", 4, "--capacity", 40, "--steps", 40)
    done = call("train", *DIVE, *small, *QUIET, "--out", "run")
    assert done.status == 0, done.err
    assert "shown      6 steps of d.npz, from which alone it learns 1,000 times\n" in done.out
    assert "training   40 steps, " in done.out
    assert json.loads(call("evaluate", "run", "--episodes", 2, "--json").out)["return"] == pytest.approx(0.99)


def test_it_goes_on_only_with_the_same_file(call, tmp_path):
    assert call("record", "--env", "DeepSea", "--depth", 3, "--episodes", 2, "--out", "d.npz").status == 0
    made = planned(parse(["train", *map(str, DIVE)]))
    (tmp_path / "cut").mkdir()
    begin(tmp_path / "cut", Unfinished(made, fingerprint(made.demonstrations), (), False, False))
    (tmp_path / "d.npz").unlink()
    assert call("record", "--env", "DeepSea", "--depth", 3, "--episodes", 1, "--out", "d.npz").status == 0
    done = call("train", "--resume", "cut")
    assert (done.status, "d.npz is not what it was when the training was begun" in done.err) == (2, True)


def test_demonstrations_of_another_environment_are_refused(call, tmp_path):
    assert call("record", "--env", "DeepSea", "--depth", 4, "--episodes", 1, "--out", "d.npz").status == 0
    done = call("train", *DIVE, *QUIET)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert done.err.startswith(f'error: --demonstrations {tmp_path / "d.npz"}: demonstrations["observation"]: ')
    assert not (tmp_path / "runs").exists()


def _interrupted(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("where", "what", "left"),
    [
        ("announce", "nothing is saved", []),
        ("_trained", "nothing is saved", []),
        ("measured", "before the end; `{program} train --resume run` goes on from there", ["run"]),
        ("print_tables", "the run is saved in run; `{program} plot run` draws figures that are missing", ["run"]),
    ],
)
def test_ctrl_c_ends_in_one_line_that_says_what_is_kept(call, tmp_path, monkeypatch, where, what, left):
    monkeypatch.setattr(train, where, _interrupted)
    done = call(*LAKE, "--steps", 40, *QUIET, "--out", "run")
    assert (done.status, done.err.splitlines()[-1]) == (130, "interrupted: " + what.replace("{program}", program()))
    assert [path.name for path in tmp_path.iterdir()] == left


def test_a_cut_training_goes_on_to_the_same_bits(call, tmp_path, monkeypatch):
    options = (*LAKE, "--steps", 100, *QUIET)
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
    assert f"{program()} train --resume run` goes on from there" in done.err
    assert call(*options, "--out", "run").err.startswith("error: --out: run holds an unfinished run")
    assert call("train", "--resume", "run", "--env", "CartPole-v1").status == 2
    assert call("train", "--resume", "run").status == 0
    first, second = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("whole", "run"))
    assert first["parameters"] == second["parameters"]
    assert first["metrics"] == second["metrics"]
    del first["history"]["seconds"], second["history"]["seconds"]
    assert first["history"] == second["history"]
    assert call("train", "--resume", "run").err == "error: --resume run: the run is finished\n"


def test_the_folder_is_named_after_environment_and_agent(call):
    assert call(*LAKE, "--steps", 20, *QUIET).status == 0
    assert [path.as_posix() for path in pathlib.Path("runs").iterdir()] == ["runs/FrozenLake-v1-q-learning-1"]


@pytest.mark.parametrize("option", [("--agent", "ppo"), ("--steps", 3), ("--demonstrations", "x.npz"), ("--depth", 3)])
def test_options_of_agents_need_an_environment(call, option):
    done = call("train", "--data", "iris", *option)
    assert done.status == 2
    assert done.err.startswith(f"error: {option[0]} is for agents: pass --env NAME")


def test_what_does_not_fit_is_one_line_and_leaves_no_folder(call, tmp_path):
    done = call("train", "--env", "Pendulum-v1", "--agent", "dqn")
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert list(tmp_path.iterdir()) == []
    assert call("train", "--env", "Catch", "--processes", 2).err.startswith(
        "error: --processes does not apply to --env"
    )


def test_the_status_is_that_of_the_outcome(call, monkeypatch):
    monkeypatch.setattr(train, "outcome", lambda history, metrics, state: 1)
    assert call(*LAKE, "--steps", 20, *QUIET).status == 1


def test_rows_are_told_without_what_is_for_the_logs():
    row = {"epoch": 1, "step": 3, "seconds": 0.5, "return": 1.0, "length": 2.0, "loss": 3.0, "entropy": 4.0}
    row |= {"validation/return": 5.0, "validation/length": 6.0, "validation/ended": 1.0}
    assert train.told(row) == {
        **{name: row[name] for name in ("epoch", "step", "seconds", "return", "length", "loss")},
        "best actions/return": 5.0,
        "best actions/length": 6.0,
    }
