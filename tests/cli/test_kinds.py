import json
import subprocess
import sys

import pytest

from stepax import files
from stepax.cli.agents.plan import AgentPlan
from stepax.cli.kinds import is_agent, plan_of
from stepax.cli.plan import Plan
from stepax.record import RunError


def test_kinds_are_told_by_what_the_record_holds(iris_run, lake_run, tmp_path):
    assert (is_agent(lake_run), is_agent(iris_run)) == (True, False)
    with pytest.raises(RunError, match=r"there is no run\.json in it"):
        is_agent(tmp_path)


@pytest.mark.parametrize(("fixture", "kind"), [("iris_run", Plan), ("lake_run", AgentPlan)])
def test_a_plan_is_of_its_kind(request, fixture, kind):
    details = files.read_json(request.getfixturevalue(fixture) / "run.json")["details"]
    details.pop("file")
    made = plan_of(details)
    assert type(made) is kind
    assert json.loads(files.one_line(made.details())) == json.loads(files.one_line(details))


def test_what_is_for_agents_is_imported_only_for_them():
    code = (
        "import sys; from stepax.cli import evaluate, generate, plot, predict, train\n"
        "print([name for name in sys.modules if name.startswith(('stepax.rl', 'stepax.cli.agents.'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "['stepax.cli.agents.options']\n"
