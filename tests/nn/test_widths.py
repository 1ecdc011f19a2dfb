"""Widths are whole, and named by their place."""

import numpy as np
import pytest

from stepax.nn.widths import check_widths


def test_any_sequence_of_whole_numbers():
    assert check_widths("features", (64, 10)) == (64, 10)
    assert check_widths("features", [np.int64(3)]) == (3,)
    assert check_widths("features", ()) == ()


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (64, TypeError, r"features: expected a sequence of widths such as \(64, 10\), got 64"),
        ("64", TypeError, "features: expected a sequence of widths"),
        ((64, 1.5), TypeError, r"features\[1\]: expected a whole number, got float 1\.5"),
        ((0, 64), ValueError, r"features\[0\]: expected at least 1, got 0"),
    ],
)
def test_others_are_refused(value, error, message):
    with pytest.raises(error, match=message):
        check_widths("features", value)
