import pathlib
import re

import pytest

from stepax.cli import options
from stepax.cli.options import COMMANDS, parse
from stepax.cli.planning import read


def shown(capsys, *arguments):
    with pytest.raises(SystemExit) as leaving:
        parse(arguments)
    assert leaving.value.code == 0
    return re.sub(r"[│|]", " ", capsys.readouterr().out)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_shows_its_default_or_is_required(capsys, command):
    text = shown(capsys, command, "--help")
    flags = re.findall(r"^\W+--[a-z]", text, re.MULTILINE)
    positional = re.findall(r"^\W+[A-Z]+  ", text, re.MULTILINE)
    assert "(default: None)" not in text
    assert len(flags) == text.count("(default:")
    assert len(positional) == text.count("(required)")


def test_help_of_the_program_names_every_subcommand(capsys):
    text = shown(capsys, "--help")
    assert all(name in text for name in COMMANDS)


def test_the_default_job_is_a_training_on_digits():
    wanted = parse(["train"])
    assert wanted == options.Train()
    assert read(wanted.data)[1].data == "digits"


def test_options_need_no_prefix_and_take_several_values():
    text = "--data x.csv --target y --features 8 16 --dense --size 3 4 --log --no-figures --batch-size full"
    wanted = parse(["train", *text.split()])
    assert (wanted.data.data, wanted.data.target, wanted.data.size) == ("x.csv", "y", (3, 4))
    assert (wanted.model.features, wanted.model.dense) == ((8, 16), ())
    assert (wanted.output.log, wanted.output.figures) == ((), False)
    assert wanted.optimization.batch_size == "full"


def test_positional_arguments_of_predict():
    wanted = parse(["predict", "run", "x.csv", "--rows", "3"])
    assert (wanted.run, wanted.file, wanted.rows) == (pathlib.Path("run"), pathlib.Path("x.csv"), 3)


def test_names_of_columns_are_taken_as_they_are():
    data = parse(["train", "--columns", "a", "None", "--drop", "b c"]).data
    assert (data.columns, data.drop) == (("a", "None"), ("b c",))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--feature", "3"], "unrecognized options: --feature, 3; perhaps you meant: --features WIDTH ..."),
        (["predict", "run"], "missing from stepax predict: FILE; see stepax predict --help"),
        (["tran"], "unknown subcommand 'tran': known are 'train', .*; did you mean 'train'"),
        ([], "expected one of .train, evaluate, predict, generate, plot, record, bench, info.; see stepax --help"),
    ],
)
def test_what_does_not_parse_is_an_error_of_one_line(capsys, arguments, message):
    with pytest.raises(ValueError, match=message):
        parse(arguments)
    assert "".join(capsys.readouterr()) == ""
