"""Examples in many files: NumPy archives, Parquet tables, ArrayRecord."""

import glob
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stepax.data.stream_files import READERS, Shard
from stepax.data.stream_rows import Decode, Layout, decoded

__all__ = ["Shards", "found"]


def found(source: str | os.PathLike[str]) -> list[Path]:
    """The shards that a file, a folder or a pattern with ``*`` means, by name.

    Raises:
        FileNotFoundError: There are none.
        ValueError: They are of several kinds, or of one that is not read here.
    """
    path, kinds = Path(source).expanduser(), ", ".join(READERS)
    if path.is_dir():
        paths = sorted(child for child in path.iterdir() if child.suffix.lower() in READERS)
    else:
        paths = [path] if path.is_file() else sorted(Path(name) for name in glob.glob(str(path)))
    if not paths:
        raise FileNotFoundError(f"source: no files at {os.fspath(source)!r}: expected some of {kinds}")
    suffixes = {path.suffix.lower() for path in paths}
    if len(suffixes) > 1 or not suffixes <= set(READERS):
        raise ValueError(
            f"source: expected files of one kind of {kinds}, got {', '.join(sorted(suffixes))} in {source}"
        )
    return paths


class Shards:
    """The rows of all shards, numbered through in the order of their names.

    Random access to compressed rows is dear. An epoch's order is therefore that of the shards, shuffled, and of the
    rows within ``window`` shards at a time; as many as two windows are kept in memory.

    Args:
        paths: The files.
        decode: ``example -> example`` for one row; ``None`` where rows are dicts of numbers already.
        window: How many shards are mixed.
    """

    def __init__(self, paths: Sequence[Path], decode: Decode | None, window: int) -> None:
        self._paths, self._decode, self._window = paths, decode, window
        reader = READERS[paths[0].suffix.lower()]
        if reader.needs_decode and decode is None:
            raise ValueError(
                f"decode: the records of {paths[0]} are bytes: expected a function bytes -> dict of arrays"
            )
        counts, kinds = zip(*(reader.described(path) for path in paths), strict=True)
        for path, kind in zip(paths, kinds, strict=True):
            if kind != kinds[0]:
                raise ValueError(f"{path} holds {kind}, and {paths[0]} holds {kinds[0]}: expected equal shards")
        self._ends = np.cumsum(counts)
        self.count = int(self._ends[-1])
        self._open = _Kept(lambda number: reader.opened(paths[number]), 2 * window)
        if self.count:
            shard = int(np.searchsorted(self._ends, 0, "right"))
            example = next(self._examples(shard, np.zeros(1, np.int64)))[1]
            self.layout = Layout.of(example, str(paths[shard]) if decode is None else "decode: the result")

    def order(self, random: np.random.Generator | None, missing: int) -> np.ndarray:
        """Shards in random order, and rows in random order within a window of them.

        The last batch is filled up with the epoch's last rows, whose shards are open.
        """
        starts, dtype = [0, *self._ends[:-1].tolist()], np.int32 if self.count < 2**31 else np.int64
        shards = np.arange(len(starts)) if random is None else random.permutation(len(starts))
        parts = []
        for first in range(0, len(shards), self._window):
            window = shards[first : first + self._window].tolist()
            rows = np.concatenate([np.arange(starts[shard], self._ends[shard], dtype=dtype) for shard in window])
            parts.append(rows if random is None else random.permutation(rows))
        rows = np.concatenate(parts)
        return np.concatenate([rows, rows[-missing:]]) if missing else rows

    def named(self, number: int) -> str:
        """Its row and file."""
        shard = int(np.searchsorted(self._ends, number, "right"))
        return f"row {number - (int(self._ends[shard - 1]) if shard else 0)} of {self._paths[shard]}"

    def read(self, numbers: np.ndarray) -> dict[str, Any]:
        """The rows, shard by shard."""
        shards = np.searchsorted(self._ends, numbers, "right")
        local = numbers - np.where(shards > 0, self._ends[shards - 1], 0)
        # Batches that are read at the same time begin with different shards, and so open them at the same time.
        wanted = np.roll(np.unique(shards), int(numbers[0]) % len(numbers))
        batch = self.layout.empty(len(numbers))
        for shard in wanted.tolist():
            places = np.flatnonzero(shards == shard)
            if self._decode is None:
                for out, leaf in zip(batch, self._fields(shard, local[places]), strict=True):
                    out[places] = leaf
            else:
                for place, (where, example) in zip(places, self._examples(shard, local[places]), strict=True):
                    for out, leaf in zip(batch, self.layout.leaves(example, where), strict=True):
                        out[place] = leaf
        return self.layout.batch(batch)

    def _fields(self, shard: int, rows: np.ndarray) -> list[np.ndarray]:
        """Rows of every field, in the layout's order."""
        fields = {name: column[rows] for name, column in self._open[shard].fields.items()}
        self.layout.leaves({name: column[0] for name, column in fields.items()}, str(self._paths[shard]))
        return [fields[name] for name in sorted(fields)]

    def _examples(self, shard: int, rows: np.ndarray) -> Iterator[tuple[str, Any]]:
        path = self._paths[shard]
        for row, example in zip(rows.tolist(), self._open[shard].examples(rows), strict=True):
            where = f"row {row} of {path}"
            yield where, decoded(self._decode, example, where)


class _Entry:
    """A shard, once the first who wants it has opened it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.shard: Shard | None = None


class _Kept:
    """The shards that were used last, each opened once, whoever asks first."""

    def __init__(self, opened: Callable[[int], Shard], most: int) -> None:
        self._opened, self._most = opened, most
        self._entries: dict[int, _Entry] = {}
        self._lock = threading.Lock()

    def __getitem__(self, number: int) -> Shard:
        with self._lock:
            entry = self._entries.pop(number, None) or _Entry()
            self._entries[number] = entry  # dicts keep their order: the last one was used last
            while len(self._entries) > self._most:
                del self._entries[next(iter(self._entries))]
        with entry.lock:
            if entry.shard is None:
                entry.shard = self._opened(number)
            return entry.shard
