"""Copy memory: ten symbols, hundreds of blanks, and then the ten symbols are to be said again.

    python examples/sequences_copying.py    # T = 500: a TCN, an LSTM and a GRU in three to four minutes on two cores

A sequence has ten symbols out of eight, T − 1 blanks, and a sign that stands at the last eleven steps: at the last ten
of them the network must give the symbols back, and before them blanks. Whoever remembers nothing can do no better than
10 ln 8 / (T + 20), which is .0400 nats a step for T = 500 and .0204 for T = 1000.

Expected: after some 300 steps the TCN leaves that line, and comes below 1e-4; LSTM and GRU stay on it. Length and
learning rate were chosen on other seeds (``--tune``).

Reference:
    Hochreiter and Schmidhuber, Long short-term memory, Neural Computation 9, 1997.
    Bai, Kolter and Koltun, An empirical evaluation of generic convolutional and recurrent networks for sequence
    modeling, 2018, arXiv:1803.01271 (T = 1000, some 16,000 parameters: TCN 3.5e-5, LSTM .0204).
"""

import itertools
import pathlib
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
import tyro
from flax import linen

import stepax as sx

LONG = True
SYMBOLS, LENGTH = 10, 10  # blank 0, symbols 1 to 8, sign 9
SOURCE = "Bai et al. 2018, T = 1000"
CLAIMS = [
    {
        "what": "copy memory, T = 500, TCN: cross entropy per step",
        "number": "tcn",
        "published": "3.5e-5",
        "high": 1e-3,
    },
    {"what": "the same, LSTM", "number": "lstm", "published": ".0204", "low": 0.02},
    {"what": "the same, GRU", "number": "gru"},
    {"what": "the same, remembering nothing: 10 ln 8 / (T + 20)", "number": "nothing"},
]
CLAIMS = [
    {"unit": "nats", "format": ".2e"} | ({"source": SOURCE} if "published" in claim else {}) | claim for claim in CLAIMS
]


class EachStep(linen.Module):
    """Symbols ``[batch, time]`` to scores ``[batch, time, symbols]``."""

    body: linen.Module

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        outputs = self.body(jax.nn.one_hot(x, SYMBOLS), train)
        return sx.nn.Dense(SYMBOLS, name="head")(outputs[0] if isinstance(outputs, tuple) else outputs)


def bodies() -> dict[str, linen.Module]:
    """Some 10,000 parameters each; an output of the TCN sees 883 steps."""
    return {"tcn": sx.nn.TCN((10,) * 6, kernel=8), "lstm": sx.nn.LSTM(44), "gru": sx.nn.GRU(51)}


def problems(key: jax.Array, count: int, blanks: int) -> dict[str, np.ndarray]:
    """``x`` and ``y``, ``[count, blanks + 20]``: what is read, and what is to be said."""
    symbols = np.asarray(jax.random.randint(key, (count, LENGTH), 1, SYMBOLS - 1))
    silent, sign = np.zeros((count, blanks + LENGTH), int), np.full((count, LENGTH + 1), SYMBOLS - 1)
    x = np.concatenate([symbols, silent[:, : blanks - 1], sign], 1)
    return {"x": x.astype(np.int32), "y": np.concatenate([silent, symbols], 1).astype(np.int32)}


def trained(
    learner: sx.Learner, data: dict[str, np.ndarray], key: jax.Array, epochs: int, batch_size: int
) -> tuple[sx.State, np.ndarray]:
    """The last state, and the loss of every step; ``fit`` keeps one number for each epoch."""
    init_key, order_key = jax.random.split(key)
    source = sx.shuffled(data, batch_size, order_key)
    first = learner.init(init_key, {name: array[:batch_size] for name, array in data.items()})
    losses = []
    for state, metrics in itertools.islice(sx.epochs(learner, source, first), epochs):
        losses.append(metrics["loss"])
        print(f"step {int(state.step)}: loss {losses[-1].mean():.2e}", flush=True)
    return state, np.concatenate(losses)


def draw(losses: dict[str, np.ndarray], nothing: float, figure: pathlib.Path) -> None:
    fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, curve in losses.items():
        window = min(50, len(curve))
        smooth = np.convolve(curve, np.ones(window) / window, "valid")
        ax.semilogy(window + np.arange(len(smooth)), smooth, label=name.upper())
    ax.axhline(nothing, color="gray", linestyle=":", label="remembering nothing")
    ax.set(xlabel="step", ylabel="cross entropy per step (nats)", title="copy memory, seed 0")
    ax.legend()
    fig.savefig(figure, dpi=100)
    plt.close(fig)


def main(
    blanks: int = 500,
    seeds: int = 1,
    epochs: int = 6,
    examples: int = 10_000,
    batch_size: int = 32,
    rate: float = 2e-3,
    models: tuple[str, ...] = ("tcn", "lstm", "gru"),
    figure: pathlib.Path | None = None,
    tune: bool = False,
) -> dict[str, Any]:
    """Trains every model once per seed, and returns cross entropies on 1,000 new sequences.

    Args:
        blanks: T, how long the symbols are to be remembered.
        seeds: Runs of each model; each has data of its own.
        epochs: Times through the data.
        examples: Sequences to learn from.
        batch_size: Sequences a step.
        rate: The learning rate at first; it falls to 0 as a cosine.
        models: Which of tcn, lstm and gru.
        figure: Where to draw the losses of the first seed.
        tune: Draw other seeds, to choose settings by.
    """
    numbers: dict[str, Any] = {name: [] for name in models}
    steps = epochs * -(-examples // batch_size)
    numbers["nothing"] = LENGTH * float(np.log(SYMBOLS - 2)) / (blanks + 2 * LENGTH)
    curves = {}
    for name in models:
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(rate, steps)))
        learner = sx.supervised(EachStep(bodies()[name]), sx.losses.cross_entropy, optimizer)
        for seed in range(seeds):
            data_key, test_key, fit_key = jax.random.split(jax.random.key(seed + 1000 * tune), 3)
            state, losses = trained(learner, problems(data_key, examples, blanks), fit_key, epochs, batch_size)
            numbers[name].append(sx.evaluate(learner, state, problems(test_key, 1_000, blanks))["loss"])
            curves.setdefault(name, losses)
            print(f"{name}, seed {seed}: {numbers[name][-1]:.2e} on new sequences", flush=True)
    if figure is not None:
        draw(curves, numbers["nothing"], figure)
    return numbers


if __name__ == "__main__":
    print(tyro.cli(main))
