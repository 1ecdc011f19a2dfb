"""A progress bar and a table of epochs: functions around a training's reports, drawn with Rich."""

import importlib.util
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from stepax.reports import Report, closing

__all__ = ["bar", "shown", "table"]

# Rows that a table has at most, unless epochs take longer than a second each: nobody reads a thousand, and printing
# them would slow down what they measure.
ROWS = 100
# Times a second that the bar is drawn.
REFRESH = 4
# Characters a line from which on it has room for examples a second, and for the learning rate and the gradient.
WIDE, WIDEST = 100, 135


def shown(reports: Iterator[Report], *, console: Console | None = None) -> Iterator[Report]:
    """Passes a training's reports on and, where someone is watching, draws a bar below a table of epochs.

    Args:
        reports: From :func:`stepax.training`, or a function around it.
        console: Where to draw; ``None``: on standard error, and only if that is a terminal or a notebook.

    Returns:
        The same reports. Closing them, or an exception, takes the bar away.
    """
    if console is None:
        console = Console(stderr=True)
        if not (console.is_jupyter or console.file.isatty()):
            return reports
    return table(bar(reports, console=console), console=console)


def bar(reports: Iterator[Report], *, console: Console | None = None) -> Iterator[Report]:
    """Passes a training's reports on and draws a bar: epoch, steps, their rate, time left, loss. It is gone at the end.

    A wide terminal has room for examples a second, where the metrics' ``weight`` counts them, and the widest for the
    learning rate and the gradient's norm, where the metrics have them (``optax.inject_hyperparams``,
    :func:`stepax.watch`).

    Args:
        reports: From :func:`stepax.training`, or a function around it.
        console: Where to draw; ``None``: on standard error. Nothing is drawn where it is no terminal, nor a notebook
            with ipywidgets.

    Yields:
        The same reports.
    """
    console = console or Console(stderr=True)
    # Rich takes FORCE_COLOR for a terminal; but it asks for colours in a log, not for a bar.
    terminal = console.is_interactive and console.file.isatty()
    if not (importlib.util.find_spec("ipywidgets") if console.is_jupyter else terminal):
        yield from reports
        return
    with (
        closing(reports),
        Progress(*_parts(console.width), console=console, transient=True, refresh_per_second=REFRESH) as progress,
    ):
        task = progress.add_task("compiling …", total=None, rate="", examples="", measure="", others="")
        for report in reports:
            epochs = report.total // report.length
            epoch = f"epoch {min(report.step // report.length + 1, epochs)}/{epochs}"
            speed = progress.tasks[0].speed
            texts: dict[str, Any] = {"rate": _speed(speed, "steps/s"), "examples": _examples(report, speed)}
            texts |= {"measure": _measure(report), "others": _others(report)}
            progress.update(task, description=epoch, completed=report.step, total=report.total, **texts)
            yield report


def _parts(width: int) -> list[ProgressColumn]:
    """What fits into a line, the most wanted first."""
    names = ("{task.description}", *(f"{{task.fields[{name}]}}" for name in ("rate", "examples", "measure", "others")))
    epoch, rate, examples, measure, others = map(TextColumn, names)
    taken = 76 if width < WIDE else 95 if width < WIDEST else 130
    line = BarColumn(bar_width=max(5, min(40, width - taken)))
    steps, left = MofNCompleteColumn(), TimeRemainingColumn()
    if width < 40:
        return [epoch, left]
    if width < 60:
        return [epoch, line, left, measure]
    if width < 80:
        return [epoch, line, steps, left, measure]
    if width < WIDE:
        return [epoch, line, steps, rate, left, measure]
    return [epoch, line, steps, rate, examples, left, measure, *([others] if width >= WIDEST else [])]


def _speed(speed: float | None, unit: str) -> str:
    return f"{speed:,.0f} {unit}" if speed and speed >= 10 else f"{speed:.2f} {unit}" if speed else ""


def _examples(report: Report, speed: float | None) -> str:
    """Examples a second: those of a step, as the weights tell, times the steps."""
    weight = float(np.mean(report.metrics["weight"])) if "weight" in report.metrics else 0.0
    return _speed(weight * speed, "examples/s") if speed and np.isfinite(weight) else ""


def _others(report: Report) -> str:
    """Of the last step the learning rate and the gradient's norm."""
    shown = {"rate": "learning_rate", "gradient": "gradient_norm"}
    return "  ".join(
        f"{text} {_number(report.metrics[name][-1])}" for text, name in shown.items() if name in report.metrics
    )


def _measure(report: Report) -> str:
    """The last step's loss, or what the learner names first."""
    names = [name for name in report.metrics if name != "weight"]
    name = "loss" if "loss" in names else next(iter(names), None)
    return "" if name is None else f"{name} {_number(report.metrics[name][-1])}"


def _number(value: Any) -> str:
    """Four decimals, which line up in a column; of a population the mean."""
    value = float(np.mean(value))
    return f"{value:.4f}" if value == 0 or 0.01 <= abs(value) < 1e5 else f"{value:.2e}"


class _Column(NamedTuple):
    name: str
    group: str
    title: str
    width: int


def table(reports: Iterator[Report], *, console: Console | None = None) -> Iterator[Report]:
    """Passes a training's reports on and prints a row per epoch: its number, the seconds so far, and the measures.

    Of more than a hundred short epochs it prints a hundred; the history has them all.

    Args:
        reports: From :func:`stepax.training`, or a function around it.
        console: Where to print; ``None``: on standard error, terminal or not.

    Yields:
        The same reports.
    """
    console = console or Console(stderr=True)
    width = console.width if console.is_terminal or console.is_jupyter else None
    columns: list[_Column] = []
    printed = time.monotonic()
    with closing(reports):
        for report in reports:
            if report.row is not None:
                if not columns:
                    columns = _columns(report.row, width)
                    _print(console, *_header(columns))
                every = max(1, -(-report.total // (report.length * ROWS)))
                if report.stopped or report.row["epoch"] % every == 0 or time.monotonic() - printed >= 1:
                    _print(console, _line(columns, report.row))
                    printed = time.monotonic()
            if report.stopped:
                _print(console, f"{report.stopped} ({report.step:,} steps)")
            yield report


def _print(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _columns(row: dict[str, Any], width: int | None) -> list[_Column]:
    """As many columns as fit; ``validation/loss`` stands as ``loss`` in the group ``validation``."""
    columns: list[_Column] = []
    for name in sorted(row.keys() - {"step"}, key=_place):
        group, _, title = name.rpartition("/")
        columns.append(_Column(name, group, title, max(len(title), 5 if name == "epoch" else 9)))
        # A group's name stands above its first column: a lonely one must be as wide as that.
        if group and (len(columns) == 1 or columns[-2].group != group):
            columns[-1] = columns[-1]._replace(width=max(columns[-1].width, len(group)))
    while width is not None and len(columns) > 1 and sum(column.width + 2 for column in columns) > width:
        columns.pop()
    return columns


def _place(name: str) -> tuple[str, int, str]:
    """Where a column stands: the epoch leads, and in every group the loss."""
    group, _, title = name.rpartition("/")
    return group, {"epoch": 0, "seconds": 1, "loss": 2}.get(title, 3), title


def _header(columns: list[_Column]) -> list[str]:
    groups = [column.group for column in columns]
    first = [group if i == 0 or groups[i - 1] != group else "" for i, group in enumerate(groups)]
    titles = _joined(columns, [column.title for column in columns])
    return [_joined(columns, first), titles] if any(groups) else [titles]


def _joined(columns: list[_Column], cells: list[str]) -> str:
    return "  ".join(cell.rjust(column.width) for column, cell in zip(columns, cells, strict=True)).rstrip()


def _line(columns: list[_Column], row: dict[str, Any]) -> str:
    def cell(column: _Column) -> str:
        if column.name not in row:
            return ""
        value = row[column.name]
        return f"{value}" if column.name == "epoch" else f"{value:.1f}" if column.name == "seconds" else _number(value)

    return _joined(columns, [cell(column) for column in columns])
