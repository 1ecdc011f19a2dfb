"""A program of this folder answers as a rival does."""

import io
import json
import os
import sys

from bench.served import Served, answer


def test_the_command(tmp_path):
    process = Served("bench.generation", "torch", "eager", tmp_path / "task.npz", {})
    expected = ["-m", "bench.generation", "serve", "torch", "eager", str(tmp_path / "task.npz")]
    assert process._command == [sys.executable, *expected]
    assert (process.rival, process.form) == ("torch", "eager")


def test_answers_are_lines_and_nothing_else(monkeypatch, capfd):
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"do": "add", "a": 1, "b": 2}\n{"do": "add", "a": 3, "b": 4}\n'))
    kept = os.dup(1)

    def add(a, b):
        os.write(1, b"what a library says\n")
        return {"sum": a + b}

    try:
        answer({"add": add})
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    said = capfd.readouterr()
    assert [json.loads(line) for line in said.out.splitlines()] == [{"sum": 3}, {"sum": 7}]
    assert "what a library says" in said.err
