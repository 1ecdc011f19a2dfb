import builtins
import json

import numpy as np
import pytest

from stepax.cli.agents.evaluate import in_gymnasium
from stepax.cli.agents.runs import open_agent


def test_episodes_are_played_as_after_the_training(call, lake_run):
    done = call("evaluate", lake_run, "--json")
    told = json.loads(done.out)
    metrics = json.loads((lake_run / "run.json").read_text())["metrics"]
    assert {name: told[name] for name in ("return", "length", "episodes")} == {
        name: metrics[f"evaluation/{name}"] for name in ("return", "length", "episodes")
    }
    assert (told["environment"], "gymnasium" in told) == ("FrozenLake-v1", False)


def test_a_table_says_how_many_and_how_good(call, pole_run):
    done = call("evaluate", pole_run, "--episodes", 5)
    assert (done.status, done.err) == (0, "")
    assert f"{pole_run}: ppo in CartPole-v1" in " ".join(done.out.split())
    assert "return, mean ± standard error" in done.out
    assert done.out.splitlines()[-1].split() == ["episodes", "5"]


def test_gymnasium_stands_beside_it(call, lake_run):
    pytest.importorskip("gymnasium", reason="Gymnasium is not here: it comes with the extra `gym`")
    done = call("evaluate", lake_run, "--gymnasium", "--episodes", 300, "--json")
    assert done.status == 0, done.err
    ours = json.loads(done.out)
    theirs = ours["gymnasium"]
    assert theirs["episodes"] == 300
    # Five standard errors; a return is 0 or 1, of which that is at most .03 each.
    assert abs(ours["return"] - theirs["return"]) < 5 * np.hypot(max(ours["return_error"], 0.01), 0.03)
    assert "Gymnasium" in call("evaluate", lake_run, "--gymnasium", "--episodes", 3).out


def test_the_same_seed_gives_the_same_episodes_in_gymnasium(pole_run):
    pytest.importorskip("gymnasium", reason="Gymnasium is not here: it comes with the extra `gym`")
    run = open_agent(pole_run)
    first, second = (in_gymnasium(run, 4, 500) for _ in range(2))
    np.testing.assert_array_equal(first.returns, second.returns)
    np.testing.assert_array_equal(first.returns, first.lengths)  # a point a step
    assert first.ended.all()


@pytest.mark.parametrize("option", [("--data", "iris"), ("--part", "all"), ("--encoding", "utf-8")])
def test_an_agent_reads_no_data(call, lake_run, option):
    done = call("evaluate", lake_run, *option)
    assert done.status == 2
    assert f"{option[0]} does not apply to {lake_run}, an agent's run" in done.err


def test_what_is_for_agents_does_not_apply_to_models(call, iris_run):
    assert "--episodes is for the run of an agent, and" in call("evaluate", iris_run, "--episodes", 3).err
    assert "--gymnasium is for the run of an agent, and" in call("evaluate", iris_run, "--gymnasium").err


def test_wrong_numbers_and_environments_of_others_are_refused(call, lake_run, catch_run):
    assert call("evaluate", lake_run, "--episodes", 0).err == "error: --episodes: expected at least 1, got 0\n"
    assert call("evaluate", catch_run, "--gymnasium").err == "error: --gymnasium: there is no Catch in Gymnasium\n"


def test_without_gymnasium_its_extra_is_named(call, lake_run, monkeypatch):
    imports = builtins.__import__

    def without(name, *rest, **named):
        if name.split(".")[0] == "gymnasium":
            raise ImportError(name)
        return imports(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    done = call("evaluate", lake_run, "--gymnasium")
    assert (done.status, done.err) == (2, "error: --gymnasium needs gymnasium: pip install 'stepax[gym]'\n")
