"""Published files: found on this machine, or downloaded; never used unless their checksum is right."""

import os
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stepax.files import cache_dir

__all__ = ["find"]

ROUNDS = 2
"""How often each mirror is tried."""

PAUSE = 1.0
"""Seconds between two rounds."""


def find(name: str, checksums: Mapping[str, str], mirrors: Sequence[str]) -> dict[str, Path]:
    """Locate the files of a data set: in ``$STEPAX_DATA/<name>``, else in the cache, else at a mirror.

    A file in ``$STEPAX_DATA`` is the user's, so a wrong one is refused and left alone; a wrong one in the cache is
    replaced.

    Args:
        name: The data set, and the name of its folder.
        checksums: SHA-256 in hexadecimal by file name.
        mirrors: Addresses that end in ``/``, tried in this order.

    Returns:
        The path of each file; all have the right checksum.

    Raises:
        ValueError: A file in ``$STEPAX_DATA`` has a wrong checksum.
        ConnectionError: No mirror gave the right file; the message says which files to put where.
    """
    paths = {file: _given(name, file, digest) for file, digest in checksums.items()}
    missing = [file for file, path in paths.items() if path is None]
    folder = cache_dir() / name
    for file in missing:
        try:
            paths[file] = _download(folder, file, checksums[file], mirrors)
        except ConnectionError as error:
            raise ConnectionError(_advice(name, folder, missing, str(error))) from error
    return {file: path for file, path in paths.items() if path is not None}


def _given(name: str, file: str, digest: str) -> Path | None:
    """The file in ``$STEPAX_DATA``, or ``None`` where it is not there."""
    if not (root := os.environ.get("STEPAX_DATA")):
        return None
    path = Path(root).expanduser() / name / file
    if not path.is_file():
        return None
    import pooch

    found = pooch.file_hash(str(path))
    if found != digest:
        raise ValueError(
            f"{path} has SHA-256 {found}: expected {digest}; it is damaged or another version, replace or remove it"
        )
    return path


def _download(folder: Path, file: str, digest: str, mirrors: Sequence[str]) -> Path:
    """The file in the cache, fetched if need be from the first mirror that gives the right one.

    pooch downloads beside the target and moves the file there only when its checksum is right, so an interrupted or
    wrong download leaves nothing behind.
    """
    import pooch
    import requests

    if (folder / file).is_file() and pooch.file_hash(str(folder / file)) == digest:
        return folder / file
    pooch.get_logger().setLevel("WARNING")  # the bar says what is being downloaded
    failures = []
    for attempt, mirror in enumerate([*mirrors] * ROUNDS):
        if attempt and attempt % len(mirrors) == 0:
            time.sleep(PAUSE)
        try:
            with _Progress(file) as progress:
                fetch = pooch.HTTPDownloader(progressbar=progress, chunk_size=1 << 16)
                return Path(pooch.retrieve(mirror + file, digest, fname=file, path=folder, downloader=fetch))
        except (ValueError, requests.RequestException) as error:
            failures.append(f"{urllib.parse.urlsplit(mirror).netloc}: {_reason(error)}")
    raise ConnectionError(", ".join(dict.fromkeys(failures)))


def _reason(error: Exception) -> str:
    """Why a download failed, in a few words."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"status {error.response.status_code}"
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return "no connection"
    return "broken off" if isinstance(error, requests.RequestException) else "a file with a wrong hash"


def _advice(name: str, folder: Path, missing: Sequence[str], reasons: str) -> str:
    """What to do without a network, in two lines."""
    root = os.environ.get("STEPAX_DATA")
    place = Path(root).expanduser() / name if root else f"$STEPAX_DATA/{name}"
    return f"cannot download {name} ({reasons})\nput {', '.join(missing)} into {place}, or into {folder}"


class _Progress:
    """pooch's protocol of a progress bar (``total``, ``update``, ``reset``, ``close``), drawn on standard error."""

    def __init__(self, file: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
        self.total = 0
        self._bar: Any = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(file, total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, size: int) -> None:
        """Add ``size`` bytes."""
        self._bar.update(self._task, advance=size, total=self.total or None)

    def reset(self) -> None:
        """Go back to 0 bytes, as pooch does before it fills the bar to its end."""
        self._bar.reset(self._task)

    def close(self) -> None:
        """Nothing: the bar stops when the download is left, also by an exception, which pooch does not report."""
