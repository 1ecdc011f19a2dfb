import json

from rich.table import Table

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
