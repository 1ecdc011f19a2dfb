"""What a comparison has found: tables for the terminal, its file, and the table in the documents.

python -m bench.tables                     # brings the newest of bench/results into README.md and docs/performance.md
python -m bench.tables bench/results/x.json
"""

import json
import pathlib
import statistics
from collections.abc import Iterator
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from bench.machine import QUIET
from bench.rivals import TITLES

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
MARKS = "<!-- written by bench/{}.py -->", "<!-- end -->"
OVERHEAD = ("a call for each", "scan by hand", "fit", "scan / calls", "fit / scan", "fit begins in", "the first time")
PAGES = (ROOT / "README.md", ROOT / "docs" / "performance.md")


def main(result: tyro.conf.Positional[pathlib.Path | None] = None) -> None:
    """Shows a result and brings its table into the documents.

    Args:
        result: The file; without, the newest of bench/results.
    """
    found = read(result or max(RESULTS.glob("*.json")))
    texts = {}
    if found.get("workloads"):
        Console().print(ratios(found))
        texts["compare"] = markdown(found)
    if found.get("overhead"):
        Console().print(overhead(found))
        texts["overhead"] = overhead_markdown(found)
    for page in PAGES:
        for name, text in texts.items():
            if insert(page, text, name):
                print(f"written to {page}")


def rate(form: dict[str, Any]) -> float:
    """Examples per second: the median, 0 where there is none."""
    return statistics.median(form.get("rates") or [0.0])


def counts(form: dict[str, Any], tolerance: float) -> bool:
    """Whether a form learns what stepax learns: its losses differ by no more than the tolerance. NaN is more."""
    return form.get("difference", 0.0) <= tolerance


def best(workload: dict[str, Any], rival: str) -> str | None:
    """A rival's form of the highest median among those that count and ran every round; ``None`` where none did."""
    return _best(workload["rivals"].get(rival, {}), workload["tolerance"])


def _best(measured: dict[str, Any], tolerance: float) -> str | None:
    forms = {name: form for name, form in measured.items() if counts(form, tolerance)}
    rounds = max((len(form.get("rates", [])) for form in forms.values()), default=0)
    names = [name for name, form in forms.items() if rounds and len(form.get("rates", [])) == rounds]
    return max(names, key=lambda name: rate(forms[name]), default=None)


def left_out(result: dict[str, Any]) -> list[str]:
    """The forms that were timed and do not count, each with its workload and how far its losses differ."""
    return [
        f"{name}: {TITLES[rival]}, {form} ({facts['difference']:.0e})"
        for name, workload in result["workloads"].items()
        for rival, measured in workload["rivals"].items()
        for form, facts in measured.items()
        if not counts(facts, workload["tolerance"])
    ]


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """The first quartile, the median and the third."""
    if len(values) < 2:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def ratio(workload: dict[str, Any], rival: str) -> tuple[float, float, float] | None:
    """Quartiles of stepax's rate over that of a rival's best form, both of the same round."""
    rates = []
    for measured in (_beside(workload, rival), workload["rivals"].get(rival, {})):
        form = _best(measured, workload["tolerance"])
        if form is None:
            return None
        rates.append(measured[form]["rates"])
    return quartiles([ours / theirs for ours, theirs in zip(*rates, strict=False)])


def _beside(workload: dict[str, Any], rival: str) -> dict[str, Any]:
    """The forms of stepax that ran in turn with a rival."""
    return workload.get("beside", {}).get(rival) or workload["rivals"].get("stepax", {})


def peak_share(workload: dict[str, Any]) -> float:
    """The part of the machine's matrix products per second that stepax's training reaches."""
    return max(map(rate, workload["rivals"]["stepax"].values())) * workload["flops"] / workload["matmul_peak"]


def forms(name: str, workload: dict[str, Any]) -> Table:
    """Everything about one workload."""
    title = f"{name}: {workload['title']}, batch {workload['batch_size']}"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("form")
    # With a cache from an earlier run it says nothing of compiling.
    first = {True: "first step, cold", False: "first step, cached"}.get(workload.get("cold"), "first step")
    for column in ("examples/s", "quartiles", first, "memory", "losses differ by"):
        table.add_column(column, justify="right", no_wrap=True)
    for rival, measured in workload["rivals"].items():
        for form, facts in measured.items():
            style = "bold" if form == best(workload, rival) else None
            table.add_row(TITLES[rival], form, *_cells(facts, workload["tolerance"]), style=style)
    return table


def _cells(facts: dict[str, Any], tolerance: float) -> list[str]:
    if "failed" in facts:
        return ["failed"]
    low, middle, high = quartiles(facts["rates"])
    difference = f"{facts['difference']:.0e}"
    return [
        f"{middle:,.0f}",
        f"{low:,.0f} – {high:,.0f}",
        f"{facts['first']:.1f} s",
        f"{facts['memory'] / 1e6:,.0f} MB",
        difference if counts(facts, tolerance) else f"[red]{difference}: left out[/]",
    ]


def ratios(result: dict[str, Any]) -> Table:
    """stepax over the best form of every rival, one line per workload."""
    table = Table(title="stepax, times as fast as the best form of", title_justify="left", title_style="bold")
    rivals = _rivals(result)
    table.add_column("")
    for column in (*(TITLES[rival] for rival in rivals), "examples/s", "of the matmul peak"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, workload in result["workloads"].items():
        found = [ratio(workload, rival) for rival in rivals]
        cells = ["–" if r is None else f"{r[1]:.2f}  ({r[0]:.2f} – {r[2]:.2f})" for r in found]
        examples = max(map(rate, workload["rivals"]["stepax"].values()))
        table.add_row(name, *cells, f"{examples:,.0f}", f"{peak_share(workload):.0%}")
    return table


def _rivals(result: dict[str, Any]) -> list[str]:
    found = {rival for workload in result["workloads"].values() for rival in workload["rivals"]}
    return [rival for rival in TITLES if rival in found and rival != "stepax"]


def markdown(result: dict[str, Any]) -> str:
    """The table of ratios for the documents, with the machine, the versions and the date below."""
    rivals = _rivals(result)
    lines = [
        "| | " + " | ".join(TITLES[rival] for rival in rivals) + " | examples/s | of the matmul peak |",
        "|---|" + "---|" * (len(rivals) + 2),
    ]
    for workload in result["workloads"].values():
        cells = [_with_form(workload, rival) for rival in rivals]
        examples = max(map(rate, workload["rivals"]["stepax"].values()))
        lines.append(
            f"| {workload['title']}, batch {workload['batch_size']} | {' | '.join(cells)} "
            f"| {examples:,.0f} | {peak_share(workload):.0%} |"
        )
    wrong = left_out(result)
    note = f" Left out, as their losses differ too much: {'; '.join(wrong)}." if wrong else ""
    return "\n".join([*lines, "", f"`make bench`, {origin(result, 'workloads')}{note}"])


def origin(result: dict[str, Any], part: str) -> str:
    """When, on what machine and with what versions, and whether others worked there, too."""
    shown = ("python", "stepax", "jax", "torch", "keras", "flax", "optax")
    versions = ", ".join(f"{name} {result['versions'][name]}" for name in shown if name in result["versions"])
    processor = result["processor"]
    device = "" if result["device"]["platform"] == "cpu" else f", {result['device']['kind']}"
    machine = f"{processor['model']}, {processor['cores']} cores{device}"
    taken = max(workload["busy"] for workload in result[part].values())
    quiet = "" if taken <= QUIET else f" Other programs took up to {taken:.0%} of the processors."
    return f"{result['date']}; {machine}; {versions}.{quiet}"


def _with_form(workload: dict[str, Any], rival: str) -> str:
    found = ratio(workload, rival)
    if found is None:
        return "–"
    low, middle, high = found
    return f"**{middle:.2f}** ({low:.2f} – {high:.2f}; {best(workload, rival)})"


def overhead(result: dict[str, Any]) -> Table:
    """What ``bench/overhead.py`` has found, one line per workload."""
    table = Table(title="ms per step, medians", title_justify="left", title_style="bold")
    table.add_column("", no_wrap=True)
    for column in OVERHEAD:
        table.add_column(column, justify="right")
    for name, cells in _overhead_rows(result):
        table.add_row(name, *cells)
    return table


def overhead_markdown(result: dict[str, Any]) -> str:
    """The same for the documents."""
    lines = [f"| ms per step | {' | '.join(OVERHEAD)} |", "|---|" + "---|" * len(OVERHEAD)]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in _overhead_rows(result)]
    return "\n".join([*lines, "", f"`python -m bench.overhead`, {origin(result, 'overhead')}"])


def _overhead_rows(result: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for name, workload in result["overhead"].items():
        spent = workload["ms"]
        medians = [f"{statistics.median(spent[form]):.2f}" for form in ("alone", "scan", "fit")]
        pairs = (("scan", "alone"), ("fit", "scan"))
        # In the same round: a machine that slows down changes nothing.
        ratios = [statistics.median(a / b for a, b in zip(spent[x], spent[y], strict=True)) for x, y in pairs]
        yield name, [*medians, f"{ratios[0]:.2f}", f"{ratios[1]:.3f}", *_beginning(workload)]


def _beginning(workload: dict[str, Any]) -> tuple[str, str]:
    """Of ``fit``: without compiling, and with; in older results it is part of the steps."""
    if "begin_ms" not in workload:
        return "(in its steps)", "–"
    return f"{statistics.median(workload['begin_ms']['again']):.0f} ms", f"{workload['begin_ms']['first']:,.0f} ms"


def insert(page: pathlib.Path, text: str, name: str) -> bool:
    """Puts a text between the marks of a page that name its program; ``False`` where there is no such page or mark."""
    first, last = MARKS[0].format(name), MARKS[1]
    before, marked, rest = page.read_text(encoding="utf-8").partition(first) if page.exists() else ("", "", "")
    _, ended, after = rest.partition(last)
    if marked and ended:
        page.write_text(f"{before}{first}\n{text}\n{last}{after}", encoding="utf-8")
    return bool(marked and ended)


def read(path: pathlib.Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def write(result: dict[str, Any], path: pathlib.Path) -> None:
    """Keeps a result; what is in the file already and not in the result stays, by workload and rival."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = read(path) if path.exists() else {}
    for part in ("workloads", "overhead", "versions"):
        if part in before or part in result:
            result = {**result, part: {**before.get(part, {}), **result.get(part, {})}}
    for name, earlier in before.get("workloads", {}).items():
        result["workloads"][name] = _joined(earlier, result["workloads"][name])
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _joined(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """A workload's results with the rivals of an earlier run that this one left out, and what these ran beside."""
    missing = {rival: forms for rival, forms in before["rivals"].items() if rival not in now["rivals"]}
    if not missing:
        return now
    beside = {rival: _beside(before, rival) for rival in missing}
    return {**now, "rivals": {**now["rivals"], **missing}, "beside": {**now.get("beside", {}), **beside}}


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
