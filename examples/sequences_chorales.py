"""Bach's chorales, step by step: which of 88 notes sound next, by a TCN, a GRU and an LSTM of some 300,000 parameters.

    python examples/sequences_chorales.py    # 3 seeds of each

The measure is that of the published numbers: the negative log-likelihood of the 88 notes of a step, each on or off by
itself, in nats; summed over all steps but the first of each piece, over all pieces, and divided by the number of these
steps, so that longer pieces count more. ``…_by_piece`` is the other way to count, the mean over pieces of each one's
own mean. Training stops when the validation pieces have not become likelier for a while, and the test pieces are
measured once, with the parameters of the best epoch.

Expected: about 8.26 nats of the TCN, 8.57 of the GRU and 8.55 of the LSTM, each .1 to .2 above the published ones. All
of it takes 25 minutes on two cores that other work shares; each run prints its own seconds.

Reference:
    Boulanger-Lewandowski, Bengio and Vincent, Modeling temporal dependencies in high-dimensional sequences, 2012,
    arXiv:1206.6392.
    Bai, Kolter and Koltun, An empirical evaluation of generic convolutional and recurrent networks for sequence
    modeling, 2018, arXiv:1803.01271.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import tyro
from flax import linen

import stepax as sx

LONG = True
NOTES = 88
CLAIMS = [
    {"what": "JSB Chorales, TCN of 300K parameters: NLL per step", "number": "tcn", "published": "8.10", "high": 8.20},
    {"what": "the same, GRU", "number": "gru", "published": "8.43", "high": 8.55},
    {"what": "the same, LSTM", "number": "lstm", "published": "8.45", "high": 8.60},
]
CLAIMS = [{"source": "Bai et al. 2018", "unit": "nats", "format": ".3f"} | claim for claim in CLAIMS]


class Next(linen.Module):
    """Notes so far ``[batch, time, 88]`` to the logits of each step's next notes, ``[batch, time, 88]``."""

    body: linen.Module
    dropout: float

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        outputs = self.body(x, train)
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs
        outputs = sx.nn.Dropout(self.dropout, deterministic=not train)(outputs)
        return sx.nn.Dense(NOTES, name="head")(outputs)


class Setting(NamedTuple):
    """A model and what was chosen for it on the validation pieces."""

    model: linen.Module
    rate: float  # Adam's
    epochs: int  # at most
    falling: bool  # whether the rate falls to 0 as a cosine over these epochs, or stays


SETTINGS = {
    "tcn": Setting(Next(sx.nn.TCN((150, 150), kernel=3, dropout=0.5), 0.0), 2e-3, 120, True),
    "gru": Setting(Next(sx.nn.GRU(260), 0.5), 1e-3, 120, False),
    "lstm": Setting(Next(sx.nn.LSTM(220), 0.5), 1e-3, 120, False),
}


def nll(output: jax.Array, batch: Any) -> jax.Array:
    """The negative log-likelihood of every step, ``[batch, time]``."""
    return sx.losses.binary_cross_entropy(output, batch).sum(-1)


def padded(pieces: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Each piece from its first to its last step but one, and the steps that follow; what was added weighs nothing."""
    longest = max(map(len, pieces)) - 1
    shape = len(pieces), longest
    rows = {"x": np.zeros((*shape, NOTES)), "y": np.zeros((*shape, NOTES)), "weight": np.zeros(shape)}
    for i, piece in enumerate(pieces):
        for name, part in {"x": piece[:-1], "y": piece[1:], "weight": 1.0}.items():
            rows[name][i, : len(piece) - 1] = part
    return {name: array.astype(np.float32) for name, array in rows.items()}


def by_step(values: np.ndarray, weight: np.ndarray) -> float:
    """The mean over all steps of all pieces."""
    return float((values * weight).sum() / weight.sum())


def by_piece(values: np.ndarray, weight: np.ndarray) -> float:
    """The mean over pieces of their means."""
    return float(((values * weight).sum(1) / weight.sum(1)).mean())


def main(
    seeds: int = 3,
    epochs: int | None = None,
    patience: int = 20,
    batch_size: int = 8,
    pieces: int | None = None,
    models: tuple[str, ...] = ("tcn", "gru", "lstm"),
    tune: bool = False,
) -> dict[str, Any]:
    """Trains every model once per seed, and returns the likelihoods of the test pieces.

    Args:
        seeds: Runs of each model.
        epochs: Times through the training pieces at most; the model's own number, unless given.
        patience: Epochs without improvement on the validation pieces before stopping.
        batch_size: Pieces a step.
        pieces: How many of each part to use; all, unless given.
        models: Which of tcn, gru and lstm.
        tune: Measure the validation pieces only.
    """
    parts = sx.data.chorales()
    train, validation, test = (padded(parts[name][:pieces]) for name in ("train", "validation", "test"))
    numbers: dict[str, Any] = {f"{name}{end}": [] for name in models for end in ("", "_by_piece", "_validation")}
    for name in models:
        model, rate, most, falling = SETTINGS[name]._replace(**({} if epochs is None else {"epochs": epochs}))
        steps = most * -(-len(train["x"]) // batch_size)
        rates = optax.cosine_decay_schedule(rate, steps) if falling else rate
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rates))
        learner = sx.supervised(model, nll, optimizer)
        for seed in range(seeds):
            run = sx.fit(
                learner,
                train,
                key=jax.random.key(seed),
                epochs=most,
                batch_size=batch_size,
                validation=validation,
                patience=patience,
            )
            numbers[f"{name}_validation"].append(min(run.history["validation/loss"]))
            measured = validation if tune else test
            values = np.asarray(nll(sx.predict(learner, run.state, measured["x"]), measured))
            numbers[name].append(by_step(values, measured["weight"]))
            numbers[f"{name}_by_piece"].append(by_piece(values, measured["weight"]))
            print(
                f"{name}, seed {seed}: {numbers[name][-1]:.3f} nats a step, {numbers[f'{name}_by_piece'][-1]:.3f} by "
                f"piece; validation {numbers[f'{name}_validation'][-1]:.3f}, best of {len(run.history['epoch'])} epochs"
                f": {run.record['best']['epoch']}; {run.record['seconds']['run']:.0f} s",
                flush=True,
            )
    return numbers


if __name__ == "__main__":
    print(tyro.cli(main))
