"""The three forms of one training on a toy, and the clock of ``fit``, whose beginning is told apart from its steps."""

import contextlib
import math
import pathlib
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from bench.rivals import task

from bench import overhead, tables
from stepax import nn
from stepax.bench import WORKLOADS, Workload
from stepax.typing import Batch


def toy_data(examples: int, seed: int) -> Batch:
    x = np.random.default_rng(seed).normal(size=(examples, 5)).astype(np.float32)
    return {"x": x, "y": x[:, :3].argmax(-1).astype(np.int32)}


TOY = Workload("toy", "MLP 5-4-3", partial(nn.MLP, (4, 3)), toy_data, 6)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WORKLOADS, "toy", TOY)
    monkeypatch.setattr(overhead, "FEWEST", 2)
    monkeypatch.setattr(overhead, "MOST", 3)
    monkeypatch.setattr(overhead, "busy", lambda: 0.0)


def test_every_form_has_a_number_for_every_round_which_the_tables_can_read(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "result.json"
    overhead.main(("toy",), rounds=2, seconds=0.01, out=out)
    result = tables.read(out)
    found = result["overhead"]["toy"]
    assert found["busy"] == 0.0
    assert list(found["ms"]) == ["alone", "scan", "fit"]
    for spent in (*found["ms"].values(), found["begin_ms"]["again"]):
        assert len(spent) == 2
        assert all(math.isfinite(value) for value in spent)
    assert all(value > 0 for spent in found["ms"].values() for value in spent)
    # The first training compiles, the others do not.
    assert found["begin_ms"]["first"] > max(found["begin_ms"]["again"])
    row = next(line for line in tables.overhead_markdown(result).splitlines() if line.startswith("| toy |"))
    assert row.count(" ms |") == 2


def test_several_models_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WORKLOADS, "toy", TOY._replace(lanes=2))
    assert {len(spent) for spent in overhead.measured("toy", 1, 0.01)["ms"].values()} == {1}


def test_the_cache_is_on_again_afterwards() -> None:
    before = jax.config.jax_enable_compilation_cache
    with contextlib.suppress(RuntimeError), overhead._uncached():
        assert not jax.config.jax_enable_compilation_cache
        raise RuntimeError("what fails inside")
    assert jax.config.jax_enable_compilation_cache == before


def test_all_forms_make_every_step() -> None:
    """Counted by the learner itself: a form that left out steps would seem fast."""
    made, steps = task.make("toy", 3 * TOY.batch_size), []
    learner = TOY.learner()

    def step(*arguments: Any, **settings: Any) -> Any:
        jax.debug.callback(lambda: steps.append(1))
        return learner.step(*arguments, **settings)

    for form in (overhead._alone, overhead._scan, overhead._fit):
        run = form(learner._replace(step=step), made)
        steps.clear()
        turn = run(2)
        jax.effects_barrier()
        assert len(steps) == 2 * 3
        assert turn.step > 0


def test_the_beginning_of_fit_is_no_part_of_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]

    def training(*arguments: Any, **settings: Any) -> Iterator[Any]:
        now[0] += 7.0  # checks, parameters
        return reports()

    def reports() -> Iterator[Any]:
        for steps, total, row in ((1, 1, None), (4, 5, {}), (5, 10, {})):
            now[0] += 0.5 * steps + 0.1 * (row is None)  # a report more to look at
            yield SimpleNamespace(step=total, row=row)

    def collected(reports: Iterator[Any], settings: dict) -> Any:
        *_, last = reports
        now[0] += 0.9  # what comes at the end belongs to the steps
        return SimpleNamespace(record={"steps": last.step})

    monkeypatch.setattr(overhead, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(overhead, "training", training)
    monkeypatch.setattr(overhead, "collected", collected)
    turn = overhead._fit(TOY.learner(), task.make("toy", 6))(2)
    np.testing.assert_allclose(turn.step, (5 * 0.5 + 0.9) / 5)
    np.testing.assert_allclose(turn.begin, 7.0 + 0.1 + 5 * 0.5 - 5 * turn.step)
    # Nothing is lost between the two.
    np.testing.assert_allclose(turn.begin + 10 * turn.step, now[0] - 100.0)


def test_an_unknown_workload_is_named() -> None:
    with pytest.raises(SystemExit, match="workloads: no 'sing'; there are mlp, "):
        overhead.main(("sing",))
