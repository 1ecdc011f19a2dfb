"""Both train the same model on the same windows by the same rule: their losses are the same."""

import json

import numpy as np
import pytest

from bench import nanogpt

TEXT = "to be, or not to be, that is the question: " * 40


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    for name, value in {"FEATURES": 8, "LAYERS": 2, "HEADS": 2, "CONTEXT": 8, "BATCH": 3, "WARM": 3}.items():
        monkeypatch.setattr(nanogpt, name, value)


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "task.npz"
    nanogpt.save(path, TEXT, steps=12, parts=3)
    return nanogpt.Task(path)


def test_the_losses_are_those_of_pytorch(task, torch):
    try:
        ours, theirs = nanogpt.ours(task), nanogpt.theirs(task, "eager")
        for _ in range(3):
            mine, other = next(ours), next(theirs)
            assert mine.shape == (4,)
            np.testing.assert_allclose(mine, other, 2e-4)
            last = mine
        assert last.mean() < np.log(len(set(TEXT)))
    finally:
        torch.set_flush_denormal(False)


def test_the_rate(task):
    rates = [float(task.rate(step)) for step in range(12)]
    np.testing.assert_allclose(rates[:4], [2.5e-4, 5e-4, 7.5e-4, 1e-3])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert float(task.rate(12)) == pytest.approx(1e-4)


def test_a_result_has_all_forms(tmp_path, monkeypatch, capsys):
    class Rival:
        def __init__(self, program, rival, form, path, environment):
            self.form, self.seconds = form, iter({"fit": [4.0, 1.0], "eager": [3.0, 3.0], "compile": [9.0, 2.0]}[form])

        def start(self):
            return {"versions": {}}

        def ask(self, do):
            return {"seconds": next(self.seconds), "losses": [2.0, 2.0 + 0.1 * (self.form == "eager")]}

        def close(self):
            pass

    monkeypatch.setattr(nanogpt, "Served", Rival)
    monkeypatch.setattr(nanogpt, "busy", lambda: 0.0)
    monkeypatch.setattr("stepax.data.corpus", lambda name: TEXT)
    out = tmp_path / "result.json"
    nanogpt.main(steps=4, parts=2, out=out)
    result = json.loads(out.read_text())
    assert nanogpt.ratio(result, "torch, eager") == (pytest.approx(6 / 5), (3.0, 3.0, 3.0))
    assert nanogpt.ratio(result, "torch, compile") == (pytest.approx(11 / 5), (2.0, 2.0, 2.0))
    assert result["forms"]["torch, eager"]["difference"] == pytest.approx(0.05)
    assert result["forms"]["torch, compile"]["difference"] == 0
    assert "nanoGPT on a CPU" in capsys.readouterr().out
