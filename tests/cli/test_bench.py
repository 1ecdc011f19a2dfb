import io
import math
import re

import jax
import pytest
from PIL import Image
from rich.console import Console
from tests.cli.processes import process

from stepax import bench, files
from stepax.bench import WORKLOADS, Timing
from stepax.cli import bench as command
from stepax.cli import options


@pytest.fixture
def known(monkeypatch):
    """Numbers in place of measurements."""
    asked = []

    def measure(workload, *, repetitions, seconds, compute):
        asked.append((workload.name, repetitions, seconds, compute))
        return Timing(workload.name, [1900.0, 2000.0, 2200.0], 0.064, 1.234, 0.5, None, 45.2e9)

    monkeypatch.setattr(bench, "matmul_peak", lambda dtype="float32", **_: 90.4e9 if dtype == "float32" else 181e9)
    monkeypatch.setattr(bench, "measure", measure)
    return asked


def test_a_process_prints_a_table_and_writes_a_file_and_a_figure(tmp_path):
    small = ("--seconds", 0.01, "--repetitions", 1)
    written = ("--out", "new/speed.json", "--figure", "new/speed.png")
    done = process("bench", "mlp-32", *small, *written, cwd=tmp_path)
    assert done.status == 0, done.err
    assert re.search(r"^mlp-32 +[\d,.]+ +0% ", done.out, re.MULTILINE)
    assert re.search(r"^peak +[\d,.]+ GFLOP/s in float32", done.out, re.MULTILINE)
    assert "written to new/speed.json\ndrawn in new/speed.png\n" in done.out
    assert "measuring mlp-32 …" in done.err.splitlines()
    result = files.read_json(tmp_path / "new" / "speed.json")
    assert result["settings"] == {"seconds": 0.01, "repetitions": 1}
    assert {"date", "versions", "processor", "device", "matmul_peak"} <= result.keys()
    (entry,) = result["workloads"].values()
    numbers = [*entry["examples_per_second"], *entry["compile_seconds"].values(), entry["step_seconds"]]
    assert all(math.isfinite(number) and number > 0 for number in numbers)
    assert entry["peak_share"] == entry["flops"] / result["matmul_peak"]["float32"]
    with Image.open(tmp_path / "new" / "speed.png") as image:
        assert image.width > 1000


def test_the_numbers_of_the_table(call, known):
    done = call("bench", "cnn", "mlp", "cnn", "--seconds", 0.2, "--repetitions", 3)
    assert done.status == 0
    assert known == [("cnn", 3, 0.2, "float32"), ("mlp", 3, 0.2, "float32")]
    (row,) = re.findall(r"^cnn +\d.*", done.out, re.MULTILINE)
    assert row.split() == ["cnn", "2,000", "8%", "64.0", "1.23", "0.50", "–", "45.2", "50%"]
    assert "peak       90.4 GFLOP/s in float32, 181 in bfloat16" in done.out
    assert re.search(r"^cnn +CNN 32-64, dense 256, 28×28×1, batch 128$", done.out, re.MULTILINE)


def test_without_a_name_all_are_measured_and_the_table_fits_into_80_columns(call, known):
    done = call("bench")
    assert [name for name, *_ in known] == list(WORKLOADS)
    table = done.out[done.out.index("\n\n") :].split("\n\n")[1]
    assert len(table.splitlines()) == 2 + len(WORKLOADS)
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 80


def test_off_the_cpu_everything_is_measured_in_bfloat16_too(call, known, monkeypatch, tmp_path):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    done = call("bench", "mlp", "cnn", "--out", tmp_path / "speed.json", "--figure", tmp_path / "speed.png")
    assert done.status == 0
    assert [(name, compute) for name, *_, compute in known] == [
        *(("mlp", dtype) for dtype in ("float32", "bfloat16")),
        *(("cnn", dtype) for dtype in ("float32", "bfloat16")),
    ]
    (row,) = re.findall(r"^mlp bf16 +\d.*", done.out, re.MULTILINE)
    assert row.split()[-1] == "25%"  # of a peak that is twice as high
    assert len(re.findall(r"^cnn +CNN", done.out, re.MULTILINE)) == 1
    entries = files.read_json(tmp_path / "speed.json")["workloads"]
    assert {name: entry["compute"] for name, entry in entries.items()} == {
        "mlp": "float32",
        "mlp bf16": "bfloat16",
        "cnn": "float32",
        "cnn bf16": "bfloat16",
    }


def test_a_slower_bfloat16_is_not_shown(call, known, monkeypatch):
    monkeypatch.setattr(bench, "matmul_peak", lambda dtype="float32", **_: 90.4e9 if dtype == "float32" else 9e9)
    assert "bfloat16" not in call("bench", "mlp").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mlpp"], "unknown workload 'mlpp': known are 'mlp', 'mlp-32', .*; did you mean 'mlp'?"),
        (["mlp", "--repetitions", 0], "--repetitions: expected at least 1, got 0"),
        (["mlp", "--seconds", 0], "--seconds: expected a positive number, got 0.0"),
        (["mlp", "--seconds", "nan"], "--seconds: expected a positive number, got nan"),
        (["mlp", "--out", "x.txt"], "--out: expected a file called .json, got x.txt"),
        (["mlp", "--figure", "x.gif"], "--figure: expected a file called .png or .pdf or .svg, got x.gif"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_measured(call, known, arguments, message):
    done = call("bench", *arguments)
    assert (done.status, done.out) == (2, "")
    assert re.fullmatch(f"error: {message.rstrip('?')}\\??\n", done.err)
    assert not known


def test_help_names_the_workloads_there_are():
    assert options.WORKLOADS.split("|") == list(WORKLOADS)


def test_a_terminal_shows_a_bar(call, known, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Console(file=Terminal(), force_terminal=True, force_interactive=True, width=80)
    monkeypatch.setattr(command, "ERR", screen)
    assert call("bench", "mlp").status == 0
    assert "3/4" in screen.file.getvalue()
    assert "measuring" not in screen.file.getvalue()
