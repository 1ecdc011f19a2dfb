import pytest

from stepax.aligned import aligned, short


def test_columns_line_up_and_empty_ones_are_left_out():
    rows = [["name", "size", "note"], ["a", "1", ""], ["long", "1,000", ""]]
    assert aligned(rows, left=["name"]) == ["name   size", "a         1", "long  1,000"]
    assert aligned(rows) == ["name   size", "   a      1", "long  1,000"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (999.6, "1.00 k"),
        (12_345, "12.3 k"),
        (99_960, "100 k"),
        (2.5e9, "2.50 G"),
        (3e18, "3.00 E"),
    ],
)
def test_three_digits_and_a_unit(value, text):
    assert short(value) == text
    assert short(value, "B") == text + ("B" if " " in text else " B")
