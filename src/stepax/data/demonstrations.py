"""Demonstrations for reinforcement learning in files: ``.npz`` archives with an array for each part of a transition."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stepax.checks import check
from stepax.data.arrays import read_archive
from stepax.files import write_bytes

__all__ = ["demonstrations", "save_demonstrations"]

PARTS = ("observation", "action", "reward", "terminated", "truncated", "next_observation")


def save_demonstrations(path: str | os.PathLike[str], steps: Mapping[str, Any]) -> None:
    """Writes demonstrations, as :func:`stepax.rl.recorded` gives them, into an archive that NumPy can read.

    Args:
        path: The file, to end in ``.npz``. One that is there is replaced.
        steps: Arrays ``[steps, …]`` with the names of a transition.

    Raises:
        TypeError: It is no dict of arrays of numbers.
        ValueError: The path ends otherwise; names are missing or unknown; arrays are empty, of different lengths, or
            hold numbers that are not finite.
        OSError: The file cannot be written.
    """
    path = Path(path).expanduser()
    if path.suffix != ".npz":
        raise ValueError(f"path: expected a name that ends in .npz, got {path}")
    if not isinstance(steps, Mapping):
        raise TypeError(f"steps: expected a dict of arrays, got {type(steps).__name__}")
    _check_names(steps, "steps")
    check(dict(steps), "steps")
    arrays: dict[str, Any] = {name: np.asarray(steps[name]) for name in PARTS}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_bytes(path, content.getvalue())


def demonstrations(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads demonstrations for :func:`stepax.rl.dqfd`.

    An archive holds ``observation``, ``action``, ``reward``, ``terminated``, ``truncated`` and ``next_observation``,
    each with one row for every step, episode after episode; ``numpy.savez(path, observation=…, …)`` writes one, too.
    Whether they fit an environment is for :func:`stepax.rl.check_demonstrations`.

    Args:
        path: The file.

    Returns:
        The arrays by name.

    Raises:
        OSError: The file cannot be read.
        TypeError: An array holds no numbers.
        ValueError: It is no such archive, or is damaged; names are missing or unknown; arrays are empty, of different
            lengths, or hold Python objects or numbers that are not finite.
    """
    path = Path(path).expanduser()
    with path.open("rb"):  # what is not there is no damaged archive
        pass
    arrays = read_archive(path)
    _check_names(arrays, str(path))
    check(arrays, str(path))
    return {name: arrays[name] for name in PARTS}


def _check_names(steps: Mapping[str, Any], where: str) -> None:
    if set(steps) != set(PARTS):
        raise ValueError(f"{where}: expected the arrays {sorted(PARTS)}, got {sorted(map(str, steps))}")
