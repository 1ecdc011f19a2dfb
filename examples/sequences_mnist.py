"""MNIST as sequences: 28 rows by an LSTM, and 784 pixels one by one by a TCN.

    python examples/sequences_mnist.py                           # rows, 3 seeds, and pixels
    python examples/sequences_mnist.py --seeds 0                 # pixels alone
    python examples/sequences_mnist.py --checkpoints runs/mnist  # which can be cut short at any time

With a folder in ``checkpoints`` trainings save as they go: after Ctrl-C, a signal or a crash the same command goes on
from the last save, and ends in the same parameters, bit for bit. The example shows so on a short stretch.

Expected: 98.8 % or more by rows, 98.5 % or more by pixels. Three runs by rows take seven minutes on one core, the one
by pixels eleven: of its layers only what the last step depends on is computed.

Reference:
    Le, Jaitly and Hinton, A simple way to initialize recurrent networks of rectified linear units, 2015,
    arXiv:1504.00941.
    Bai, Kolter and Koltun, An empirical evaluation of generic convolutional and recurrent networks for sequence
    modeling, 2018, arXiv:1803.01271 (pixel by pixel, some 70,000 parameters: LSTM 87.2 %, GRU 96.2 %, TCN 99.0 %).
"""

import pathlib
import tempfile
from typing import Any

import jax
import numpy as np
import optax
import tyro
from flax import linen

import stepax as sx

LONG = True
CLAIMS = [
    {"what": "MNIST row by row, LSTM: test accuracy", "number": "rows", "low": 0.988, "format": ".2%"},
    {
        "what": "MNIST pixel by pixel, TCN of 70K parameters: test accuracy",
        "number": "pixels",
        "published": "99.0 %",
        "source": "Bai et al. 2018",
        "low": 0.985,
        "format": ".2%",
    },
    {"what": "cut short and resumed, the same parameters (SHA-256)", "number": "resumed", "low": True},
]


class LastStep(linen.Module):
    """What a sequence model says after the last step, and the scores of ten digits made of it."""

    body: linen.Module
    dropout: float = 0.0

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        last = self.body.last(x, train) if isinstance(self.body, sx.nn.TCN) else self.body(x, train)[0][:, -1]
        last = sx.nn.Dropout(self.dropout, deterministic=not train)(last)
        return sx.nn.Dense(10, name="head")(last)


def learner(model: linen.Module, rate: float, steps: int) -> sx.Learner:
    """Adam, whose rate falls to 0 as a cosine, with short gradients."""
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(rate, steps)))
    return sx.supervised(model, sx.losses.cross_entropy, optimizer, metrics={"accuracy": sx.metrics.accuracy})


def sequences(rows: Any, steps: int) -> dict[str, np.ndarray]:
    """Images as sequences of so many steps: ``x [n, steps, 784 / steps]``, around 0."""
    x = (rows["x"].reshape(len(rows["x"]), steps, -1) - 0.1307) / 0.3081
    return {"x": x.astype(np.float32), "y": rows["y"]}


def steps_of(data: dict[str, np.ndarray], epochs: int, batch_size: int) -> int:
    return epochs * -(-len(data["y"]) // batch_size)


def resumed(learner: sx.Learner, data: dict[str, np.ndarray], batch_size: int) -> bool:
    """Whether a training that was left in the middle of an epoch and then went on has the bits of one that was not."""
    settings: dict[str, Any] = {"key": jax.random.key(0), "epochs": 2, "batch_size": batch_size}
    whole = sx.fit(learner, data, progress=False, **settings)
    with tempfile.TemporaryDirectory() as folder:
        saves = sx.Checkpoints(folder, seconds=0)
        for report in sx.training(learner, data, checkpoints=saves, **settings):
            if report.step > whole.record["steps"] // 3:
                break  # a crash would do as well
        cut = sx.fit(learner, data, checkpoints=saves, progress=False, **settings)
    hashes = whole.record["parameters"], cut.record["parameters"]
    print(f"without a break {hashes[0]}, with one after step {report.step} {hashes[1]}")
    return hashes[0] == hashes[1]


def main(
    seeds: int = 3,
    epochs: int = 12,
    width: int = 128,
    batch_size: int = 128,
    rate: float = 3e-3,
    dropout: float = 0.2,
    pixel_epochs: int = 10,
    pixel_batch_size: int = 64,
    pixel_rate: float = 2e-3,
    levels: int = 8,
    stretch: int = 6,
    limit: int | None = None,
    checkpoints: pathlib.Path | None = None,
    tune: bool = False,
) -> dict[str, Any]:
    """Trains an LSTM on rows, once per seed, and a TCN on pixels, and returns test accuracies.

    Args:
        seeds: Runs by rows.
        epochs: Epochs of each.
        width: Of the LSTM.
        batch_size: Images a step.
        rate: The LSTM's learning rate at first.
        dropout: The fraction of the LSTM's last outputs set to zero.
        pixel_epochs: Epochs by pixels; 0 leaves them out.
        pixel_batch_size: Images a step, by pixels.
        pixel_rate: The TCN's learning rate at first.
        levels: Of the TCN.
        stretch: Steps an epoch of the short training that is cut and resumed.
        limit: Training images to use; None takes all.
        checkpoints: A folder for all trainings, each in one of its own; None saves nothing.
        tune: Measure on the last 5,000 training images instead of the test set, and do not train on them.
    """
    train, test = sx.data.load("mnist")
    if tune:
        held_out = {name: values[-5000:] for name, values in train.items()}
        train, test = {name: values[:-5000] for name, values in train.items()}, held_out
    train = {name: values[:limit] for name, values in train.items()}
    numbers: dict[str, Any] = {"rows": [], "pixels": []}

    rows, rows_test = sequences(train, 28), sequences(test, 28)
    recurrent = learner(LastStep(sx.nn.LSTM(width), dropout), rate, steps_of(rows, epochs, batch_size))
    for seed in range(seeds):
        settings: dict[str, Any] = {"key": jax.random.key(seed), "epochs": epochs, "batch_size": batch_size}
        run = sx.fit(recurrent, rows, checkpoints=checkpoints and checkpoints / f"rows-{seed}", **settings)
        numbers["rows"].append(sx.evaluate(recurrent, run.state, rows_test)["accuracy"])
        print(f"rows, seed {seed}: accuracy {numbers['rows'][-1]:.4f}", flush=True)

    pixels, pixels_test = sequences(train, 784), sequences(test, 784)
    tcn = LastStep(sx.nn.TCN((25,) * levels, kernel=7, dropout=0.05))
    convolutional = learner(tcn, pixel_rate, steps_of(pixels, max(pixel_epochs, 1), pixel_batch_size))
    few = {name: values[: stretch * pixel_batch_size] for name, values in pixels.items()}
    numbers["resumed"] = resumed(convolutional, few, pixel_batch_size)
    if pixel_epochs:
        settings = {"key": jax.random.key(0), "epochs": pixel_epochs, "batch_size": pixel_batch_size}
        run = sx.fit(convolutional, pixels, checkpoints=checkpoints and checkpoints / "pixels", **settings)
        numbers["pixels"].append(sx.evaluate(convolutional, run.state, pixels_test)["accuracy"])
        print(f"pixels: accuracy {numbers['pixels'][-1]:.4f}, {run.record['seconds']['run'] / 60:.0f} minutes")
    return numbers


if __name__ == "__main__":
    print(tyro.cli(main))
