"""Logs of a training: functions around its reports."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from stepax.files import one_line, parsed, write_text
from stepax.fit import Report

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

__all__ = ["closing", "json_lines", "tensorboard"]

# Points of a curve: TensorBoard shows a thousand, and more would cost more than the steps of a small model do.
POINTS = 10_000


@contextlib.contextmanager
def closing(reports: Iterator[Report]) -> Iterator[Iterator[Report]]:
    """Closes reports at the end of a ``with``, if they can be closed: a list's iterator cannot.

    A function around reports that ends early, or fails, so ends those inside it too.
    """
    try:
        yield reports
    finally:
        getattr(reports, "close", lambda: None)()


def tensorboard(reports: Iterator[Report], folder: str | os.PathLike) -> Iterator[Report]:
    """Passes a training's reports on and writes their measures for TensorBoard.

    Every step's metrics under ``training/…`` (of more than ten thousand steps, every n-th's), every epoch's validation
    metrics under ``validation/…``; of a population the mean. A training that goes on from an earlier step replaces what
    the folder has of the later ones.

    Args:
        reports: From :func:`stepax.training`, or a function around it.
        folder: Where TensorBoard is to look; made if it is not there.

    Yields:
        The same reports.
    """
    from tensorboardX import SummaryWriter  # a second to import

    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)  # a path that cannot be is told before the first step
    with contextlib.ExitStack() as stack:
        stack.enter_context(closing(reports))
        writer = None
        for report in reports:
            if writer is None:
                writer = SummaryWriter(str(folder), max_queue=1000, flush_secs=10, purge_step=_start(report) + 1)
                stack.callback(writer.close)
            _write_steps(writer, report)
            for name, value in (report.row or {}).items():
                if name.startswith("validation/"):
                    writer.add_scalar(name, float(np.mean(value)), report.step)
            yield report


def _start(report: Report) -> int:
    """Steps made before those that a report tells of."""
    return report.step - max((len(values) for values in report.metrics.values()), default=0)


def _write_steps(writer: "SummaryWriter", report: Report) -> None:
    stride, start = -(-report.total // POINTS), _start(report)
    for step in range(start + 1, report.step + 1):
        if step % stride == 0:
            for name, values in report.metrics.items():
                if name != "weight":
                    writer.add_scalar(f"training/{name}", float(np.mean(values[step - start - 1])), step)


def json_lines(reports: Iterator[Report], path: str | os.PathLike) -> Iterator[Report]:
    """Passes a training's reports on and writes a line of JSON per epoch, in the form of the history's entries.

    A training that goes on from an earlier step keeps the file's lines up to there, and drops the later ones and one
    that was cut short. NaN is written as ``{"float": "nan"}``, infinities likewise.

    Args:
        reports: From :func:`stepax.training`, or a function around it.
        path: The file.

    Yields:
        The same reports.

    Raises:
        ValueError: The file is there and is no such log; it stays as it is.
    """
    path = pathlib.Path(path)
    lines = _lines(path)
    with contextlib.ExitStack() as stack:
        stack.enter_context(closing(reports))
        file = None
        for report in reports:
            if file is None:
                write_text(path, "".join(line for step, line in lines if step <= _start(report)))
                file = stack.enter_context(open(path, "a", encoding="utf-8"))
            if report.row is not None:
                file.write(one_line(report.row) + "\n")
                file.flush()
            yield report


def _lines(path: pathlib.Path) -> list[tuple[int, str]]:
    """The steps and lines of an earlier log."""
    if not path.exists():
        path.touch()  # a path that cannot be is told before the first step
    lines: list[tuple[int, str]] = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            row = _row(line)
            if row is None and line.endswith("\n"):
                raise ValueError(f"path: {path} is no log of epochs: its line {number} is {line.strip()[:60]!r}")
            if row is not None and line.endswith("\n"):  # else cut short
                lines.append((row["step"], line))
    return lines


def _row(line: str) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError):
        row = parsed(line)
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            return row
    return None
