"""Examples from a user's generator, one after the other."""

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from stepax.data.stream_rows import Decode, Layout, decoded

__all__ = ["Drawing", "Drawn"]


class Drawn:
    """The examples that ``make(epoch)`` yields, mixed in a buffer.

    Args:
        make: ``epoch -> iterator``; the same epoch gives the same examples.
        count: Examples an epoch; what is yielded beyond them is left alone.
        decode: ``example -> example``; not called for examples that are skipped.
        buffer: How many examples wait to be chosen from.
    """

    def __init__(self, make: Callable[[int], Any], count: int, decode: Decode | None, buffer: int) -> None:
        self._make, self.count, self._decode, self._buffer = make, count, decode, buffer
        first = list(self.drawn(0, None, 1))
        self.layout = Layout.of(
            self.example(first[0], "example 0"), "source" if decode is None else "decode: the result"
        )

    def example(self, drawn: Any, where: str) -> Any:
        """The example that is made of a drawn one."""
        return decoded(self._decode, drawn, where)

    def drawn(self, epoch: int, random: np.random.Generator | None, count: int | None = None) -> Iterator[Any]:
        """An epoch's examples, not decoded: each is drawn from the buffer at random, and the next takes its place.

        Raises:
            ValueError: There are fewer than ``count``, the whole number unless told otherwise.
        """
        iterator = iter(self._make(epoch))
        try:
            examples = _counted(iterator, self.count if count is None else count, epoch)
            if random is None:
                yield from examples
                return
            held = list(itertools.islice(examples, self._buffer))
            for example in examples:
                place = int(random.integers(len(held)))
                chosen, held[place] = held[place], example
                yield chosen
            yield from (held[place] for place in random.permutation(len(held)).tolist())
        finally:
            getattr(iterator, "close", lambda: None)()


def _counted(iterator: Iterator[Any], count: int, epoch: int) -> Iterator[Any]:
    found = 0
    for example in itertools.islice(iterator, count):
        found += 1
        yield example
    if found < count:
        raise ValueError(f"source: the generator of epoch {epoch} ended after {found} of {count} examples")


class Drawing:
    """The batches of an epoch from one of them on, asked for in their order; what lies before is drawn and dropped.

    Args:
        source: Whose examples.
        epoch: Which epoch.
        random: Draws from the buffer; ``None``: in order.
        first: The first batch that is wanted.
        size: Examples a batch.
        share: Which of them are wanted here.
    """

    def __init__(
        self, source: Drawn, epoch: int, random: np.random.Generator | None, first: int, size: int, share: slice
    ) -> None:
        self._source, self._first, self._size, self._share = source, first, size, share
        self._missing = -source.count % size
        self._opening: list[Any] = []
        self._drawn: Any = source.drawn(epoch, random)
        self._started, self._lock = False, threading.Lock()

    def batch(self, number: int) -> dict[str, Any]:
        """The batch of this number, the next one."""
        with self._lock:
            if not self._started:
                self._started = True
                self._next(self._first * self._size)
            drawn = self._next(self._size)
        drawn += self._opening[: self._size - len(drawn)]
        numbers = range(number * self._size, (number + 1) * self._size)[self._share]
        labels = [f"example {example} of those drawn" for example in numbers]
        examples = (
            (where, self._source.example(one, where)) for where, one in zip(labels, drawn[self._share], strict=True)
        )
        return self._source.layout.stacked(examples, len(numbers))

    def close(self) -> None:
        """Closes the user's generator, when it has come to its next example."""
        with self._lock:
            self._drawn.close()

    def _next(self, count: int) -> list[Any]:
        """The next examples; the epoch's first ones are kept to fill up its last batch."""
        kept = []
        for example in itertools.islice(self._drawn, count):
            if len(self._opening) < self._missing:
                self._opening.append(example)
            kept.append(example)
        return kept
