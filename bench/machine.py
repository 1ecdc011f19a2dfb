"""The machine that is measured on: what it is, and whether it is quiet."""

import datetime
import os
import pathlib
import re
import time
from typing import Any

from stepax.record import environment

# Of the processors' time: with more than this taken by others, times mean little.
QUIET = 0.1


def described() -> dict[str, Any]:
    """The date, a name for a file, processor, device, versions, and the commit."""
    facts = environment()
    words = f"{facts['processor']['model']} {facts['processor']['cores']} cores"
    if facts["device"]["platform"] != "cpu":
        words = facts["device"]["kind"]
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "name": re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-"),
        **facts,
    }


def busy(seconds: float = 0.5) -> float | None:
    """The part of the processors' time that others take while this program sleeps; ``None`` where nothing tells."""
    if not pathlib.Path("/proc/stat").exists():
        return None
    before = _times()
    time.sleep(seconds)
    worked, whole = (now - then for now, then in zip(_times(), before, strict=True))
    return round(worked / whole, 3) if whole else None


def _times() -> tuple[int, int]:
    """Time at work and all time of the processors that this program may use, since the machine's start."""
    mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    worked = whole = 0
    for line in pathlib.Path("/proc/stat").read_text(encoding="utf-8").splitlines():
        name, *fields = line.split()
        if name in mine:
            # user, nice, system, idle, waiting for disks, and so on
            times = [int(field) for field in fields[:8]]
            whole += sum(times)
            worked += sum(times) - times[3] - times[4]
    return worked, whole
