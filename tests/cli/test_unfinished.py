import json

import pytest

from stepax import processes
from stepax.cli.runs import open_run
from stepax.cli.unfinished import CHECKPOINTS, PLAN, Unfinished, begin, finish, unfinished
from stepax.record import RunError


@pytest.fixture
def run(iris_run):
    return Unfinished(open_run(iris_run).plan, {"bytes": 3, "sha256": "a"}, ("tensorboard",), True, False, 2)


def test_what_was_begun_is_read_again(tmp_path, run):
    begin(tmp_path, run)
    assert unfinished(tmp_path) == run
    begin(tmp_path, run._replace(file=None, log=(), watch=False, figures=True))
    assert unfinished(tmp_path) == run._replace(file=None, log=(), watch=False, figures=True)


def test_it_goes_on_in_as_many_processes_unless_others_are_asked_for(tmp_path, run, call, monkeypatch):
    begin(tmp_path, run)
    started = []
    monkeypatch.setattr(processes, "start", lambda command, count: started.append((command[-2:], count)) or 0)
    call("train", "--resume", tmp_path)
    call("train", "--resume", tmp_path, "--processes", 3)
    assert started == [(["--resume", str(tmp_path)], 2), (["--processes", "3"], 3)]


def test_a_finished_one_leaves_nothing(tmp_path, run):
    begin(tmp_path, run)
    (tmp_path / CHECKPOINTS / "step-000000000001").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("mine")
    finish(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "stepax.plan/9"}, "is not of the format stepax.plan/1"),
        ({"log": None}, "is damaged: log missing or of the wrong kind"),
        ({"watch": "yes"}, "is damaged: watch missing or of the wrong kind"),
        ({"figures": 1, "details": []}, "is damaged: details, figures missing"),
        ({"processes": None}, "is damaged: processes missing"),
        ({"details": {}}, "was not made by `stepax train`"),
    ],
)
def test_a_damaged_plan_is_refused(tmp_path, run, change, message):
    begin(tmp_path, run)
    text = json.loads((tmp_path / PLAN).read_text())
    (tmp_path / PLAN).write_text(json.dumps({**text, **change}))
    with pytest.raises(RunError, match=message):
        unfinished(tmp_path)
    (tmp_path / PLAN).write_text("{")
    with pytest.raises(RunError, match=r"plan\.json is damaged"):
        unfinished(tmp_path)


def test_a_finished_run_is_not_gone_on_with(iris_run):
    with pytest.raises(RunError, match="the run is finished"):
        unfinished(iris_run)
