"""SIGTERM and Ctrl-C, noted between two steps rather than died of."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = ["stoppable"]

SIGNALS = (signal.SIGTERM, signal.SIGINT)

# Of the trainings that are under way what each has noted; and the handlers before the first of them.
_noted: list[list[int]] = []
_before: dict[int, Any] = {}


@contextlib.contextmanager
def stoppable() -> Iterator[Callable[[], int]]:
    """Notes SIGTERM and Ctrl-C for as long as the ``with`` lasts; a second one acts as it always did.

    Yields:
        A function that tells the signal's number, or 0. In another thread than the main one nothing is noted.
    """
    own, main = [0], threading.current_thread() is threading.main_thread()
    if main:
        if not _noted:
            for number in SIGNALS:
                _before[number] = signal.signal(number, _note)
        _noted.append(own)
    try:
        yield lambda: own[0]
    finally:
        _noted[:] = [other for other in _noted if other is not own]
        if not _noted and threading.current_thread() is threading.main_thread():
            _restore()


def _note(number: int, frame: FrameType | None) -> None:
    for noted in _noted:
        noted[0] = number
    _restore()


def _restore() -> None:
    while _before:
        signal.signal(*_before.popitem())
