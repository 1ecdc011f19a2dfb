"""What a comparison decides: whose losses differ too much, which form is too slow, and who compiles where."""

import pathlib
from typing import Any

import numpy as np
import pytest
from bench.process import Failed, environment

from bench import compare

LOSSES = [2.0, 1.5, 1.0]


class Rival:
    """A process that answers at once: its losses, and examples at a rate of its own."""

    def __init__(self, rival: str, form: str, rate: float, losses: list[float] | None) -> None:
        self.rival, self.form, self.rate, self.losses, self.turns = rival, form, rate, losses, 0

    def start(self) -> dict[str, Any]:
        if self.losses is None:
            raise Failed("no compiler")
        return {"first": 0.1, "memory": 1, "versions": {self.rival: "1.0"}}

    def ask(self, do: str, steps: int = 0, seconds: float = 0.0) -> dict[str, Any]:
        if do == "losses":
            return {"losses": self.losses}
        self.turns += 1
        return {"examples": self.rate * seconds, "seconds": seconds}


def compared(*rivals: Rival, rounds: int = 3) -> tuple[dict, dict]:
    versions: dict[str, str] = {}
    return compare.compared("toy", list(rivals), rounds, 1.0, 1e-2, versions), versions


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "PAUSE", 0.0)


def test_losses_that_differ_too_much_are_said_and_leave_the_form_out() -> None:
    wrong = [2.0, 1.5, 1.1]
    found, versions = compared(Rival("stepax", "fit", 3.0, LOSSES), Rival("torch", "eager", 9.0, wrong))
    assert found["stepax"]["fit"]["difference"] == 0
    assert "left_out" not in found["stepax"]["fit"]
    facts = found["torch"]["eager"]
    assert facts["left_out"] == "its losses differ by 5e-02, where 1e-02 is allowed"
    np.testing.assert_allclose(facts["difference"], 0.1 / 2.0)
    # It is timed all the same: the reader can see what it would have been.
    assert facts["rates"] == [9.0] * 3
    assert versions == {"stepax": "1.0", "torch": "1.0"}
    assert "losses" not in facts


def test_losses_that_are_no_numbers_leave_the_form_out() -> None:
    found, _ = compared(Rival("stepax", "fit", 3.0, LOSSES), Rival("torch", "eager", 9.0, [2.0, 1.5, float("nan")]))
    assert "left_out" in found["torch"]["eager"]


def test_fewer_losses_are_held_against_as_many() -> None:
    found, _ = compared(Rival("stepax", "fit", 3.0, LOSSES), Rival("flax", "scan", 1.0, LOSSES[:2]))
    assert found["flax"]["scan"]["steps"] == 2
    assert found["flax"]["scan"]["difference"] == 0


def test_a_slow_form_stops_after_two_rounds_but_not_for_one_that_learns_something_else() -> None:
    ours = Rival("stepax", "fit", 3.0, LOSSES)
    right, slow, wrong = (
        Rival("torch", form, rate, losses)
        for form, rate, losses in (("eager", 4.0, LOSSES), ("slow", 1.0, LOSSES), ("wrong", 99.0, [9.0, 9.0, 9.0]))
    )
    found, _ = compared(ours, right, slow, wrong, rounds=4)
    assert {form: len(facts["rates"]) for form, facts in found["torch"].items()} == {"eager": 4, "slow": 2, "wrong": 4}


def test_a_form_that_fails_is_told_and_the_others_go_on() -> None:
    found, _ = compared(Rival("stepax", "fit", 3.0, LOSSES), Rival("torch", "compile", 1.0, None))
    assert found["torch"]["compile"] == {"failed": "no compiler"}
    with pytest.raises(SystemExit, match="stepax failed: no compiler"):
        compared(Rival("stepax", "fit", 3.0, None))


def test_every_form_compiles_into_a_folder_of_its_own(tmp_path: pathlib.Path) -> None:
    of = {
        names: compare.own(tmp_path, *names)
        for names in (
            ("mlp", "torch", "compile"),
            ("mlp", "torch", "compile, vmap"),
            ("mlp-32", "torch", "compile"),
            ("mlp", "flax", "scan"),
        )
    }
    assert len(set(of.values())) == len(of)
    assert all(folder.is_dir() and tmp_path in folder.parents for folder in of.values())
    folder = of["mlp", "torch", "compile"]
    kept = {name: value for name, value in environment(1, folder).items() if value.startswith(str(tmp_path))}
    assert {pathlib.Path(value).parent for value in kept.values()} == {folder}
    assert set(kept) >= {"JAX_COMPILATION_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "KERAS_HOME"}


def test_unknown_names_are_refused() -> None:
    with pytest.raises(SystemExit, match="rivals: no 'sing'; there are stepax, torch"):
        compare.main(("mlp",), ("sing",))
