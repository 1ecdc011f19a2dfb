"""Some files of ``python -m tests.fuzz`` for every reader, in one process; and that it notices what it looks for."""

import collections
import pathlib
import subprocess
import sys

import pytest
from tests import fuzz

FILES = {
    "load_exported": range(60),
    "checkpoint.load": range(30),
    "record.restore": range(20),
    "png": range(60),
    "jpeg": range(40),
}


@pytest.mark.parametrize("name", fuzz.READERS)
def test_damaged_files_are_refused_or_valid(name: str) -> None:
    numbers = FILES.get(name, range(120))
    results = collections.Counter(result for _, result in fuzz.fuzz(name, numbers.stop, numbers.start) if result)
    assert set(results) <= {"refused", "valid"}, results
    assert results["refused"] > results["valid"] / 2


def test_files_are_the_same_every_time(tmp_path: pathlib.Path) -> None:
    path = fuzz.READERS["csv"].make(tmp_path)
    drawn = [[fuzz.mutated("csv", path, number)[1] for number in range(30)] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 20


def test_what_is_wrong_is_noticed(tmp_path: pathlib.Path) -> None:
    def outcome(read: object, exact: bool = True) -> str:
        return fuzz.outcome(fuzz.Reader(lambda folder: folder, read, (ValueError,), exact=exact), tmp_path, 3)

    def raised(error: Exception) -> object:
        def read(path: pathlib.Path) -> None:
            raise error

        return read

    assert outcome(raised(ValueError("a sentence"))) == "refused"
    assert outcome(raised(ValueError())) == "ValueError without a word"
    assert outcome(raised(KeyError("x"))).startswith("KeyError: 'x' (test_fuzz.py")
    assert outcome(lambda path: 3) == "valid"
    assert outcome(lambda path: 4) == "it loaded something else than was saved"
    assert outcome(lambda path: 4, exact=False) == "valid"


def test_a_process_that_dies_is_counted_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    # The process that reads dies at the first file after each start, as a crash in C would make it.
    code = (
        "import json, os, sys; first = int(sys.argv[sys.argv.index('--first') + 1]); "
        "print(json.dumps([first, '', 0])); print(json.dumps([first, 'refused', 2048])); "
        "print(json.dumps([first + 1, '', 0]), flush=True); os.abort()"
    )
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda command, **settings: popen([sys.executable, "-c", code, *command[3:]], **settings)
    )
    counts, memory = fuzz.in_processes("csv", 4, None)
    assert (counts.files, counts.refused, counts.valid) == (4, 2, 0)
    assert counts.failures == ["csv 1: the process died with -6", "csv 3: the process died with -6"]
    assert memory == 2048
