"""What a model has answered, looked at when its program has ended."""

from stepax.targets import host_values
from stepax.typing import Array

__all__ = ["check_answers"]


def check_answers(broken: Array, name: str, expected: str) -> None:
    """Refuse texts for which a model has answered NaN.

    Args:
        broken: For which it has, ``[batch]``; where it cannot be looked at (inside jit), nothing is refused.
        name: The argument that is to blame.
        expected: What it should have been.

    Raises:
        ValueError: There is such a text.
    """
    rows = host_values(broken)
    if rows is not None and rows.any():
        raise ValueError(
            f"{name}: the model answers NaN for {rows.sum()} of {len(rows)} rows, the first row {rows.argmax()}: "
            f"expected {expected}"
        )
