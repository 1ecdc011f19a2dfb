import json
import pathlib

import pytest

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
    assert tables.best(found["rivals"]["torch"]) == "eager"
    assert tables.best({"early": {"rates": [9.0]}, "late": {"rates": [1.0, 1.0]}}) == "late"
    assert tables.ratio(found, "torch") == (2.5, 3.0, 3.0)
    assert tables.peak_share(found) == pytest.approx(0.4)


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
    tables.write({**first, "workloads": {"cnn": 1, "mlp": 1}}, path)
    tables.write({**first, "workloads": {"mlp": 2}}, path)
    tables.write({"overhead": {"mlp": 3}, "versions": {"torch": "2.0"}}, path)
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert kept["workloads"] == {"cnn": 1, "mlp": 2}
    assert kept["overhead"] == {"mlp": 3}
    assert kept["versions"] == {"jax": "1.0", "torch": "2.0"}


def test_overhead_is_the_median_ratio_within_rounds() -> None:
    spent = {"alone": [1.0, 10.0, 2.0], "scan": [0.5, 5.0, 1.0], "fit": [0.55, 5.0, 1.5]}
    found = {**result([1.0]), "overhead": {"mlp": {"ms": spent, "busy": 0.0}}}
    text = tables.overhead_markdown(found)
    assert "| mlp | 2.00 | 1.00 | 1.50 | 0.50 | 1.100 |" in text
    assert text.endswith("`python -m bench.overhead`, 2026-01-02; Chip, 2 cores; jax 1.0.")
