"""Functions around the reports of a training: what is shown of it, and what is logged."""

import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from stepax import logs, progress
from stepax.cli.announcing import EPOCHS
from stepax.cli.console import ERR
from stepax.reports import Report, closing

__all__ = ["watched"]

# ``row of the history -> the row as it is told to people``.
Told = Callable[[Mapping[str, Any]], dict[str, Any]]


def watched(reports: Iterator[Report], folder: pathlib.Path, wanted: Collection[str], told: Told) -> Iterator[Report]:
    """Passes a training's reports on, with bar and table, ``epochs.jsonl``, and the logs that are wanted.

    Args:
        reports: From :func:`stepax.training`.
        folder: Of the run.
        wanted: Names of logs.
        told: How rows are told to people.
    """
    if "tensorboard" in wanted:
        reports = logs.tensorboard(reports, folder / "tensorboard")
    return _shown(logs.json_lines(reports, folder / EPOCHS), told)


def _shown(reports: Iterator[Report], told: Told) -> Iterator[Report]:
    """Draws bar and table with rows as they are told to people; the reports stay as they are."""
    passed: list[Report] = []

    def renamed() -> Iterator[Report]:
        with closing(reports):
            for report in reports:
                passed[:] = [report]
                yield report._replace(row=report.row and told(report.row))

    with closing(progress.table(progress.bar(renamed(), console=ERR), console=ERR)) as drawn:
        for _ in drawn:
            yield from passed
