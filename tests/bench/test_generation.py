"""All forms continue a text by the same tokens, and a result can be read."""

import json
import pathlib

import numpy as np
import pytest

from bench import generation


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    for name, value in {"FEATURES": 8, "LAYERS": 2, "HEADS": 2, "VOCABULARY": 11, "PROMPT": 3}.items():
        monkeypatch.setattr(generation, name, value)


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "task.npz"
    generation.save(path, 2, 12)
    return path


def test_all_make_the_same_tokens(task, torch):
    try:
        forms = [(rival, form) for rival, form in generation.FORMS if form != "compile"]
        tokens = [generation.continues(rival, form, task)() for rival, form in forms]
        assert tokens[0].shape == (2, 9)
        assert len(np.unique(tokens[0])) > 2
        for other in tokens[1:]:
            np.testing.assert_array_equal(other, tokens[0])
    finally:
        torch.set_flush_denormal(False)


def test_what_is_compiled_is_the_same(task, torch):
    from bench.rivals import gpt

    try:
        weights, prompt = generation.load(task)
        tokens = torch.from_numpy(prompt).long()
        cached = gpt.Cached(gpt.made(weights, 2).eval(), 2, compiled=False)
        wanted = cached(tokens, 9)
        cached.step, cached.places = cached._masked, cached.reach.split(1)
        np.testing.assert_array_equal(cached(tokens, 9), wanted)
    finally:
        torch.set_flush_denormal(False)


def test_the_logits_are_those_of_stepax(task, torch):
    from bench.rivals import gpt
    from flax import traverse_util

    try:
        weights, _ = generation.load(task)
        tokens = np.random.default_rng(0).integers(0, 11, (2, 12))
        params = traverse_util.unflatten_dict(weights, sep="/")
        ours = generation.decoder(12).apply({"params": params}, tokens)
        theirs = gpt.made(weights, 2)(torch.from_numpy(tokens)).detach().numpy()
        np.testing.assert_allclose(ours, theirs, 1e-4, 1e-5)
    finally:
        torch.set_flush_denormal(False)


def test_a_result_has_all_forms_and_their_ratios(tmp_path: pathlib.Path, monkeypatch, capsys):
    class Rival:
        rates = iter([30.0, 10.0, 20.0, 40.0, 10.0, 10.0])

        def __init__(self, program, rival, form, path, environment):
            self.rival, self.form = rival, form

        def start(self):
            if self.form == "compile":
                raise generation.Failed("no compiler")
            return {"first": 1.0, "tokens": [[1, 2 + (self.form == "eager")]], "versions": {self.rival: "1"}}

        def ask(self, do, seconds):
            return {"rate": next(self.rates)}

        def close(self):
            pass

    monkeypatch.setattr(generation, "Served", Rival)
    monkeypatch.setattr(generation, "busy", lambda: 0.0)
    out = tmp_path / "result.json"
    generation.main(batches=(2,), contexts=(12,), rounds=2, out=out)
    (found,) = json.loads(out.read_text())["cases"]
    assert found["forms"]["torch, compile"] == {"failed": "no compiler"}
    assert [facts.get("equal") for facts in found["forms"].values()] == [True, False, None, True]
    assert generation.ratio(found, "torch, eager") == pytest.approx((3.25, 3.5, 3.75))
    shown = capsys.readouterr().out
    assert "different" in shown
    assert "failed" in shown


@pytest.mark.parametrize("broken", ["generate", "eager"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_form_that_fails_on_its_way_leaves_the_others(broken, first, tmp_path, monkeypatch, capsys):
    class Rival:
        def __init__(self, program, rival, form, path, environment):
            self.rival, self.form, self.rounds = rival, form, 0

        def start(self):
            return {"first": 1.0, "tokens": [[1]], "versions": {}}

        def ask(self, do, seconds):
            self.rounds += 1
            if self.form == broken and self.rounds > first:
                raise generation.Failed("no memory")
            return {"rate": 10.0}

        def close(self):
            pass

    monkeypatch.setattr(generation, "Served", Rival)
    monkeypatch.setattr(generation, "busy", lambda: 0.0)
    out = tmp_path / "result.json"
    generation.main(batches=(2,), contexts=(12,), rounds=3, out=out)
    (found,) = json.loads(out.read_text())["cases"]
    failed = [name for name, facts in found["forms"].items() if "failed" in facts]
    assert failed == [{"generate": "stepax, generate", "eager": "torch, eager"}[broken]]
    assert found["forms"]["torch, compile"]["rates"] == [10.0] * 3
    assert "failed" in capsys.readouterr().out


def test_where_stepax_cannot_begin_the_others_are_measured(tmp_path, monkeypatch, capsys):
    class Rival:
        def __init__(self, program, rival, form, path, environment):
            self.rival, self.form = rival, form

        def start(self):
            if self.rival == "stepax":
                raise generation.Failed("no backend")
            return {"first": 1.0, "tokens": [[1]], "versions": {}}

        def ask(self, do, seconds):
            return {"rate": 10.0}

        def close(self):
            pass

    monkeypatch.setattr(generation, "Served", Rival)
    monkeypatch.setattr(generation, "busy", lambda: 0.0)
    out = tmp_path / "result.json"
    generation.main(batches=(2,), contexts=(12,), rounds=2, out=out)
    (found,) = json.loads(out.read_text())["cases"]
    assert found["forms"]["torch, eager"] == {"first": 1.0, "rates": [10.0, 10.0], "equal": None}
    assert "failed" in capsys.readouterr().out
