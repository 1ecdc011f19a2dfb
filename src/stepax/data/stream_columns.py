"""Rows of one array by number; of a mapped file they are read, not mapped."""

import mmap
import os
import weakref
from typing import Any

import numpy as np

__all__ = ["Column", "Mapped", "column"]


class Column:
    """An array in memory."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def read(self, numbers: np.ndarray, out: np.ndarray) -> None:
        """Writes the rows with these numbers to ``out``, in its dtype."""
        if out.dtype == self.array.dtype:
            # "clip" writes into ``out`` at once; all numbers are in range.
            np.take(self.array, numbers, axis=0, out=out, mode="clip")
        else:
            out[...] = self.array[numbers]


class Mapped(Column):
    """An array in a file.

    Pages that are mapped count as the process's memory until the system wants them back, and the kernel maps sixteen
    around each one that is touched. Reads leave them in the system's cache alone, and cost a shuffled epoch less.

    Args:
        array: The mapped array, or a view of it, whose rows are contiguous.
        path: The file.
        offset: Where in it the first row begins.
    """

    def __init__(self, array: np.ndarray, path: str | os.PathLike[str], offset: int) -> None:
        super().__init__(array)
        self._path, self._offset = path, offset
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, numbers: np.ndarray, out: np.ndarray) -> None:
        """As in memory.

        Raises:
            ValueError: The file has become shorter.
        """
        raw = out if out.dtype == self.array.dtype else np.empty(out.shape, self.array.dtype)
        flat: Any = raw.reshape(-1).view(np.uint8)
        memory, size = memoryview(flat), self.array[:1].nbytes
        if self.array.strides[0] == size and _run(numbers):
            self._fill(memory, int(numbers[0]))
        else:
            for place, number in enumerate(numbers.tolist()):
                self._fill(memory[place * size : (place + 1) * size], number)
        if raw is not out:
            out[...] = raw

    def _fill(self, memory: memoryview, row: int) -> None:
        position, done = self._offset + row * self.array.strides[0], 0
        while done < len(memory):
            count = os.preadv(self._descriptor, [memory[done:]], position + done)
            if not count:
                raise ValueError(
                    f"{os.fspath(self._path)} ends before row {row}: it is shorter than when it was mapped"
                )
            done += count


def column(array: Any) -> Column:
    """How the rows of an array are best read."""
    plain = np.asarray(array)
    root = array
    while isinstance(root, np.ndarray) and not isinstance(root.base, mmap.mmap):
        root = root.base
    # A private copy (mode "c") may differ from its file.
    if not isinstance(root, np.memmap) or root.filename is None or root.mode == "c" or not plain.size:
        return Column(plain)
    if not plain[:1].flags.c_contiguous or not os.path.exists(root.filename) or not hasattr(os, "preadv"):
        return Column(plain)
    mapped = Mapped(plain, root.filename, root.offset + plain.ctypes.data - root.ctypes.data)
    return mapped if _same(mapped) else Column(plain)


def _same(mapped: Mapped) -> bool:
    """Whether the file is still the one that is mapped, by its first and last row."""
    ends = np.array([0, len(mapped.array) - 1])
    found = np.empty((2, *mapped.array.shape[1:]), mapped.array.dtype)
    try:
        mapped.read(ends, found)
    except ValueError:
        return False
    return found.tobytes() == mapped.array[ends].tobytes()


def _run(numbers: np.ndarray) -> bool:
    """Whether each number is one more than that before it."""
    return bool((np.diff(numbers) == 1).all())
