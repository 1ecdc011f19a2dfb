"""``stepax bench``: how fast the usual models train on this machine, beside what it could do at best."""

import contextlib
import datetime
import itertools
import math
import pathlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from stepax import bench, files, record
from stepax.checks import check_count, nearest
from stepax.cli.console import ERR, OUT, say
from stepax.cli.options import Bench

__all__ = ["main"]

FIGURES = (".png", ".pdf", ".svg")


def main(options: Bench) -> None:
    """Measures the machine's matrix product, then every workload, and prints, writes and draws what was found.

    Raises:
        ValueError: There is no such workload, a number is out of range, or a file has another ending than it should.
    """
    names = _names(options)
    result = {
        "format": "stepax.bench/1",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **record.environment(),
        "settings": {"seconds": options.seconds, "repetitions": options.repetitions},
        **_measured(names, options),
    }
    _print(result)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(options.out, result)
        say(f"written to {options.out}")
    if options.figure is not None:
        say(f"drawn in {_drawn(result, options.figure)}")


def _names(options: Bench) -> Sequence[str]:
    """The workloads to measure, after a look at everything that would else fail only when the work is done."""
    for name in options.workloads:
        if name not in bench.WORKLOADS:
            raise ValueError(f"unknown workload {nearest(name, bench.WORKLOADS)}")
    check_count("--repetitions", options.repetitions)
    if not (math.isfinite(options.seconds) and options.seconds > 0):
        raise ValueError(f"--seconds: expected a positive number, got {options.seconds}")
    for option, path, endings in (("out", options.out, (".json",)), ("figure", options.figure, FIGURES)):
        if path is not None and (path.suffix.lower() not in endings or path.is_dir()):
            raise ValueError(f"--{option}: expected a file called {' or '.join(endings)}, got {path}")
    return tuple(dict.fromkeys(options.workloads)) or tuple(bench.WORKLOADS)


def _measured(names: Sequence[str], options: Bench) -> dict[str, Any]:
    """What the machine can do, and what each workload does on it."""
    # Most CPUs have no instructions for bfloat16, and compute in it at a tenth of the rate.
    on_cpu = jax.default_backend() == "cpu"
    dtypes = ("float32",) if on_cpu else ("float32", "bfloat16")
    sizes = {"float32": 2048, "bfloat16": 1024} if on_cpu else {"float32": 8192, "bfloat16": 8192}
    with _bar(3 + len(dtypes) * len(names)) as tell:
        peaks: dict[str, float] = {}
        found = []
        for dtype, size in sizes.items():
            tell(f"matrix product in {dtype}")
            peaks[dtype] = bench.matmul_peak(dtype, size=size, repetitions=options.repetitions)
        for name, compute in itertools.product(names, dtypes):
            tell(_called(name, compute))
            timing = bench.measure(
                bench.WORKLOADS[name], repetitions=options.repetitions, seconds=options.seconds, compute=compute
            )
            found.append((name, compute, timing))
        tell("matrix product in float32, again")
        # The better of before and after: others may have had the machine.
        again = bench.matmul_peak("float32", size=sizes["float32"], repetitions=options.repetitions)
        peaks["float32"] = max(peaks["float32"], again)
    entries = {
        _called(name, compute): {"compute": compute, **_entry(bench.WORKLOADS[name], timing, peaks[compute])}
        for name, compute, timing in found
    }
    return {"matmul_peak": peaks, "workloads": entries}


def _called(name: str, compute: str) -> str:
    return name if compute == "float32" else f"{name} bf16"


def _entry(workload: bench.Workload, timing: bench.Timing, peak: float) -> dict[str, Any]:
    """What is kept of a timing: every sample, and the units in the names."""
    return {
        "title": workload.title,
        "batch_size": workload.batch_size,
        "lanes": workload.lanes,
        "examples_per_second": timing.rates,
        "step_seconds": timing.step,
        "compile_seconds": {"cold": timing.cold, "warm": timing.warm},
        "memory_bytes": timing.memory,
        "flops": timing.flops,
        "peak_share": timing.flops / peak,
    }


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Callable[[str], None]]:
    """Shows on standard error how far it is; yields what to call, with its name, before each piece of work."""
    # Rich takes FORCE_COLOR for a terminal; but it asks for colours in a log, not for a bar.
    if not (ERR.is_interactive and ERR.file.isatty()):
        yield lambda name: ERR.print(f"measuring {name} …", markup=False)
        return
    parts = TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn()
    # Drawn once a second: it takes its time from what is measured.
    with Progress(*parts, console=ERR, transient=True, refresh_per_second=1) as progress:
        task = progress.add_task("", total=total, completed=-1)

        def tell(name: str) -> None:
            progress.update(task, description=name, advance=1)

        yield tell


def _print(result: dict[str, Any]) -> None:
    """The machine, the table, and what its columns mean."""
    device, processor, peak = result["device"], result["processor"], result["matmul_peak"]
    settings = result["settings"]
    say(f"processor  {processor['model']}, {processor['cores']} cores")
    say(f"devices    {device['count']} × {device['kind']} ({device['platform']})")
    say(f"versions   {', '.join(f'{name} {version}' for name, version in result['versions'].items())}")
    say(f"date       {result['date']}")
    faster = f", {_rounded(peak['bfloat16'] / 1e9)} in bfloat16" if peak["bfloat16"] > peak["float32"] else ""
    say(f"peak       {_rounded(peak['float32'] / 1e9)} GFLOP/s in float32{faster}, of a large matrix product")
    say()
    OUT.print(_table(result["workloads"]))
    say()
    timed = f"{settings['repetitions']} × {settings['seconds']:g} s"
    for line in (
        f"examples/s   median of {timed} and half their range (±); the sum of all models of a population",
        "compile      without and with the program in the compilation cache",
        "GFLOP/s      of the step's matrix products and convolutions",
        "peak         what part of the peak in the same dtype that is",
    ):
        say(line)
    say()
    for name, entry in result["workloads"].items():
        if entry["compute"] == "float32":
            say(f"{name:<15}{entry['title']}, batch {entry['batch_size']}")


def _table(workloads: dict[str, Any]) -> Table:
    """A row for each workload; it fits into 80 columns."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("workload", no_wrap=True)
    for heading in (
        "examples/s", "±", "step\nms", "compile\ncold s", "compile\nwarm s", "memory\nMB", "GFLOP/s", "peak",
    ):  # fmt: skip
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    for name, entry in workloads.items():
        rates, memory = entry["examples_per_second"], entry["memory_bytes"]
        median = statistics.median(rates)
        table.add_row(
            name,
            f"{median:,.0f}",
            f"{50 * (max(rates) - min(rates)) / median:.0f}%",
            _rounded(1e3 * entry["step_seconds"]),
            f"{entry['compile_seconds']['cold']:.2f}",
            f"{entry['compile_seconds']['warm']:.2f}",
            "–" if memory is None else f"{memory / 1e6:,.0f}",
            _rounded(entry["flops"] / 1e9),
            f"{100 * entry['peak_share']:.0f}%",
        )
    return table


def _rounded(value: float) -> str:
    """Three digits, of large numbers all that stand before the point."""
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}"


def _drawn(result: dict[str, Any], path: pathlib.Path) -> pathlib.Path:
    from stepax import plot  # Matplotlib takes a second to import

    workloads, device = result["workloads"], result["device"]
    cores = f"{result['processor']['model']}, {result['processor']['cores']} cores"
    figure = plot.training_speed(
        {name: entry["examples_per_second"] for name, entry in workloads.items()},
        {name: entry["peak_share"] for name, entry in workloads.items()},
        machine=cores if device["platform"] == "cpu" else device["kind"],
        peaks={entry["compute"]: result["matmul_peak"][entry["compute"]] for entry in workloads.values()},
    )
    return plot.save(figure, path)
