"""The bar and the table as a terminal shows them: through real pseudo-terminals."""

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import optax
import pexpect
import pytest
from pexpect import fdpexpect
from rich.console import Console

import stepax as sx
from stepax import progress
from stepax.reports import Report

SHOW, HIDE = "\x1b[?25h", "\x1b[?25l"  # the cursor

# What a user writes: a short training, then one that is interrupted.
SCRIPT = """
import jax, numpy as np, optax, stepax as sx
learner = sx.supervised(sx.nn.MLP(features=(3,)), sx.losses.cross_entropy, optax.sgd(0.1))
data = {"x": np.eye(6, 5, dtype=np.float32), "y": np.arange(6) % 3}
sx.fit(learner, data, key=jax.random.key(0), epochs=2, batch_size=3, validation=data)
print("the first is done")
sx.fit(learner, data, key=jax.random.key(0), epochs=10**8, batch_size=3)
"""


def make_reports(epochs: int = 3, length: int = 4, fail: bool = False, **measures: Any) -> Iterator[Report]:
    """Two reports an epoch, as a training makes them."""
    names: dict[str, Any] = {
        "accuracy": 0.75,
        "loss": 1e-5,
        "validation/accuracy": float("nan"),
        "validation/loss": 123.456,
        **measures,
    }
    for step in range(2, epochs * length + 1, 2):
        row = {"epoch": step // length, "step": step, "seconds": 0.25 * step, **names} if step % length == 0 else None
        chunk = {"accuracy": np.ones(2), "loss": np.array([1.0, 1 / step]), "weight": np.ones(2)}
        yield Report(
            None, step, epochs * length, length, chunk, row, None, "no better" if step == epochs * length else ""
        )  # type: ignore[arg-type]
        if fail:
            raise RuntimeError("out of memory")


def plain(text: str) -> list[str]:
    """The lines without colours and movements of the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\r", text).replace("\r", "\n").split("\n")


class Terminal:
    """A pseudo-terminal in this process, and all that is written to it."""

    def __init__(self, width: int) -> None:
        self._main, other = pty.openpty()
        self._file = os.fdopen(other, "w")
        self.console = Console(file=self._file, width=width, height=24, force_jupyter=False, legacy_windows=False)
        self._parts: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while part := os.read(self._main, 4096):
                self._parts.append(part)
        except OSError:  # the other end is closed
            pass

    def text(self) -> str:
        self._file.close()
        self._reader.join(10)
        os.close(self._main)
        return b"".join(self._parts).decode()


@pytest.fixture(autouse=True)
def _terminal_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def user() -> Iterator[tuple[subprocess.Popen[bytes], fdpexpect.fdspawn]]:
    """The script in a terminal of its own, 100 characters wide."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    # Not pexpect.spawn: it forks, and JAX warns of that.
    # A process that was started in the background ignores Ctrl-C, and so would those that it starts.
    script = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + SCRIPT
    with subprocess.Popen([sys.executable, "-c", script], stdin=other, stdout=other, stderr=other) as process:
        os.close(other)
        child = fdpexpect.fdspawn(main, encoding="utf-8", timeout=120)
        yield process, child
        process.kill()
        child.close()


def test_fit_in_a_terminal_and_interrupted(user: tuple[subprocess.Popen[bytes], fdpexpect.fdspawn]) -> None:
    process, child = user
    child.expect("compiling …")
    child.expect("the first is done")
    lines = plain(child.before)
    header = next(i for i, line in enumerate(lines) if "epoch" in line and "seconds" in line)
    assert lines[header].split() == ["epoch", "seconds", "loss", "loss"]
    rows = [line for line in lines if re.fullmatch(r"\s+[12]( +\d+\.\d+){3} *", line)]
    assert [row.split()[0] for row in rows] == ["1", "2"]
    assert {len(row.rstrip()) for row in rows} == {len(lines[header].rstrip())}
    assert any("all epochs done (4 steps)" in line for line in lines)
    assert child.before.count(SHOW) == 1
    child.expect(r"epoch \d+/100000000")
    child.expect("steps/s")
    process.send_signal(signal.SIGINT)
    child.expect(re.escape(SHOW))
    child.expect("KeyboardInterrupt")
    child.expect(pexpect.EOF)
    assert HIDE not in child.before
    assert process.wait(60) != 0


def test_fit_without_a_terminal_is_silent(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # colours in a log; no reason for a bar
    learner = sx.supervised(sx.nn.MLP(features=(3,)), sx.losses.cross_entropy, optax.sgd(0.1))
    data = {"x": np.eye(6, 5, dtype=np.float32), "y": np.arange(6) % 3}
    sx.fit(learner, data, key=jax.random.key(0), epochs=2, batch_size=3)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_table_without_a_terminal() -> None:
    file = io.StringIO()
    reports = list(progress.table(make_reports(), console=Console(file=file)))
    assert len(reports) == 6
    assert file.getvalue() == (
        "                                        validation\n"
        "epoch    seconds       loss   accuracy        loss   accuracy\n"
        "    1        1.0   1.00e-05     0.7500    123.4560        nan\n"
        "    2        2.0   1.00e-05     0.7500    123.4560        nan\n"
        "    3        3.0   1.00e-05     0.7500    123.4560        nan\n"
        "no better (12 steps)\n"
    )


def test_table_of_a_population_shows_means() -> None:
    file = io.StringIO()
    list(progress.table(make_reports(epochs=1, loss=np.array([1.0, 2.0])), console=Console(file=file)))
    assert "1.5000" in file.getvalue()


@pytest.mark.parametrize(("epochs", "rows"), [(100, 100), (101, 51), (1000, 100)])
def test_table_of_many_short_epochs_is_thinned(epochs: int, rows: int) -> None:
    file = io.StringIO()
    list(progress.table(make_reports(epochs=epochs), console=Console(file=file)))
    numbers = [int(line.split()[0]) for line in file.getvalue().splitlines()[2:-1]]
    assert numbers[-1] == epochs
    assert len(numbers) == rows


@pytest.mark.parametrize("width", [12, 30, 45, 79, 80, 100, 134, 135, 200])
def test_no_width_breaks_a_line(width: int) -> None:
    terminal = Terminal(width)
    list(progress.shown(make_reports(), console=terminal.console))
    lines = plain(terminal.text())
    assert max(map(len, lines)) <= max(width, len("no better (12 steps)"))
    assert any(line.startswith("epoch    seconds"[:width]) for line in lines) or width < 20
    assert any(line.startswith("    1") for line in lines)
    assert any(line.startswith("epoch 3/3") for line in lines)
    assert any("loss 0.0833" in line for line in lines) == (width >= 40)


def full_reports() -> Iterator[Report]:
    """Slow enough for a speed, with all that a bar can show."""
    for report in make_reports(epochs=3, length=100):
        rate, norm = np.full(2, 1.25e-3), np.full(2, 0.75)
        yield report._replace(
            metrics={**report.metrics, "weight": np.full(2, 64.0), "learning_rate": rate, "gradient_norm": norm}
        )


@pytest.mark.parametrize(
    ("width", "examples", "rate"), [(80, False, False), (99, False, False), (100, True, False), (135, True, True)]
)
def test_what_else_a_wide_terminal_shows(width: int, examples: bool, rate: bool) -> None:
    terminal = Terminal(width)
    list(progress.bar(full_reports(), console=terminal.console))
    lines = plain(re.sub(r"\x1b\[[0-9;]*m", "", terminal.text()))  # colours would part the line
    assert max(map(len, lines)) <= width
    last = [line for line in lines if "300/300" in line and "steps/s" in line][-1]
    assert ("examples/s" in last, "rate 1.25e-03  gradient 0.7500" in last) == (examples, rate)
    if examples:
        steps, shown = (float(text.replace(",", "")) for text in re.findall(r"([\d,.]+) (?:steps|examples)/s", last))
        assert shown == pytest.approx(64 * steps, rel=0.05)


def test_without_weights_nobody_knows_the_examples() -> None:
    (report, *_) = make_reports()
    assert progress._examples(report, 100.0) == "100 examples/s"
    assert progress._examples(report._replace(metrics={"loss": np.ones(2)}), 100.0) == ""
    assert progress._examples(report, None) == ""
    lanes = report._replace(metrics={"weight": np.full((2, 3), 8.0), "gradient_norm": np.full((2, 3), 0.5)})
    assert progress._examples(lanes, 2.0) == "16 examples/s"
    assert progress._others(lanes) == "gradient 0.5000"


def test_bar_alone_is_gone_at_the_end() -> None:
    terminal = Terminal(100)
    assert len(list(progress.bar(make_reports(), console=terminal.console))) == 6
    text = terminal.text()
    assert "12/12" in text
    assert text.endswith("\x1b[1A\x1b[2K")  # the line above is cleared
    file = io.StringIO()  # a log with colours
    assert len(list(progress.bar(make_reports(), console=Console(file=file, force_terminal=True)))) == 6
    assert file.getvalue() == ""


@pytest.mark.parametrize("end", ["close", "error"])
def test_whoever_ends_early_gets_the_cursor_back(end: str) -> None:
    terminal = Terminal(100)
    threads = set(threading.enumerate())
    reports = progress.shown(make_reports(fail=end == "error"), console=terminal.console)
    next(reports)
    (drawing,) = set(threading.enumerate()) - threads
    if end == "close":
        reports.close()  # type: ignore[attr-defined]
    else:
        with pytest.raises(RuntimeError, match="out of memory"):
            next(reports)
    drawing.join(10)
    assert not drawing.is_alive()
    text = terminal.text()
    assert text.rfind(SHOW) > text.rfind(HIDE) > -1


def test_a_resumed_training_counts_its_own_speed() -> None:
    terminal = Terminal(120)
    reports = [report for report in make_reports(epochs=10_000, length=2) if report.step > 19_990]
    list(progress.bar(iter(reports), console=terminal.console))
    assert "20000/20000" in terminal.text()
