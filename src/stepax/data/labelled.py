"""Texts with a label each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stepax.data.split import split

__all__ = ["Sentences"]


@dataclass(frozen=True, eq=False, repr=False)
class Sentences:
    """Texts with a label each, and their published test split where there is one.

    Attributes:
        texts: The texts, ``n`` of them: of all parts, the test split last.
        labels: The label of each, ``[n]`` int32.
        classes: The name of each label, in the order of the labels.
        name: What was loaded.
        held_out: How many texts at the end are the published test split; 0 where there is none.

    >>> few = Sentences(("good", "bad", "fine"), np.array([1, 0, 1], np.int32), ("no", "yes"), "few")
    >>> few
    Sentences('few': 3 texts of 2 classes)
    >>> few.take([2, 0]).texts
    ('fine', 'good')
    """

    texts: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    name: str
    held_out: int = 0

    @property
    def train(self) -> Sentences:
        """The published training texts; an error where no split was published."""
        return self.take(range(self._published()))

    @property
    def test(self) -> Sentences:
        """The published test texts; an error where no split was published."""
        return self.take(range(self._published(), len(self)))

    def take(self, rows: Sequence[int] | np.ndarray) -> Sentences:
        """Some of the texts, such as a fold.

        Args:
            rows: The positions of the texts that are wanted, in the order that is wanted, or ``[n]`` booleans.

        Returns:
            These, as a whole of their own.
        """
        index = np.arange(len(self))[np.asarray(rows, None if len(rows) else np.int32)]
        return Sentences(tuple(self.texts[i] for i in index), self.labels[index], self.classes, self.name)

    def split(self, test_fraction: float) -> tuple[Sentences, Sentences]:
        """Divide the texts into training and test texts, always in the same way, with the share of each class kept.

        Args:
            test_fraction: Share of the texts that is held out, from 0 (none) to below 1.

        Returns:
            Training and test texts.

        Raises:
            ValueError: There is a published split; the fraction is outside [0, 1); or a class cannot be in both parts.
        """
        if self.held_out:
            raise ValueError(f"{self.name} has a published split: expected its parts `train` and `test`")
        parts = split({"rows": np.arange(len(self)), "y": self.labels}, test_fraction, self.classes)
        train, test = (self.take(part["rows"]) for part in parts)
        return train, test

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        """Sizes instead of thousands of texts."""
        held_out = f", the last {self.held_out} for testing" if self.held_out else ""
        return f"Sentences({self.name!r}: {len(self)} texts of {len(self.classes)} classes{held_out})"

    def _published(self) -> int:
        """Where the published test split begins."""
        if not self.held_out:
            raise ValueError(f"{self.name} has no published split: expected folds, or `split(test_fraction)`")
        return len(self) - self.held_out
