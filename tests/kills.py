"""Trainings that are killed at random moments, again and again, and must end as if nothing had happened.

``python -m tests.kills 200`` kills two hundred times, spread over all kinds of training, and prints what came of it.
"""

import argparse
import hashlib
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import tests.conftest  # noqa: F401  threads and devices, before JAX starts

# ruff: isort: split
import jax
import numpy as np
import optax

import stepax as sx
from stepax.data import stream

ROOT = pathlib.Path(__file__).parents[1]
# Seconds that a training goes on, at most, before it is killed.
LIFE = 1.0


class Outcome(NamedTuple):
    """What came of a training with kills.

    Attributes:
        kills: How often it was killed.
        kept: How many of the kills left a checkpoint that was newer than the one before.
        same: Whether state and history are those of the training that nobody killed.
    """

    kills: int
    kept: int
    same: bool


def _images(rows: int = 90, seed: int = 0) -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(seed)
    return {"x": numbers.normal(size=(rows, 6, 6, 1)).astype(np.float32), "y": np.arange(rows, dtype=np.int32) % 3}


def _cnn(rate: Any = 0.01) -> sx.Learner:
    model = sx.nn.CNN((4,), (8,), 3, normalize=True, dropout=0.2)
    metrics = {"accuracy": sx.metrics.accuracy}
    return sx.supervised(model, sx.losses.cross_entropy, optax.adam(rate), metrics=metrics)


def _some_bad(learner: sx.Learner) -> sx.Learner:
    """The same, but every seventh step is not finite."""

    def step(state: sx.State, batch: Any, gradient: Any = sx.gradient) -> Any:
        factor = jax.numpy.where(state.step % 7 == 3, jax.numpy.nan, 1)
        return learner.step(state, {**batch, "x": batch["x"] * factor}, gradient)

    return learner._replace(step=step)


TRAININGS: dict[str, Callable[[], dict[str, Any]]] = {
    "in memory": lambda: {"learner": _cnn(), "patience": 60, "validation": _images(30, 1)},
    "stream": lambda: {
        "learner": _cnn(),
        "data": stream(_images(), 8, jax.random.key(1)),
        "validation": _images(30, 1),
    },
    "population": lambda: {"learner": sx.population(_cnn(), 3), "patience": 8, "validation": _images(30, 1)},
    "sweep": lambda: {"learner": sx.sweep(_cnn, rate=[0.01, 0.001])},
    "accumulate": lambda: {"learner": sx.accumulate(_cnn(), 2)},
    "average": lambda: {"learner": sx.average(_cnn(), 0.9), "validation": _images(30, 1)},
    "guard": lambda: {"learner": sx.guard(_some_bad(_cnn())), "patience": 60, "validation": _images(30, 1)},
}


def train(name: str, folder: str, result: str) -> None:
    """A whole training, or what is left of it; its bits go into a file."""
    settings = {"data": _images(), "batch_size": 8, "epochs": 60, **TRAININGS[name]()}
    started = []

    def told(reports: Any) -> Any:
        for report in reports:
            if not started:
                started.append(print("training", flush=True))
            yield report

    # Between any two chunks, and early enough to be killed while the first is being written.
    saved = sx.Checkpoints(folder, seconds=0, best=2, monitor="loss")
    run = sx.collected(told(sx.training(key=jax.random.key(0), checkpoints=saved, **settings)), {})
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(run.state):
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        digest.update(np.asarray(leaf).tobytes())
    history = {name: values for name, values in run.history.items() if name != "seconds"}
    record = {name: run.record.get(name) for name in ("steps", "stopped", "best", "parameters")}
    pathlib.Path(result).write_text(json.dumps([digest.hexdigest(), history, record]), encoding="utf-8")


def _started(name: str, folder: pathlib.Path, result: pathlib.Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.kills", "--train", name, str(folder), str(result)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _ended(process: subprocess.Popen) -> None:
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(errors.decode())


def killed(name: str, kills: int, place: pathlib.Path, seed: int = 0) -> Outcome:
    """Trains once without interruption, and once with so many kills."""
    numbers, kept, newest, done = random.Random(seed), 0, "", 0
    train(name, str(place / "whole"), str(place / "whole.json"))
    while done < kills:
        process = _started(name, place / "killed", place / "killed.json")
        if process.stdout.readline():
            time.sleep(numbers.uniform(0, LIFE))
        process.kill()
        process.communicate()
        if process.returncode == 0:  # it came to its end before
            break
        done += 1
        steps = sorted(path.parent.name for path in (place / "killed").glob("step-*/index.json"))
        kept, newest = kept + (steps[-1:] > [newest]), max([newest, *steps])
    _ended(_started(name, place / "killed", place / "killed.json"))
    return Outcome(done, kept, (place / "killed.json").read_text() == (place / "whole.json").read_text())


def main() -> None:
    """Kills as often as the command line says, over all kinds of training, and prints a row for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kills", type=int, nargs="?", default=200)
    parser.add_argument("--train", nargs=3, metavar=("NAME", "FOLDER", "RESULT"))
    arguments = parser.parse_args()
    if arguments.train:
        train(*arguments.train)
        return
    left, seed, total, same = arguments.kills, 0, dict.fromkeys(TRAININGS, 0), dict.fromkeys(TRAININGS, True)
    most = min(8, -(-left // len(TRAININGS)))
    while left:
        for name in TRAININGS:
            with tempfile.TemporaryDirectory() as place:
                outcome = killed(name, min(left, most), pathlib.Path(place), seed)
            left, seed = left - outcome.kills, seed + 1
            total[name] += outcome.kills
            same[name] &= outcome.same
            print(
                f"{name:12} {outcome.kills} kills, {outcome.kept} left something new; same bits: {outcome.same}",
                flush=True,
            )
            if not left:
                break
    for name in [name for name in TRAININGS if total[name]]:
        print(f"{name:12} {total[name]:4} kills  {'resumed bit for bit' if same[name] else 'DIFFERENT'}")
    print(f"{'all':12} {sum(total.values()):4} kills")
    sys.exit(not all(same.values()))


if __name__ == "__main__":
    main()
