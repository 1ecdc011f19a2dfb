"""Memory on the host that is used again: a new page costs more than what is written to it."""

import collections
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["Memory"]

# JAX's CPU backend takes over a NumPy array of this alignment, and copies any other.
ALIGNMENT = 64
# Blocks that are kept for the next user.
KEPT = 16


class Memory:
    """Arrays of fixed shapes and dtypes; their memory serves again when nobody holds them any more.

    Args:
        likes: What has a ``shape`` and a ``dtype``, for each array.
    """

    def __init__(self, likes: Sequence[Any]) -> None:
        self._likes = [(tuple(like.shape), np.dtype(like.dtype)) for like in likes]
        self._sizes = [int(np.prod(shape)) * dtype.itemsize for shape, dtype in self._likes]
        self._free: collections.deque[np.ndarray] = collections.deque(maxlen=KEPT)

    def arrays(self) -> list[np.ndarray]:
        """New arrays, with anything in them."""
        try:
            block = self._free.pop()
        except IndexError:
            block = np.empty(sum(self._sizes) + ALIGNMENT * (len(self._sizes) + 1), np.uint8)
        # Not an owner of memory, and its base is no array: so every view of a view keeps this one alive, JAX's too.
        whole = np.frombuffer(memoryview(block), np.uint8)  # type: ignore[arg-type]
        weakref.finalize(whole, self._free.append, block).atexit = False
        arrays, start = [], 0
        for (shape, dtype), size in zip(self._likes, self._sizes, strict=True):
            start += -(whole.ctypes.data + start) % ALIGNMENT
            arrays.append(whole[start : start + size].view(dtype).reshape(shape))
            start += size
        return arrays
