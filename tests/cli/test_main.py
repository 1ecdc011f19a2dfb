"""The command line as processes, also in a real terminal."""

import fcntl
import os
import pathlib
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios

import numpy as np
import pexpect
import pytest
from pexpect import fdpexpect
from PIL import Image
from tests.cli.processes import environment, process

import stepax as sx
from stepax import cli


def test_help_comes_from_python_dash_m_and_from_the_script(tmp_path):
    done = process("--help", cwd=tmp_path)
    assert done.status == 0
    assert "train" in done.out
    script = pathlib.Path(sys.executable).with_name("stepax")
    if script.exists():  # absent where the package is not installed
        same = subprocess.run([script, "--help"], capture_output=True, text=True, check=True, timeout=120)
        assert same.stdout == done.out


def test_help_imports_nothing_heavy(tmp_path):
    code = (
        "import sys; from stepax.cli import options\n"
        "try: options.parse(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'matplotlib', 'sklearn', 'orbax', 'tensorboardX', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "[]"


def test_what_is_for_texts_is_imported_only_for_them():
    code = (
        "import sys; from stepax.cli import evaluate, generate, plot, predict, train\n"
        "print([name for name in sys.modules if name.startswith(('stepax.text', 'tokenizers'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "[]\n"


def test_the_version(call):
    assert call("--version").out == f"stepax {sx.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--data", "minst"), "error: unknown data set 'minst': known are 'digits'"),
        (("evaluate", "missing"), "error: run missing: no such folder"),
        (("evaluate", "foreign"), "error: run foreign: there is no run.json in it"),
        (("predict", "short", "x.npy"), "error: run short: run.json is damaged or cut short"),
        (("predict", "damaged", "x.npy"), "error: checkpoint damaged/checkpoint"),
        (("train", "--seed", str(2**63)), "error: --seed: expected a number of 64 bits, got 9223372036854775808"),
        (("predict", "good", "x.npy"), "error: x.npy has inputs of shape 9×9, and the model takes 8×8×1"),
    ],
)
def test_an_error_is_one_line_and_status_2(tmp_path, digits_run, arguments, message):
    (tmp_path / "foreign").mkdir()
    for name in ("short", "damaged", "good"):
        shutil.copytree(digits_run, tmp_path / name)
    text = (tmp_path / "short" / "run.json").read_text()
    (tmp_path / "short" / "run.json").write_text(text[: len(text) // 2])
    largest = max((tmp_path / "damaged" / "checkpoint").rglob("*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-7])
    np.save(tmp_path / "x.npy", np.zeros((2, 9, 9)))
    done = process(*arguments, cwd=tmp_path)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(message)
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err


@pytest.mark.parametrize(("flags", "variables"), [(["--traceback"], {}), ([], {"STEPAX_TRACEBACK": "1"})])
def test_a_traceback_is_shown_on_request(tmp_path, flags, variables):
    done = process("evaluate", *flags, "missing", cwd=tmp_path, **variables)
    assert done.status == 1
    assert "Traceback (most recent call last)" in done.err
    assert "RunError: run missing: no such folder" in done.err


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch):
    def broken(arguments):
        raise RuntimeError("a fault")

    monkeypatch.setattr(cli, "_run", broken)
    with pytest.raises(RuntimeError, match="a fault"):
        cli.main([])


def test_a_reader_that_has_enough_gets_no_traceback(tmp_path, iris_run):
    command = f"{sys.executable} -m stepax evaluate {iris_run} | true"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
        timeout=120,
        check=True,
    )
    assert done.stderr == ""


def test_a_training_goes_on_when_the_reader_has_enough(tmp_path):
    options = "--data iris --model linear --epochs 1 --no-figures --log --out run"
    command = f"{sys.executable} -m stepax train {options} 2>&1 | true; echo ${{PIPESTATUS[0]}}"
    shell = ["bash", "-c", command]
    done = subprocess.run(
        shell, capture_output=True, text=True, cwd=tmp_path, env=environment(), timeout=120, check=True
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert (tmp_path / "run" / "run.json").exists()


def test_a_warning_is_one_line(tmp_path):
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png", "b/note.txt"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("no image")
        else:
            Image.new("L", (4, 4)).save(path)
    small = ("--model", "linear", "--epochs", 1, "--no-figures", "--log", "--test-fraction", 0.5)
    done = process("train", "--data", "images", *small, cwd=tmp_path)
    assert done.status == 0, done.err
    assert done.err.splitlines()[0] == "warning: left out, not PNG or JPEG files: images/b/note.txt"


def test_a_csv_makes_the_round_trip_through_processes(tmp_path, prices):
    shutil.copy(prices, tmp_path / "prices.csv")
    options = ("--model", "linear", "--learning-rate", 0.1, "--no-figures", "--log", "--epochs", 40)
    done = process("train", "--data", "prices.csv", "--target", "price", *options, cwd=tmp_path)
    assert done.status == 0, done.err
    done = process("predict", "runs/prices-linear-1", "prices.csv", "--out", "answers.csv", "--rows", 0, cwd=tmp_path)
    assert done.status == 0, done.err
    read = [np.loadtxt(tmp_path / name, delimiter=",", skiprows=1) for name in ("prices.csv", "answers.csv")]
    np.testing.assert_allclose(read[1][:, 1], read[0][:, 2], atol=30)


# A process that was started in the background ignores Ctrl-C, and so would those that it starts: the tests', perhaps.
INTERRUPTIBLE = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("stepax", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def user(tmp_path):
    """A long training in a terminal of its own, 120 characters wide."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    options = ["--data", "iris", "--model", "linear", "--epochs", "100000", "--no-figures"]
    command = [sys.executable, "-c", INTERRUPTIBLE, "train", *options]
    terminal = {**environment(), "TERM": "xterm-256color"}
    # Not pexpect.spawn: it forks, and JAX warns of that.
    with subprocess.Popen(command, stdin=other, stdout=other, stderr=other, cwd=tmp_path, env=terminal) as running:
        os.close(other)
        child = fdpexpect.fdspawn(main, encoding="utf-8", timeout=120)
        yield running, child
        running.kill()
        child.close()


def test_a_terminal_shows_a_bar_and_a_table_and_stops_at_ctrl_c(user):
    running, child = user
    child.expect("model      linear: 15 parameters")
    child.expect(r"epoch +seconds +loss +accuracy")
    child.expect(r"epoch \d+/100000")
    child.expect("steps/s")
    running.send_signal(signal.SIGINT)
    child.expect("interrupted: after step [0-9,]+; `.* train --resume runs/iris-linear-1` goes on from there\r\n")
    child.expect(pexpect.EOF)
    assert "Traceback" not in child.before
    assert running.wait(60) == 130


def test_characters_that_the_output_has_no_bytes_for_are_no_error(tmp_path, reviews_run):
    (tmp_path / "in.txt").write_text("a joy \u4f60 I loved\n", encoding="utf-8")
    done = process("predict", reviews_run, "in.txt", cwd=tmp_path, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.status, "Traceback" in done.err) == (0, False)
    assert "a joy ? I loved" in done.out
