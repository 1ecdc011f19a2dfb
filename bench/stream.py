"""Trains from a data set larger than its memory may be, and beside it from memory: the peak, and the rates.

    python -m bench.stream                          # 4 GiB, made in a temporary folder; two minutes on two cores
    python -m bench.stream --gib 20 --cold --folder /disk

Images lie in one .npy file, which the process maps. What it needs is told in two numbers: ``own``, the memory that it
has allocated (RssAnon and RssShmem), and ``peak``, everything that was mapped in at once, pages of the file among them
(VmHWM); the system can take those pages back at any time. The rate in memory is that of the same model and batch on a
part of the same rows that lies on the device. Both are processes of their own, asked in turn.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

SHAPE, CLASSES = (32, 32, 3), 10
# Rows written at once, and in memory.
PIECE, SUBSET = 8192, 16384

OUT, SAY = Console(highlight=False), Console(stderr=True, highlight=False)


def main(
    gib: float = 4.0,
    rounds: int = 4,
    seconds: float = 5.0,
    batch_size: int = 128,
    threads: int = 2,
    cold: bool = False,
    folder: pathlib.Path | None = None,
) -> None:
    """Measures both and prints a table.

    Args:
        gib: The data set's size.
        rounds: How often each trains in turn.
        seconds: How long each time.
        batch_size: Images a step.
        threads: Threads that read.
        cold: Whether the file leaves the system's cache before every round, so that rows come from the disk.
        folder: Where the data set is made; it is removed at the end.
    """
    with tempfile.TemporaryDirectory(dir=folder) as made:
        path, rows = pathlib.Path(made) / "x.npy", int(gib * 2**30 / (4 * np.prod(SHAPE)))
        SAY.print(f"making {rows} images, {rows * 4 * np.prod(SHAPE) / 2**30:.2f} GiB, in {made}")
        write(path, rows)
        table = Table("model", "data", "images/s", "of memory's", "own MiB", "peak MiB", "pages of files MiB")
        for model in ("mlp", "cnn"):
            measured = in_turn(model, path, rounds, seconds, batch_size, threads, cold)
            rates = {where: float(np.median([answer["rate"] for answer in told])) for where, told in measured.items()}
            for where, told in measured.items():
                most = {name: f"{max(answer[name] for answer in told):.0f}" for name in ("own", "peak", "files")}
                table.add_row(
                    model, where, f"{rates[where]:.0f}", f"{rates[where] / rates['memory']:.2f}", *most.values()
                )
    OUT.print(table)


def write(path: pathlib.Path, rows: int) -> None:
    """Writes images of noise whose brightness depends on the class."""
    random = np.random.default_rng(0)
    noise = random.normal(size=(PIECE, *SHAPE)).astype(np.float32)
    labels = random.integers(0, CLASSES, rows).astype(np.int32)
    with open(path, "wb") as file:
        head = {"descr": "<f4", "fortran_order": False, "shape": (rows, *SHAPE)}
        np.lib.format.write_array_header_1_0(file, head)
        for first in range(0, rows, PIECE):
            part = labels[first : first + PIECE]
            (noise[: len(part)] + part[:, None, None, None].astype(np.float32) / CLASSES).tofile(file)
    np.save(path.with_name("y.npy"), labels)


def in_turn(model: str, path: pathlib.Path, rounds: int, *settings: Any) -> dict[str, list[dict[str, float]]]:
    """The answers of both processes, round by round."""
    seconds, batch_size, threads, cold = settings
    arguments = [sys.executable, "-m", "bench.stream", "serve", model, str(path), str(batch_size), str(threads)]
    processes = {
        where: subprocess.Popen([*arguments, where], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for where in ("memory", "stream")
    }
    answers: dict[str, list[dict[str, float]]] = {where: [] for where in processes}
    for _ in range(rounds):
        for where, process in processes.items():
            SAY.print(f"{model} from {where}")
            if cold:
                drop(path)
            print(seconds, file=process.stdin, flush=True)
            answers[where].append(json.loads(process.stdout.readline()))
    for process in processes.values():
        process.stdin.close()
        process.wait()
    return answers


def drop(path: pathlib.Path) -> None:
    """Takes a file out of the system's cache."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def serve(model: str, path: str, batch_size: str, threads: str, where: Literal["memory", "stream"]) -> None:
    """Trains for as many seconds as each line of the input says, and answers with a line of JSON."""
    turns = training(model, pathlib.Path(path), int(batch_size), int(threads), where)
    next(turns)  # compiles
    seen = Memory()
    for line in sys.stdin:
        start, steps = time.perf_counter(), 0
        while time.perf_counter() - start < float(line):
            steps += next(turns)
        rate = steps * int(batch_size) / (time.perf_counter() - start)
        print(json.dumps({"rate": rate, **seen.most, "peak": status()["VmHWM"]}), flush=True)


def training(model: str, path: pathlib.Path, batch_size: int, threads: int, where: str) -> Iterator[int]:
    """Yields how many steps were made."""
    import jax
    import optax

    import stepax as sx
    from stepax.data import stream

    modules = {"mlp": lambda: sx.nn.MLP((64, CLASSES)), "cnn": lambda: sx.nn.CNN((8, 16), dense=(32,), classes=CLASSES)}
    learner = sx.supervised(modules[model](), sx.losses.cross_entropy, optax.adam(1e-3))
    data: dict[str, Any] = {"x": np.load(path, mmap_mode="r"), "y": np.load(path.with_name("y.npy"))}
    key = jax.random.key(0)
    if where == "stream":
        source: Any = stream(data, batch_size, key, threads=threads)
    else:
        source = sx.shuffled({name: np.array(rows[:SUBSET]) for name, rows in data.items()}, batch_size, key)
    state = jax.jit(learner.init)(key, {name: rows[:batch_size] for name, rows in data.items()})
    for _, metrics in sx.epochs(learner, source, state, seconds=0.5):
        yield len(metrics["loss"])


class Memory:
    """The most memory that this process has had, looked at fifty times a second."""

    def __init__(self) -> None:
        self.most = {"own": 0.0, "files": 0.0}
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            now = status()
            own = now["RssAnon"] + now["RssShmem"]
            self.most = {"own": max(self.most["own"], own), "files": max(self.most["files"], now["RssFile"])}
            time.sleep(0.02)


def status() -> dict[str, float]:
    """MiB by name, from ``/proc/self/status``."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    sizes = [line.split() for line in lines if line.endswith(" kB")]
    return {name.rstrip(":"): int(size) / 1024 for name, size, _ in sizes}


if __name__ == "__main__":
    commands: dict[str, Callable[..., None]] = {"serve": serve}
    if len(sys.argv) > 1 and sys.argv[1] in commands:
        commands[sys.argv[1]](*sys.argv[2:])
    else:
        tyro.cli(main, description=__doc__)
