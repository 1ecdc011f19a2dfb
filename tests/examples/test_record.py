import json
import pathlib

import pytest

from examples import record

CLAIM = {"what": "accuracy", "number": "accuracy", "published": "99 %", "source": "A 1999", "low": 98.5, "unit": "%"}


def row(value: object, **changes: object) -> tuple[str, ...]:
    return record.row({"numbers": {"accuracy": value}}, CLAIM | changes)


def test_several_seeds_are_judged_by_their_mean() -> None:
    assert row([98.0, 99.0, 100.0]) == (
        "accuracy",
        "99 % (A 1999)",
        "≥ 98.5 %",
        "99 ± 1 % (n = 3, from 98 % to 100 %)",
        "yes",
    )


@pytest.mark.parametrize(
    ("value", "changes", "verdict"),
    [
        (98.4, {}, "**no**"),
        (98.5, {}, "yes"),
        (99.0, {"high": 98.9}, "**no**"),
        (float("nan"), {}, "**no**"),
        ([97.0], {}, "**no**"),
    ],
)
def test_verdicts(value: object, changes: dict[str, float], verdict: str) -> None:
    assert row(value, **changes)[-1] == verdict


def test_a_bool_and_a_range_in_words() -> None:
    assert row(True, low=True)[2:] == ("yes", "yes", "yes")
    assert row(False, low=True)[2:] == ("yes", "no", "**no**")
    assert row(1.0, low=0.5, high=1.5)[2] == "0.5 % to 1.5 %"
    claim = {"what": "difference", "number": "difference", "high": 1e-6, "unit": "nats", "format": ".0e"}
    assert record.row({"numbers": {"difference": 2e-7}}, claim)[2:] == ("≤ 1e-06 nats", "2e-07 nats", "yes")


def test_without_bounds_nothing_is_promised() -> None:
    claim = {"what": "accuracy", "number": "accuracy"}
    assert record.row({"numbers": {"accuracy": 0.5}}, claim) == ("accuracy", "–", "–", "0.5", "–")
    assert record.row({"numbers": {}}, CLAIM)[3:] == ("not measured", "–")


def test_one_example_is_recorded_beside_the_others(tmp_path: pathlib.Path) -> None:
    record.main(("basics_losses",), docs=tmp_path)
    kept = json.loads((tmp_path / "results" / "basics_losses.json").read_text(encoding="utf-8"))
    assert kept["numbers"]["by_hand"] == pytest.approx(0.1053605, abs=5e-8)
    assert kept["command"] == "python examples/basics_losses.py"
    other = kept | {"example": "basics_backpropagation", "numbers": {}, "figure": True}
    (tmp_path / "results" / "another.json").write_text(json.dumps(other), encoding="utf-8")
    record.main(("basics_losses",), docs=tmp_path)
    table = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "| 0.1053605 | yes |" in table
    assert table.index("| basics_backpropagation |") < table.index("| basics_losses |")
    assert "![basics_backpropagation](figures/basics_backpropagation.png)" in table


def test_an_unknown_example_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(SystemExit, match=r"basics_loses.*basics_losses"):
        record.main(("basics_loses",), docs=tmp_path)


def test_the_table_in_docs_is_what_its_files_say() -> None:
    docs = record.ROOT / "docs"
    if not (docs / "results").is_dir():
        pytest.skip("docs/results: the sources of the package hold no recorded results")
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((docs / "results").glob("*.json"))]
    assert (docs / "results.md").read_text(encoding="utf-8") == record.table(results)
    for result in results:
        assert not result["figure"] or (docs / "figures" / f"{result['example']}.png").stat().st_size < 150_000
