"""Runs examples, and writes what they measured beside what was published into docs/results.md.

    python examples/record.py                    # all that take less than a minute or so
    python examples/record.py --long             # the others
    python examples/record.py basics_losses      # one alone; the rest of the table stays

Every example that was recorded has its numbers in docs/results/<example>.json and its figure in docs/figures; the
table is made from these files and from nothing else. An example takes part by a function ``main`` that returns its
numbers by name (a number, a bool, or a list with one number per seed), and by

    LONG = True     # it takes more than a minute or so; left out otherwise
    CLAIMS = [...]  # what its numbers have to show, each a ``Claim``
"""

import datetime
import importlib.metadata
import importlib.util
import inspect
import json
import os
import pathlib
import platform
import statistics
import time
from types import ModuleType
from typing import Any, NotRequired, TypedDict

import tyro

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ("stepax", "jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn")

# Between these the README shows some lines of the table.
FRONT = ("<!-- written by examples/record.py -->", "<!-- end -->")
HEADLINES = {
    "basics_backpropagation": ("error_1", "error_last"),
    "rl_control": ("cartpole_ppo", "acrobot_ppo", "cartpole_dqn"),
    "rl_demonstrations": ("car_dqfd", "car_dqn"),
    "tables_baselines": ("diabetes_linear", "breast_cancer_linear"),
    "vision_fashion": ("cnn", "mlp"),
    "vision_mnist": ("accuracy",),
    "vision_nielsen": ("accuracy_30_best", "accuracy_30_scaled_best"),
    "vision_transfer": ("head", "all"),
}


class Claim(TypedDict):
    """One line of the table.

    Attributes:
        what: What is measured, in words.
        number: Its name in what ``main`` returns.
        published: The published number, with its unit.
        source: Where it was published.
        low: The mean over seeds must not be below this; ``True`` where the number is a bool.
        high: Nor above this.
        unit: Of the number.
        format: How Python is to write it.
    """

    what: str
    number: str
    published: NotRequired[str]
    source: NotRequired[str]
    low: NotRequired[float]
    high: NotRequired[float]
    unit: NotRequired[str]
    format: NotRequired[str]


def main(
    names: tyro.conf.Positional[tuple[str, ...]] = (),
    long: bool = False,
    docs: pathlib.Path = ROOT / "docs",
    checkpoints: pathlib.Path | None = None,
) -> None:
    """Runs examples, records them, and writes the table anew.

    Args:
        names: Which ones; without names all the quick ones.
        long: Without names: all the long ones instead.
        docs: The folder for results.md, results and figures.
        checkpoints: A folder for those that can be cut short and resumed, which the same command then does; the seconds
            told are those of the last part.
    """
    for folder in (docs / "results", docs / "figures"):
        folder.mkdir(parents=True, exist_ok=True)
    chosen = names or [name for name in examples() if getattr(load(name), "LONG", False) == long]
    for name in chosen:
        print(f"{name} …", flush=True)
        result = run(name, docs / "figures" / f"{name}.png", checkpoints and checkpoints / name)
        text = json.dumps(result, indent=1, ensure_ascii=False)
        (docs / "results" / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print("\n".join("  " + " | ".join(row(result, claim)) for claim in claims(name, result["numbers"])), flush=True)
        write_table(docs)


def write_table(docs: pathlib.Path = ROOT / "docs") -> None:
    """Writes results.md from what is recorded, without running anything."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((docs / "results").glob("*.json"))]
    (docs / "results.md").write_text(table(results), encoding="utf-8")
    readme = docs.parent / "README.md"
    if readme.exists():
        before, marked, rest = readme.read_text(encoding="utf-8").partition(FRONT[0])
        after = rest.partition(FRONT[1])[2]
        if marked:
            readme.write_text(f"{before}{FRONT[0]}\n{front(results)}\n{FRONT[1]}{after}", encoding="utf-8")


def examples() -> list[str]:
    """The names of all examples."""
    files = sorted(pathlib.Path(__file__).parent.glob("*_*.py"))
    return [path.stem for path in files if not path.stem.startswith("_")]


def load(name: str) -> ModuleType:
    """An example as a module, wherever this is run from."""
    path = pathlib.Path(__file__).with_name(f"{name}.py")
    if not path.exists():
        raise SystemExit(f"no example {name!r}: there are {', '.join(examples())}")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, figure: pathlib.Path, checkpoints: pathlib.Path | None = None) -> dict[str, Any]:
    """Runs one example with its own defaults and returns all that is kept of it."""
    module = load(name)
    takes = inspect.signature(module.main).parameters
    draws = "figure" in takes
    places = {"figure": figure, "checkpoints": checkpoints}
    started = time.perf_counter()
    numbers = module.main(**{name: place for name, place in places.items() if name in takes and place is not None})
    seconds = time.perf_counter() - started
    if missing := {claim["number"] for claim in claims(name, numbers)} - set(numbers):
        print(f"  not measured here: {', '.join(sorted(missing))}")
    return {
        "example": name,
        "command": f"python examples/{name}.py",
        "seconds": round(seconds, 1),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "figure": draws,
        "numbers": numbers,
    }


def claims(name: str, numbers: dict[str, Any]) -> list[Claim]:
    """What an example's numbers have to show; without claims of its own, the numbers themselves."""
    return getattr(load(name), "CLAIMS", [{"what": f"{name}: {number}", "number": number} for number in numbers])


def machine() -> str:
    """The processor and how many cores of it a run may use; the accelerator, where there is one."""
    import jax

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = jax.devices()[0]
    accelerator = "" if device.platform == "cpu" else f", {device.device_kind}"
    return f"{processor()}, {cores} cores{accelerator}"


def processor() -> str:
    """The processor's name as the system knows it."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def row(result: dict[str, Any], claim: Claim) -> tuple[str, str, str, str, str]:
    """What, published, must show, measured, and whether it holds."""
    published = claim.get("published", "–")
    if "source" in claim:
        published += f" ({claim['source']})"
    if claim["number"] not in result["numbers"]:
        return claim["what"], published, expected(claim), "not measured", "–"
    value = result["numbers"][claim["number"]]
    mean = statistics.fmean(value) if isinstance(value, list) else float(value)
    holds = claim.get("low", float("-inf")) <= mean <= claim.get("high", float("inf"))
    verdict = ("yes" if holds else "**no**") if "low" in claim or "high" in claim else "–"
    return claim["what"], published, expected(claim), measured(value, claim), verdict


def expected(claim: Claim) -> str:
    """The bounds of a claim in words."""
    if isinstance(claim.get("low"), bool):
        return "yes"
    low, high = (written(claim[bound], claim) if bound in claim else None for bound in ("low", "high"))
    if low is not None and high is not None:
        return low if low == high else f"{low} to {high}"
    return f"≥ {low}" if low is not None else f"≤ {high}" if high is not None else "–"


def measured(value: Any, claim: Claim) -> str:
    """A number; of a list, mean ± standard deviation over n seeds and the range."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, list):
        return written(value, claim)
    if len(value) == 1:
        return f"{written(value[0], claim)} (n = 1)"
    spread = format(statistics.stdev(value), claim.get("format", ".4g"))
    lowest, highest = (written(bound, claim) for bound in (min(value), max(value)))
    mean = format(statistics.fmean(value), claim.get("format", ".4g"))
    return f"{mean} ± {spread}{unit(claim)} (n = {len(value)}, from {lowest} to {highest})"


def written(value: float, claim: Claim) -> str:
    return format(value, claim.get("format", ".4g")) + unit(claim)


def unit(claim: Claim) -> str:
    return f" {claim['unit']}" if "unit" in claim else ""


def front(results: list[dict[str, Any]]) -> str:
    """The lines of the table that the README shows."""
    lines = ["| what | published | must show | measured | holds | example |", "|---|---|---|---|---|---|"]
    for result in results:
        for claim in claims(result["example"], result["numbers"]):
            if claim["number"] in HEADLINES.get(result["example"], ()):
                cells = [cell.replace("|", "\\|") for cell in row(result, claim)]
                lines.append(f"| {' | '.join(cells)} | [{result['example']}](examples/{result['example']}.py) |")
    return "\n".join(lines)


def table(results: list[dict[str, Any]]) -> str:
    """All of results.md."""
    lines = [
        "# Measured results",
        "",
        "Written by `examples/record.py` from `docs/results/*.json`; nothing in here is typed by hand. ± is the "
        "standard deviation over seeds (or splits), and the mean is what must hold. Hyper-parameters are published "
        "ones or were chosen on validation data; no test set chose any, but for movie reviews, whose development "
        "sentences are test sentences of other folds. Where a line speaks of the best epoch, it is the best by the "
        "test set, as the published number is; the line of the last epoch beside it is free of it.",
        "",
        "| what | published | must show | measured | holds | example |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        link = f"[{result['example']}](#runs)"
        lines += [
            "| " + " | ".join([*(cell.replace("|", "\\|") for cell in row(result, claim)), link]) + " |"
            for claim in claims(result["example"], result["numbers"])
        ]
    lines += [
        "",
        "## Runs",
        "",
        "| example | command | seconds | date | machine | versions |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        cells = [
            result["example"],
            f"`{result['command']}`",
            f"{result['seconds']:.1f}",
            result["date"],
            result["machine"],
            versions,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    figures = [result["example"] for result in results if result["figure"]]
    lines += ["", "## Figures"] if figures else []
    for name in figures:
        lines += ["", f"### {name}", "", f"![{name}](figures/{name}.png)"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    tyro.cli(main)
