"""What two processes do together in the tests: ``python -m tests.together STEPS FOLDER`` in each of them."""

import json
import pathlib
import sys
import warnings
from typing import Any

import jax
import numpy as np
import optax

import stepax as sx
from stepax import processes
from stepax.data.stream import stream
from stepax.placement import share
from stepax.transforms.average import average
from stepax.transforms.guard import guard
from stepax.transforms.shard import by_path, fully_sharded, mesh, shard

DATA = {
    "x": np.random.default_rng(0).normal(size=(52, 6, 6, 1)).astype(np.float32),
    "y": np.arange(52, dtype=np.int32) % 3,
}


def learner() -> sx.Learner:
    model = sx.nn.CNN((4,), (8,), 3, normalize=True)
    return guard(average(sx.supervised(model, sx.losses.cross_entropy, optax.sgd(0.1)), 0.9))


def trained(learner: sx.Learner, folder: pathlib.Path | str | None, epochs: int = 2) -> sx.Run:
    return sx.fit(
        learner,
        DATA,
        key=jax.random.key(0),
        epochs=epochs,
        batch_size=16,
        validation=DATA,
        patience=1000,
        checkpoints=None if folder is None else sx.Checkpoints(folder, seconds=0),
    )


def read(learner: sx.Learner, part: tuple[int, int], steps: int = 8) -> sx.State:
    """Trained on a stream, of which each process reads its part."""
    own = {"process_index": part[0], "process_count": part[1]}
    source = stream(DATA, 16, jax.random.key(1), **own)
    state = sx.compile.jit(learner.init)(jax.random.key(0), {name: array[:16] for name, array in DATA.items()})
    for now, _ in sx.epochs(learner, source, state, seconds=0.01):
        if now.step >= steps:
            return now
    raise AssertionError("epochs ended")


def arrays(tree: Any) -> dict[str, np.ndarray]:
    """By path, from all devices of all processes."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): processes.whole(leaf) for path, leaf in leaves}


def lanes(grid: jax.sharding.Mesh | None) -> sx.Learner:
    """A population of which every device has a lane."""
    many = guard(sx.population(sx.supervised(sx.nn.MLP((5, 3)), sx.losses.cross_entropy, optax.sgd(0.1)), 4))
    return many if grid is None else shard(many, grid, by_path({"^(params|opt_state|key)": jax.P("data")}))


def train(folder: pathlib.Path, sharded: sx.Learner, grid: jax.sharding.Mesh) -> None:
    """A training, what it predicts, and one on a stream."""
    run = trained(sharded, folder / "checkpoints")
    streamed = read(sharded, share(grid))
    many = trained(lanes(grid), None)
    found = {
        "params": arrays(run.state.params),
        "streamed": arrays(streamed.params),
        "lanes": arrays(many.state.params),
        "predicted": {"y": sx.predict(sharded, run.state, DATA["x"])},
    }
    told = {
        "hash": run.record["parameters"],
        "loss": run.history["validation/loss"],
        "lanes": many.history["loss"],
        "share": share(grid),
    }
    for name, tree in found.items():
        np.savez(folder / f"{name}-{jax.process_index()}.npz", **tree)
    (folder / f"told-{jax.process_index()}.json").write_text(json.dumps(told))


def go_on(folder: pathlib.Path, sharded: sx.Learner) -> None:
    """Goes on from a checkpoint, without end; only the second process hears the signal."""
    reports = sx.training(
        sharded,
        DATA,
        key=jax.random.key(0),
        epochs=10**6,
        batch_size=16,
        validation=DATA,
        patience=1000,
        checkpoints=sx.Checkpoints(folder / "checkpoints", seconds=1e9),
    )
    for i, report in enumerate(reports):
        if i == 0:
            (folder / f"start-{jax.process_index()}.json").write_text(json.dumps(report.rows[0]))


def main() -> None:
    """One of the processes."""
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    warnings.simplefilter("error")
    name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    assert processes.join()
    if name == "fail" and jax.process_index() == 1:
        raise ValueError("broken here")
    grid = mesh(data=4)
    sharded = shard(learner(), grid, fully_sharded(grid, least=8))
    if name == "train":
        train(folder, sharded, grid)
    else:
        go_on(folder, sharded)


if __name__ == "__main__":
    main()
