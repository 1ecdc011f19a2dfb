import json

import pytest
from rich.table import Table

from stepax.cli import console
from stepax.cli.console import print_json, print_tables, say


def test_a_line_is_printed_as_it_is(capsys):
    say("[bold]features[0] 100 % of /a/very/long/path" + "x" * 200)
    assert capsys.readouterr().out == "[bold]features[0] 100 % of /a/very/long/path" + "x" * 200 + "\n"


def test_json_is_one_line_however_long(capsys):
    value = {"names": ["x" * 50] * 20, "bad": float("nan")}
    print_json(value)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {**value, "bad": {"float": "nan"}}


def test_an_empty_line_stands_before_each_table(capsys):
    table = Table("a", box=None)
    table.add_row("1")
    print_tables([table, table])
    assert [line.strip() for line in capsys.readouterr().out.split("\n")] == ["", "a", "1", "", "a", "1", ""]


@pytest.mark.parametrize(
    ("found", "sibling", "expected"),
    [
        ("/usr/bin/stepax", True, "stepax"),
        (None, True, ".venv/bin/stepax"),
        (None, False, ".venv/bin/python -m stepax"),
    ],
)
def test_the_program_is_named_so_that_it_can_be_started(tmp_path, monkeypatch, found, sibling, expected):
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    if sibling:
        (folder / "stepax").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console.sys, "executable", str(folder / "python"))
    monkeypatch.setattr(console.shutil, "which", lambda name: found)
    assert console.program() == expected
    monkeypatch.chdir(folder)
    assert console.program() == (expected if found else str(folder / expected.removeprefix(".venv/bin/")))
