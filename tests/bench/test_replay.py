import io
import json

import jax
import numpy as np
import pytest
from rich.console import Console

from bench import replay


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "STEPS", 3)


def test_every_kind_is_timed_at_every_capacity(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(replay, "OUT", Console(file=shown, width=120))
    monkeypatch.setattr(replay, "KINDS", replay.KINDS[::2])
    monkeypatch.setattr(replay, "full", lambda made, kind, capacity: FULL(made, kind, capacity))
    monkeypatch.setattr(replay, "busy", lambda: 0.0)
    FULL = lambda made, kind, capacity: made.init({name: leaf[0] for name, leaf in replay.transitions(0, 1).items()})  # noqa: E731
    replay.main((20, 40), lanes=2, batch_size=4, rounds=2, seconds=0.0, out=tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert {kind: list(times) for kind, times in found["microseconds"].items()} == {
        "uniform": ["20", "40"],
        "prioritised, 3 steps": ["20", "40"],
    }
    assert all(len(times) == 2 and min(times) > 0 for kind in found["microseconds"].values() for times in kind.values())
    assert "2 inserted and 4 drawn" in shown.getvalue()


@pytest.mark.parametrize("kind", replay.KINDS)
def test_a_buffer_is_full_and_stays_so(kind) -> None:
    made = replay.made(kind, 30, 2)
    buffer = replay.full(made, kind, 30)
    assert int(made.size(buffer)) == 30
    after = replay.steps(made, 2, 4)(buffer, jax.random.key(0))
    assert int(made.size(after)) == 30


def test_the_table_compares_within_a_round() -> None:
    times = {"100": [1.0, 10.0, 1.0], "1000": [2.0, 20.0, 2.0]}
    shown = Console(file=io.StringIO(), width=120)
    shown.print(replay.table({"lanes": 1, "batch_size": 2, "microseconds": {"uniform": times}}))
    row = next(line for line in shown.file.getvalue().splitlines() if "uniform" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["uniform", "1.0", "2.0", "2.00  (2.00 – 2.00)"]
    np.testing.assert_equal(list(times), ["100", "1000"])
