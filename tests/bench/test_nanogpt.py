"""Both train the same model on the same windows by the same rule: their losses are the same."""

import json

import numpy as np
import pytest
from bench.rivals import SPREAD

from bench import nanogpt

TEXT = "to be, or not to be, that is the question: " * 40


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    for name, value in {"FEATURES": 8, "LAYERS": 2, "HEADS": 2, "CONTEXT": 8, "BATCH": 4, "WARM": 3}.items():
        monkeypatch.setattr(nanogpt, name, value)


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "task.npz"
    nanogpt.save(path, TEXT, steps=12, parts=3)
    return nanogpt.Task(path)


def test_the_losses_are_those_of_pytorch(task, torch):
    try:
        ours, theirs = nanogpt.ours(task, SPREAD), nanogpt.theirs(task, "eager")
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
            taken = {"fit": [4.0, 1.0], SPREAD: [4.0, 1.5], "eager": [3.0, 3.0], "compile": [9.0, 2.0]}
            self.form, self.seconds = form, iter(taken[form])

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
    assert nanogpt.ratio(result, f"stepax, {SPREAD}")[0] == pytest.approx(5.5 / 5)
    assert result["forms"]["torch, eager"]["difference"] == pytest.approx(0.05)
    assert result["forms"]["torch, compile"]["difference"] == 0
    assert "nanoGPT on a CPU" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("steps", "parts", "message"),
    [
        (10, 4, "steps: expected a multiple of parts=4, got 10"),
        (3, 4, "steps: expected a multiple of parts=4, got 3"),
        (0, 4, "steps: expected a multiple of parts=4, got 0"),
        (4, 0, "parts: expected at least 1, got 0"),
    ],
)
def test_parts_that_are_not_of_one_length_are_refused(steps, parts, message, monkeypatch):
    monkeypatch.setattr(nanogpt, "described", lambda: pytest.fail("it was begun"))
    with pytest.raises(ValueError, match=message):
        nanogpt.main(steps=steps, parts=parts)


@pytest.mark.parametrize("broken", ["fit", "eager"])
def test_a_form_that_fails_on_its_way_leaves_the_others(broken, tmp_path, monkeypatch, capsys):
    class Rival:
        def __init__(self, program, rival, form, path, environment):
            self.form, self.parts = form, 0

        def start(self):
            return {"versions": {}}

        def ask(self, do):
            self.parts += 1
            if self.form == broken and self.parts == 2:
                raise nanogpt.Failed("no memory")
            return {"seconds": 2.0, "losses": [2.0, 1.0]}

        def close(self):
            pass

    monkeypatch.setattr(nanogpt, "Served", Rival)
    monkeypatch.setattr(nanogpt, "busy", lambda: 0.0)
    monkeypatch.setattr("stepax.data.corpus", lambda name: TEXT)
    out = tmp_path / "result.json"
    nanogpt.main(steps=4, parts=2, out=out)
    forms = json.loads(out.read_text())["forms"]
    assert [name for name, facts in forms.items() if "failed" in facts] == [
        {"fit": "stepax, fit", "eager": "torch, eager"}[broken]
    ]
    assert forms["torch, compile"]["seconds"] == [2.0, 2.0]
    assert forms["torch, compile"]["last"] == 1.0
    assert "failed" in capsys.readouterr().out
