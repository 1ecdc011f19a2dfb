"""Logs are read back with an independent reader, and whoever stops early leaves them whole."""

import json
import pathlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stepax import logs
from stepax.reports import Report


def make_reports(
    epochs: int = 3, length: int = 4, start: int = 0, chunk: int = 3, loss: float | None = None
) -> Iterator[Report]:
    """Reports as a training makes them, the loss of step ``s`` being ``1 / s``."""
    step = start
    while step < epochs * length:
        first, step = step, min(step + chunk, (step // length + 1) * length)
        losses = 1 / np.arange(first + 1, step + 1, dtype=np.float32) if loss is None else np.full(step - first, loss)
        row = None
        if step % length == 0:
            row = {
                "epoch": step // length,
                "step": step,
                "seconds": 0.5,
                "loss": float(losses[-1]),
                "validation/loss": 2.0 / step,
            }
        stopped = "all epochs done" if step == epochs * length else ""
        yield Report(
            None, step, epochs * length, length, {"loss": losses, "weight": np.ones(step - first)}, row, None, stopped
        )  # type: ignore[arg-type]


def crc32c(data: bytes) -> int:
    """The checksum of TensorBoard's records, by its definition: polynomial 0x1EDC6F41, reflected, then masked."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def read_events(path: pathlib.Path) -> list[Any]:
    from tensorboardX.proto.event_pb2 import Event

    data, events = path.read_bytes(), []
    while data:
        (length,), (check,) = struct.unpack("<Q", data[:8]), struct.unpack("<I", data[8:12])
        body, (body_check,) = data[12 : 12 + length], struct.unpack("<I", data[12 + length : 16 + length])
        assert (check, body_check) == (crc32c(data[:8]), crc32c(body))
        events.append(Event.FromString(body))
        data = data[16 + length :]
    return events


def scalars(folder: pathlib.Path) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    (path,) = folder.iterdir()
    for event in read_events(path):
        for value in event.summary.value:
            assert event.step not in found.setdefault(value.tag, {})
            found[value.tag][event.step] = value.simple_value
    return found


def test_tensorboard_holds_every_step_and_epoch(tmp_path: pathlib.Path) -> None:
    reports = list(logs.tensorboard(make_reports(), tmp_path / "new" / "folder"))
    assert [report.step for report in reports] == [3, 4, 7, 8, 11, 12]
    found = scalars(tmp_path / "new" / "folder")
    assert found.keys() == {"training/loss", "validation/loss"}
    assert found["training/loss"] == pytest.approx({step: 1 / step for step in range(1, 13)})
    assert found["validation/loss"] == pytest.approx({step: 2 / step for step in (4, 8, 12)})


def test_tensorboard_thins_long_trainings_alike_for_all_chunks(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "POINTS", 5)
    for chunk in (1, 3):
        list(logs.tensorboard(make_reports(chunk=chunk), tmp_path / f"{chunk}"))
        assert list(scalars(tmp_path / f"{chunk}")["training/loss"]) == [3, 6, 9, 12]


def test_tensorboard_is_whole_when_closed_early(tmp_path: pathlib.Path) -> None:
    reports = logs.tensorboard(make_reports(), tmp_path)
    next(reports), next(reports)
    reports.close()
    assert list(scalars(tmp_path)["training/loss"]) == [1, 2, 3, 4]


def test_tensorboard_that_goes_on_replaces_later_steps(tmp_path: pathlib.Path) -> None:
    list(logs.tensorboard(make_reports(start=4), tmp_path))
    (path,) = tmp_path.iterdir()
    starts = [event.step for event in read_events(path) if event.HasField("session_log")]
    assert starts == [5]  # what a reader takes as: drop what other files have from here on
    assert list(scalars(tmp_path)["training/loss"]) == list(range(5, 13))


def test_tensorboard_takes_nan(tmp_path: pathlib.Path) -> None:
    list(logs.tensorboard(make_reports(loss=float("nan")), tmp_path))
    assert np.isnan(list(scalars(tmp_path)["training/loss"].values())).all()


def test_an_impossible_path_is_told_before_the_first_step(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("mine")

    def training() -> Iterator[Report]:
        pytest.fail("a step was made")
        yield from ()

    with pytest.raises(FileExistsError):
        next(logs.tensorboard(training(), tmp_path / "file"))
    with pytest.raises(FileNotFoundError):
        next(logs.json_lines(training(), tmp_path / "missing" / "log.jsonl"))
    (tmp_path / "file").write_text("mine\n")
    with pytest.raises(ValueError, match=r"is no log of epochs: its line 1 is 'mine'"):
        next(logs.json_lines(training(), tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "mine\n"


def test_json_lines_are_there_at_once(tmp_path: pathlib.Path) -> None:
    seen = [(tmp_path / "log").read_text().count("\n") for _ in logs.json_lines(make_reports(), tmp_path / "log")]
    assert seen == [0, 1, 1, 2, 2, 3]
    rows = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert rows[1] == {"epoch": 2, "step": 8, "seconds": 0.5, "loss": 0.125, "validation/loss": 0.25}


def test_json_lines_go_on_where_the_training_does(tmp_path: pathlib.Path) -> None:
    list(logs.json_lines(make_reports(), tmp_path / "whole"))
    list(logs.json_lines(make_reports(), tmp_path / "log"))
    with open(tmp_path / "log", "a") as file:
        file.write('{"epoch": 4, "st')  # the crash
    list(logs.json_lines(make_reports(start=7), tmp_path / "log"))
    assert (tmp_path / "log").read_text() == (tmp_path / "whole").read_text()
    list(logs.json_lines(make_reports(epochs=1), tmp_path / "log"))
    assert len((tmp_path / "log").read_text().splitlines()) == 1  # from the start: a new log


def test_json_lines_take_nan(tmp_path: pathlib.Path) -> None:
    list(logs.json_lines(make_reports(loss=float("nan")), tmp_path / "log"))
    assert json.loads((tmp_path / "log").read_text().splitlines()[0])["loss"] == {"float": "nan"}


def test_closing_closes_what_is_inside(tmp_path: pathlib.Path) -> None:
    ended: list[str] = []

    def training() -> Iterator[Report]:
        try:
            yield from make_reports()
        finally:
            ended.append("training")

    inner = training()
    outer = logs.json_lines(logs.tensorboard(inner, tmp_path / "folder"), tmp_path / "log")
    next(outer)
    outer.close()
    assert ended == ["training"]
    with logs.closing(iter([])):
        pass
