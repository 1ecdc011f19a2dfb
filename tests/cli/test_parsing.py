import sys

import pytest

from stepax.cli.options import parse
from stepax.cli.parsing import one_line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--epochs ten", "--epochs: expected a whole number, got 'ten'; see stepax train --help"),
        ("--epochs None", "--epochs: expected a whole number, got 'None'"),
        ("--seed 0.5", "--seed: expected a whole number, got '0.5'"),
        ("--learning-rate fast", "--learning-rate: expected a number, got 'fast'"),
        ("--batch-size all", "--batch-size: expected a whole number or full, got 'all'"),
        ("--standardize maybe", "--standardize: expected yes or no, got 'maybe'"),
        ("--log wandb", "--log: expected tensorboard, got 'wandb'"),
        ("--dense 8 wide", "--dense: expected a whole number, got 'wide'"),
        ("--size 8", "missing value for argument '--size'. Expected 2 values"),
    ],
)
def test_a_value_that_cannot_be_read_is_told_in_plain_words(text, message):
    with pytest.raises(ValueError, match=r"expected|Expected") as caught:
        parse(["train", *text.split()])
    assert str(caught.value).startswith(message)


def test_only_an_error_becomes_a_message(capsys):
    with pytest.raises(SystemExit), one_line():
        sys.exit(0)
    with pytest.raises(ValueError, match=r"^left$"), one_line():
        sys.exit(print("2\nlines\nleft", file=sys.stderr) or 2)
    assert capsys.readouterr().err == ""
