"""One rival in one form as a process that answers: a line of JSON in, a line of JSON out.

    python -m bench.rivals.serve torch eager task.npz
    {"do": "start"}                  -> {"first": 0.31, "memory": 412000000, "versions": {"torch": "2.13.0"}}
    {"do": "losses", "steps": 3}     -> {"losses": [2.31, 2.30, 2.28]}
    {"do": "time", "seconds": 1.0}   -> {"examples": 119040, "seconds": 1.003}

``first`` is the seconds until the first results of a training are there: building, compiling and the first step, but no
imports. Between two questions a process waits for its input and takes no time from the others.
"""

import importlib
import importlib.metadata
import json
import os
import pathlib
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

from bench.rivals import MODULES, Trainer
from bench.rivals.task import load

PACKAGES = {"stepax": ("stepax", "jax", "jaxlib", "flax", "optax"), "torch": ("torch",), "keras": ("keras", "jax")}


class Server:
    def __init__(self, rival: str, form: str, path: pathlib.Path) -> None:
        self.rival, self.form, self.task = rival, form, load(path)
        self.module = importlib.import_module(MODULES[rival])
        self.trainer: Trainer
        self.running: Iterator[int]

    def start(self) -> dict[str, Any]:
        began = time.perf_counter()
        self.trainer = self.module.trainer(self.task, self.form)
        self.running = self.trainer.chunks()
        next(self.running)
        packages = PACKAGES.get(self.rival, PACKAGES["stepax"])
        return {
            "first": time.perf_counter() - began,
            "memory": peak_memory(),
            "versions": {name: importlib.metadata.version(name) for name in packages},
        }

    def losses(self, steps: int) -> dict[str, Any]:
        return {"losses": self.trainer.losses(steps).tolist()}

    def time(self, seconds: float) -> dict[str, Any]:
        examples, spent, began = 0, 0.0, time.perf_counter()
        while spent < seconds:
            examples += next(self.running)
            spent = time.perf_counter() - began
        return {"examples": examples, "seconds": spent}


def peak_memory() -> int:
    """The most bytes that this process has held. (``getrusage`` alone counts those of its parent, too, on Linux.)"""
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(rival: str, form: str, path: str) -> None:
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = Server(rival, form, pathlib.Path(path))
    actions = {"start": server.start, "losses": server.losses, "time": server.time}
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps(actions[question.pop("do")](**question)), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
