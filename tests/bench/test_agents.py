"""Rates of agents are steps over seconds, of the settings that all share; a rival that is not here is left out."""

import io
import json
import pathlib
import subprocess
import sys
import textwrap

import jax
import pytest
from bench.process import Failed
from bench.rivals import agents as ours
from bench.rivals import cleanrl, sb3
from bench.rivals.agent_settings import CLEAN, DQN, PPO
from rich.console import Console

from bench import agents

SMALL_PPO = {**PPO, "lanes": 2, "length": 4, "epochs": 1, "features": (4,)}
SMALL_DQN = {**DQN, "length": 4, "updates": 2, "warmup": 10, "batch_size": 8, "capacity": 64, "features": (4,)}


class Rival:
    """Answers what a table says: the rate of every round."""

    rates: dict

    def __init__(self, program, rival, form, file, environment, python=sys.executable):
        self.rival, self.form, self.python = rival, form, python

    def start(self):
        if self.rates[self.rival, self.form] is None:
            raise Failed("No module named 'stable_baselines3'")
        self.left = iter(self.rates[self.rival, self.form])
        return {"first": 1.5, "versions": {self.rival: "1"}}

    def ask(self, do, seconds):
        return {"steps": next(self.left) * seconds, "seconds": seconds}

    def close(self):
        pass


def run(monkeypatch, tmp_path, rates, *tasks):
    shown, said = io.StringIO(), io.StringIO()
    for name, file in {"OUT": shown, "SAY": said}.items():
        monkeypatch.setattr(agents, name, Console(file=file, width=140))
    monkeypatch.setattr(agents, "Served", Rival)
    monkeypatch.setattr(agents, "busy", lambda: 0.0)
    monkeypatch.setattr(Rival, "rates", rates, raising=False)
    agents.main(tasks, rounds=2, seconds=2.0, out=tmp_path / "found.json")
    return json.loads((tmp_path / "found.json").read_text())["agents"], shown.getvalue(), said.getvalue()


def test_ratios_are_those_of_a_round_to_the_best_form(monkeypatch, tmp_path):
    rates = {
        ("stepax", "one agent"): [100, 40],
        ("stepax", "32 agents"): [300, 120],
        ("sb3", "all threads"): [10, 1],
        ("sb3", "one thread"): [10, 4],
    }
    found, shown, said = run(monkeypatch, tmp_path, rates, "ppo")
    forms = found["ppo"]["forms"]
    assert agents.best(forms, "sb3") == "sb3, one thread"
    assert agents.ratio(forms, "stepax, one agent", "sb3") == (10, 10, 10)
    assert agents.ratio(forms, "stepax, 32 agents", "sb3") == (30, 30, 30)
    assert agents.ratio(forms, "stepax, one agent", "cleanrl") is None
    assert "30.0  (30.0 – 30.0)" in shown
    assert "CleanRL is left out" in said


def test_a_rival_that_is_not_here_is_left_out(monkeypatch, tmp_path):
    rates = dict.fromkeys([("sb3", "all threads"), ("sb3", "one thread")])
    rates |= {("stepax", "one agent"): [1, 1], ("stepax", "32 agents"): [2, 2]}
    found, shown, said = run(monkeypatch, tmp_path, rates, "dqn")
    assert agents.best(found["dqn"]["forms"], "sb3") is None
    assert shown.count("failed") == 2
    assert "No module named 'stable_baselines3'" in said


def test_what_there_is_not():
    with pytest.raises(SystemExit, match="tasks: no 'sac'; there are ppo, dqn"):
        agents.main(("sac",))
    with pytest.raises(SystemExit, match=r"no checkout of CleanRL: there is no cleanrl/ppo\.py"):
        agents.main(cleanrl=pathlib.Path("/nowhere"))


@pytest.mark.parametrize("form", ours.FORMS)
def test_our_steps_are_those_of_the_environments(monkeypatch, form):
    monkeypatch.setattr(ours, "PPO", SMALL_PPO)
    monkeypatch.setitem(ours.FORMS, "32 agents", 3)
    running = ours.trained("ppo", form)
    assert next(running) == 8 * ours.FORMS[form]
    answer = ours.timed(running, 0.0)
    assert answer["steps"] % (8 * ours.FORMS[form]) == 0
    assert answer["seconds"] > 0


def test_our_environments_alone(monkeypatch):
    monkeypatch.setattr(ours, "STRETCH", 3)
    running = ours.stepped(5)
    assert [next(running), next(running)] == [15, 15]


def test_our_dqn_learns_from_the_step_on_that_the_others_do():
    """They learn once there are more steps of the environment than ``warmup``, by as many updates a step."""
    for settings in (SMALL_DQN, {**CLEAN, **SMALL_DQN, "length": 2, "updates": 1}):
        learner, steps = ours.dqn(settings)
        state, step, made = jax.jit(learner.init)(jax.random.key(0), None), jax.jit(learner.step), 0
        for _ in range(8):
            state, metrics = step(state)
            made += steps
            assert (metrics["weight"] > 0) == (made > settings["warmup"])
        assert jax.tree.leaves(state.opt_state)[0] == settings["updates"] * sum(
            number * steps > settings["warmup"] for number in range(1, 9)
        )


@pytest.fixture
def checkout(tmp_path):
    """Scripts that keep what they were told, and refuse a network of unknown size."""
    (tmp_path / "cleanrl").mkdir()
    text = """
        import pathlib, sys
        told = pathlib.Path(__file__).with_suffix(".txt")
        before = told.read_text() if told.exists() else ""
        told.write_text(before + " ".join(sys.argv[1:]) + chr(10))
        sys.exit("no such thing" if before.count(chr(10)) == 3 else 0)
    """
    for name in cleanrl.SCRIPTS.values():
        (tmp_path / "cleanrl" / name).write_text(textwrap.dedent(text))
    return tmp_path


@pytest.mark.parametrize("task", cleanrl.SCRIPTS)
def test_scripts_run_whole_at_two_lengths(task, checkout):
    script = cleanrl.Scripts(checkout, sys.executable, "one thread", task, {})
    assert script.start()["versions"] == {"cleanrl": "unknown"}
    answer = script.ask("train", 1.0)
    runs = (checkout / "cleanrl" / cleanrl.SCRIPTS[task]).with_suffix(".txt").read_text().splitlines()
    lengths = [int(run.split("--total-timesteps ")[1].split()[0]) for run in runs]
    assert lengths == [script.length(), lengths[2] * 4, lengths[2]]
    assert answer["steps"] == 3 * lengths[2]
    assert f"--gamma {(PPO if task == 'ppo' else CLEAN)['discount']}" in runs[0]
    with pytest.raises(Failed, match="no such thing"):
        script.seconds(256)


def test_other_pythons_need_not_know_stepax():
    root = pathlib.Path(__file__).parents[2]
    code = (
        "import sys; sys.modules['stepax'] = sys.modules['jax'] = None\n"
        "import bench.rivals.sb3 as rival\nprint(rival.PPO['lanes'])"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert told.stdout == "8\n"


def test_gymnasium_alone():
    pytest.importorskip("gymnasium", reason="Gymnasium is not here: it comes with the extra `gym`")
    running = sb3.stepped(6)
    assert [next(running), next(running)] == [6, 6]


@pytest.mark.parametrize("task", ["ppo", "dqn"])
def test_stable_baselines_alone(task, monkeypatch):
    pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not here: `pip install stable-baselines3`")
    monkeypatch.setattr(sb3, "STRETCH", 256)
    running = sb3.trained(task)
    assert [next(running), next(running)] == [256, 256]
