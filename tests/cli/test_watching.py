import json

import jax
import numpy as np
import pytest

import stepax as sx
from stepax.cli.watching import watched

DATA = {"x": np.ones((4, 2), np.float32), "y": np.array([0, 1, 0, 1], np.float32)}


@pytest.mark.parametrize("wanted", [(), ("tensorboard",)])
def test_logs_have_the_rows_as_they_are_and_people_see_them_as_they_are_told(tmp_path, capsys, wanted):
    learner = sx.nn.rosenblatt(sx.nn.Perceptron(), 1.0)
    reports = sx.training(learner, DATA, key=jax.random.key(0), epochs=2, batch_size=None)
    seen = list(watched(reports, tmp_path, wanted, lambda row: {"epoch": row["epoch"], "step": 1, "mistakes": 7.0}))
    rows = [json.loads(line) for line in (tmp_path / "epochs.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows] == [report.row["loss"] for report in seen if report.row]
    table = capsys.readouterr().err
    assert "mistakes" in table
    assert "loss" not in table
    assert (tmp_path / "tensorboard").exists() == bool(wanted)
