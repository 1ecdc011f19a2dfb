"""Logs of a training: functions around its reports."""

import contextlib
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from stepax.files import one_line, parsed, write_text
from stepax.reports import Report, closing

__all__ = ["json_lines", "tensorboard"]

# Points of a curve: TensorBoard shows a thousand, and more would cost more than the steps of a small model do.
POINTS = 5_000


def tensorboard(reports: Iterator[Report], folder: str | os.PathLike) -> Iterator[Report]:
    """Passes a training's reports on and writes their measures for TensorBoard.

    Every step's metrics under ``training/…`` (of more than five thousand steps, every n-th's), every epoch's validation
    metrics under ``validation/…``; of a population the mean. A training that goes on from an earlier step replaces what
    the folder has of the later ones.

    Args:
        reports: From :func:`stepax.training`, or a function around it.
        folder: Where TensorBoard is to look; made if it is not there.

    Yields:
        The same reports.
    """
    from tensorboardX.proto.event_pb2 import Event, SessionLog  # a second to import
    from tensorboardX.record_writer import RecordWriter

    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Not tensorboardX's SummaryWriter: its queue costs three times as much, and its file has the host's name.
    with (
        closing(reports),
        contextlib.closing(RecordWriter(str(folder / f"events.out.tfevents.{time.time_ns()}"))) as file,
    ):
        file.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        restarted = False
        for report in reports:
            if not restarted:  # readers drop what other files have from this step on
                start = Event(wall_time=time.time(), step=_start(report) + 1, session_log=SessionLog(status=1))
                file.write(start.SerializeToString())
                restarted = True
            for step, values in _points(report):
                file.write(_event(step, values))
            file.flush()
            yield report


def _points(report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    """The steps to keep of a report, with their measures by tag."""
    stride, start = -(-report.total // POINTS), _start(report)
    for step in range(start + 1, report.step + 1):
        if step % stride == 0:
            values = {name: metric[step - start - 1] for name, metric in report.metrics.items()}
            yield step, {f"training/{name}": value for name, value in values.items() if name != "weight"}
    validation = {name: value for name, value in (report.row or {}).items() if name.startswith("validation/")}
    if validation:
        yield report.step, validation


def _event(step: int, values: dict[str, Any]) -> bytes:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

    scalars = [Summary.Value(tag=name, simple_value=float(np.mean(value))) for name, value in values.items()]
    return Event(wall_time=time.time(), step=step, summary=Summary(value=scalars)).SerializeToString()


def _start(report: Report) -> int:
    """Steps made before those that a report tells of."""
    return report.step - max((len(values) for values in report.metrics.values()), default=0)


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
                lines |= {row["step"]: one_line(row) + "\n" for row in report.rows}
                write_text(path, "".join(lines[step] for step in sorted(lines) if step <= _start(report)))
                file = stack.enter_context(open(path, "a", encoding="utf-8"))
            if report.row is not None:
                file.write(one_line(report.row) + "\n")
                file.flush()
            yield report


def _lines(path: pathlib.Path) -> dict[int, str]:
    """The lines of an earlier log by their steps."""
    if not path.exists():
        path.touch()  # a path that cannot be is told before the first step
    lines: dict[int, str] = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            row = _row(line)
            if row is None and line.endswith("\n"):
                raise ValueError(f"path: {path} is no log of epochs: its line {number} is {line.strip()[:60]!r}")
            if row is not None and line.endswith("\n"):  # else cut short
                lines[row["step"]] = line
    return lines


def _row(line: str) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError):
        row = parsed(line)
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            return row
    return None
