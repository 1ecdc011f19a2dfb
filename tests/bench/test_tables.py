import io
import json
import pathlib

import pytest
from rich.console import Console

from bench import tables


def result(ours: list[float], **theirs: list[float]) -> dict:
    workload = {
        "title": "MLP",
        "batch_size": 8,
        "flops": 2.0,
        "matmul_peak": 100.0,
        "busy": 0.02,
        "tolerance": 1e-3,
        "rivals": {
            "stepax": {"fit": {"rates": ours}},
            "torch": {form: {"rates": rates} for form, rates in theirs.items()},
        },
    }
    return {
        "date": "2026-01-02",
        "versions": {"jax": "1.0"},
        "processor": {"model": "Chip", "cores": 2},
        "device": {"platform": "cpu"},
        "workloads": {"mlp": workload},
    }


def test_the_ratio_is_of_the_same_round_and_to_the_best_form() -> None:
    # A machine that slows down to a tenth changes nothing.
    found = result([30.0, 20.0, 3.0], eager=[10.0, 10.0, 1.0], compile=[5.0])["workloads"]["mlp"]
    assert tables.best(found, "torch") == "eager"
    assert tables.best(result([1.0], early=[9.0], late=[1.0, 1.0])["workloads"]["mlp"], "torch") == "late"
    assert tables.ratio(found, "torch") == (2.5, 3.0, 3.0)
    assert tables.peak_share(found) == pytest.approx(0.4)


@pytest.mark.parametrize("difference", [2e-3, float("nan")])
def test_a_form_whose_losses_differ_too_much_is_nobodys_best(difference: float) -> None:
    whole = result([30.0, 30.0], eager=[10.0, 10.0], compile=[60.0, 60.0])
    found = whole["workloads"]["mlp"]
    facts = {"first": 1.0, "memory": 1e6, "difference": 1e-3}
    for form in (found["rivals"]["stepax"]["fit"], *found["rivals"]["torch"].values()):
        form |= facts
    assert tables.best(found, "torch") == "compile"
    assert tables.left_out(whole) == []
    found["rivals"]["torch"]["compile"]["difference"] = difference
    assert tables.best(found, "torch") == "eager"
    assert tables.ratio(found, "torch") == (3.0, 3.0, 3.0)
    said = f"mlp: PyTorch, compile ({difference:.0e})"
    assert tables.left_out(whole) == [said]
    assert tables.markdown(whole).endswith(f" Left out, as their losses differ too much: {said}.")
    assert shown(tables.forms("mlp", found)).count("left out") == 1
    # The slower form may have stopped early, as the other seemed to be twice as fast.
    found["rivals"]["torch"]["eager"]["rates"].pop()
    assert tables.best(found, "torch") == "eager"


def shown(table: object) -> str:
    console = Console(width=160, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_the_first_step_says_whether_it_was_cold() -> None:
    found = result([1.0], eager=[1.0])["workloads"]["mlp"]
    for form in (found["rivals"]["stepax"]["fit"], found["rivals"]["torch"]["eager"]):
        form |= {"first": 1.0, "memory": 1e6, "difference": 0.0}
    assert "first step, cold" in shown(tables.forms("mlp", {**found, "cold": True}))
    assert "first step, cached" in shown(tables.forms("mlp", {**found, "cold": False}))
    assert "first step ┃" in shown(tables.forms("mlp", found))


def test_a_rival_that_failed_has_no_ratio() -> None:
    found = result([30.0])["workloads"]["mlp"]
    found["rivals"]["torch"] = {"compile": {"failed": "no compiler"}}
    assert tables.ratio(found, "torch") is None


def test_the_table_goes_between_the_marks(tmp_path: pathlib.Path) -> None:
    page = tmp_path / "page.md"
    first, last = tables.MARKS[0].format("compare"), tables.MARKS[1]
    page.write_text(f"before\n{first}\nold\n{last}\nafter\n", encoding="utf-8")
    text = tables.markdown(result([30.0, 30.0, 30.0], eager=[10.0, 10.0, 10.0]))
    for _ in range(2):
        assert tables.insert(page, text, "compare")
    written = page.read_text(encoding="utf-8")
    assert written == f"before\n{first}\n{text}\n{last}\nafter\n"
    assert "| MLP, batch 8 | **3.00** (3.00 – 3.00; eager) | 30 | 60% |" in written
    assert "2026-01-02; Chip, 2 cores; jax 1.0.\n" in written


def test_the_table_says_when_the_machine_was_not_quiet() -> None:
    found = result([30.0], eager=[10.0])
    found["workloads"]["mlp"]["busy"] = 0.5
    assert tables.markdown(found).endswith("Other programs took up to 50% of the processors.")


def test_a_page_without_marks_stays(tmp_path: pathlib.Path) -> None:
    page = tmp_path / "page.md"
    assert not tables.insert(page, "x", "compare")
    page.write_text("text", encoding="utf-8")
    assert not tables.insert(page, "x", "compare")
    assert page.read_text(encoding="utf-8") == "text"


def test_other_workloads_of_a_file_stay(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "results" / "x.json"
    first = result([1.0], eager=[1.0])
    old, new = ({"rivals": {}, "rounds": rounds} for rounds in (1, 2))
    tables.write({**first, "workloads": {"cnn": old, "mlp": old}}, path)
    tables.write({**first, "workloads": {"mlp": new}}, path)
    tables.write({"overhead": {"mlp": 3}, "versions": {"torch": "2.0"}}, path)
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert kept["workloads"] == {"cnn": old, "mlp": new}
    assert kept["overhead"] == {"mlp": 3}
    assert kept["versions"] == {"jax": "1.0", "torch": "2.0"}


def test_other_rivals_of_a_workload_stay_beside_what_they_ran_with(tmp_path: pathlib.Path) -> None:
    path, torch, keras = tmp_path / "x.json", result([30.0], eager=[10.0]), result([80.0], fit=[20.0])
    for workload in keras["workloads"].values():
        workload["rivals"]["keras"] = workload["rivals"].pop("torch")
    for found in (torch, keras, keras):
        tables.write(found, path)
    kept = tables.read(path)["workloads"]["mlp"]
    assert [tables.ratio(kept, rival) for rival in ("torch", "keras")] == [(3.0,) * 3, (4.0,) * 3]
    tables.write(result([50.0], eager=[10.0]), path)
    kept = tables.read(path)["workloads"]["mlp"]
    assert [tables.ratio(kept, rival) for rival in ("torch", "keras")] == [(5.0,) * 3, (4.0,) * 3]
    assert tables.peak_share(kept) == pytest.approx(1.0)


def test_overhead_is_the_median_ratio_within_rounds_with_the_beginning_apart() -> None:
    spent = {"alone": [1.0, 10.0, 2.0], "scan": [0.5, 5.0, 1.0], "fit": [0.55, 5.0, 1.5]}
    beginning = {"first": 1234.5, "again": [9.0, 21.0, 12.0]}
    found = {**result([1.0]), "overhead": {"mlp": {"ms": spent, "begin_ms": beginning, "busy": 0.0}}}
    text = tables.overhead_markdown(found)
    assert "| fit / scan | fit begins in | the first time |" in text
    assert "| mlp | 2.00 | 1.00 | 1.50 | 0.50 | 1.100 | 12 ms | 1,234 ms |" in text
    assert text.endswith("`python -m bench.overhead`, 2026-01-02; Chip, 2 cores; jax 1.0.")
    assert "12 ms" in shown(tables.overhead(found))


def test_older_results_have_the_beginning_in_the_steps() -> None:
    spent = {"alone": [1.0], "scan": [1.0], "fit": [1.5]}
    found = {**result([1.0]), "overhead": {"mlp": {"ms": spent, "busy": 0.0}}}
    assert "| 1.50 | 1.00 | 1.500 | (in its steps) | – |" in tables.overhead_markdown(found)
