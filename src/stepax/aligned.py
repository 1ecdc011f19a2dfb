"""Tables as plain text."""

from collections.abc import Collection, Sequence

__all__ = ["aligned", "short"]


def aligned(rows: Sequence[Sequence[str]], left: Collection[str] = ()) -> list[str]:
    """Rows as lines whose columns line up: numbers to the right, and no column that is empty.

    Args:
        rows: The header and the rows below it, all of one length.
        left: The columns, by their header, that stand to the left.

    Returns:
        A line for each row.

    >>> aligned([["layer", "size"], ["conv", "9"], ["head", "12"]], left=["layer"])
    ['layer  size', 'conv      9', 'head     12']
    """
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(
            cell.ljust(width) if column[0] in left else cell.rjust(width)
            for cell, column, width in zip(line, columns, widths, strict=True)
        ).rstrip()
        for line in zip(*columns, strict=True)
    ]


def short(value: float, unit: str = "") -> str:
    """A count in three digits, with a unit of a power of a thousand.

    >>> short(1_234_567), short(999_999, "B"), short(12, "B"), short(12)
    ('1.23 M', '1.00 MB', '12 B', '12')
    """
    for power in ("", "k", "M", "G", "T", "P", "E"):
        if value < 999.5 or power == "E":
            break
        value /= 1000
    digits = 0 if not power or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {power}{unit}".rstrip()
