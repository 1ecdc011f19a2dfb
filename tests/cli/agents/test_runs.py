import json
import shutil

import jax
import numpy as np
import pytest

from stepax import record
from stepax.cli.agents.runs import open_agent
from stepax.cli.runs import new_folder, open_run


@pytest.mark.parametrize("fixture", ["lake_run", "pole_run", "catch_run"])
def test_an_opened_agent_is_the_one_that_was_saved(request, fixture):
    folder = request.getfixturevalue(fixture)
    run = open_agent(folder)
    assert record.parameter_hash(run.state.params) == run.record["parameters"]
    assert int(run.state.step) == run.record["steps"] == run.plan.rounds * run.plan.epochs
    seen = np.zeros((2, *run.built.environment.observation_space.shape), run.built.environment.observation_space.dtype)
    assert jax.tree.leaves(run.built.learner.predict(run.state, seen))[0].shape[0] == 2


def test_models_and_agents_are_told_apart(iris_run, lake_run):
    with pytest.raises(record.RunError, match="it is a model's, which learnt from data"):
        open_agent(iris_run)
    with pytest.raises(record.RunError, match=r"it is an agent's, which acts .* evaluate .* plot .* record"):
        open_run(lake_run)


@pytest.mark.parametrize("command", [("predict", "x.npy"), ("generate",)])
def test_commands_for_models_say_what_there_is_for_agents(call, lake_run, command):
    done = call(command[0], lake_run, *command[1:])
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert f"evaluate {lake_run}`" in done.err


def test_a_damaged_plan_names_the_run(tmp_path, lake_run):
    run = shutil.copytree(lake_run, tmp_path / "run")
    kept = json.loads((run / "run.json").read_text())
    kept["details"]["agent"]["options"]["lanes"] = 0
    (run / "run.json").write_text(json.dumps(kept))
    with pytest.raises(record.RunError, match=f"run {run}: .*--lanes: expected at least 1, got 0"):
        open_agent(run)


def test_every_figure_and_file_of_an_agent_is_known_as_ours(tmp_path, lake_run):
    run = shutil.copytree(lake_run, tmp_path / "run")
    (run / "run.json").unlink()  # as if it had been cut short
    assert list(new_folder(run, "x").iterdir()) == []
