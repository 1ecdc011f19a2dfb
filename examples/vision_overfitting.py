"""Overfitting on 1,000 digits: the gap between training and test, and what dropout and early stopping do to it.

    python examples/vision_overfitting.py    # half a minute

Expected: a network of half a million parameters learns its 1,000 training digits by heart, 100 %, and knows some 88 %
of the test digits; its validation loss rises while its training loss falls. Dropout makes the gap smaller and the
test accuracy better. Early stopping, which returns the state with the lowest validation loss, leaves the smallest
loss gap.

Reference:
    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, Dropout, JMLR 15, 2014.
    Prechelt, Early stopping, but when?, 1998.
"""

import pathlib
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
import tyro

import stepax as sx

SRIVASTAVA = "Srivastava et al. 2014"
PRECHELT = "Prechelt 1998"
CLAIMS = [
    *(
        {"what": f"1,000 MNIST digits, {arm}: {what}", "number": f"{key}_{number}", **shape}
        for key, arm in (("plain", "MLP 784-512-256-10"), ("dropout", "with dropout .5"), ("early", "stopped early"))
        for number, what, shape in (
            ("accuracy", "test accuracy", {"unit": "%", "format": ".2f"}),
            ("accuracy_gap", "train minus test accuracy", {"unit": "points", "format": ".2f"}),
            ("loss_gap", "test minus train loss", {"unit": "nats", "format": ".3f"}),
        )
    ),
    {
        "what": "by how much dropout narrows the loss gap",
        "number": "dropout_gain",
        "published": "narrower",
        "source": SRIVASTAVA,
        "low": 0.0,
        "unit": "nats",
        "format": ".3f",
    },
    {
        "what": "by how much early stopping narrows the loss gap",
        "number": "early_gain",
        "published": "narrower",
        "source": PRECHELT,
        "low": 0.0,
        "unit": "nats",
        "format": ".3f",
    },
]


def learner(dropout: float, hidden: tuple[int, ...]) -> sx.Learner:
    network = sx.nn.MLP((*hidden, 10), dropout=dropout)
    return sx.supervised(network, sx.losses.cross_entropy, optax.adam(1e-3), metrics={"accuracy": sx.metrics.accuracy})


def curves(
    learner: sx.Learner, train: Any, validation: Any, *, key: jax.Array, epochs: int, batch_size: int
) -> tuple[sx.State, np.ndarray]:
    """The last state, and the loss of training and validation data after every epoch, ``[epochs, 2]``.

    ``fit`` measures training data while it learns from them, under dropout; this is its loop with a measure of its own.
    """
    init_key, data_key = jax.random.split(key)
    source = sx.shuffled(train, batch_size, data_key)
    measures = [sx.Evaluation(learner, rows) for rows in (train, validation)]
    losses = []
    first = learner.init(init_key, {name: array[:batch_size] for name, array in train.items()})
    for state, _ in sx.epochs(learner, source, first):
        losses.append([float(measure(state)["loss"]) for measure in measures])
        if len(losses) == epochs:
            break
    return state, np.array(losses)


def measured(learner: sx.Learner, state: sx.State, train: Any, test: Any) -> dict[str, float]:
    on_train, on_test = (sx.evaluate(learner, state, rows) for rows in (train, test))
    return {
        "accuracy": 100 * on_test["accuracy"],
        "accuracy_gap": 100 * (on_train["accuracy"] - on_test["accuracy"]),
        "loss_gap": on_test["loss"] - on_train["loss"],
    }


def draw(losses: dict[str, np.ndarray], stopped: int, figure: pathlib.Path) -> None:
    fig, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
    for i, (name, curve) in enumerate(losses.items()):
        epochs = 1 + np.arange(len(curve))
        ax.semilogy(epochs, np.maximum(curve[:, 0], 1e-4), color=f"C{i}", linestyle=":", label=f"{name}, training")
        ax.semilogy(epochs, curve[:, 1], color=f"C{i}", label=f"{name}, validation")
    ax.axvline(stopped, color="0.5", linewidth=0.8, label=f"plain, stopped early: epoch {stopped}")
    ax.set(xlabel="epoch", ylabel="cross entropy (nats)", title="1,000 digits of MNIST, seed 0")
    ax.legend(fontsize="small")
    fig.savefig(figure, dpi=100)
    plt.close(fig)


def main(
    seeds: int = 5,
    epochs: int = 100,
    examples: int = 1000,
    batch_size: int = 50,
    hidden: tuple[int, ...] = (512, 256),
    dropout: float = 0.5,
    patience: int = 10,
    figure: pathlib.Path | None = None,
) -> dict[str, list[float]]:
    """Trains on few digits, plainly, with dropout, and with early stopping.

    Args:
        seeds: Runs of each; all have the same digits.
        epochs: Times through the training digits.
        examples: Training digits; as many others, from the training images too, are for validation.
        batch_size: Digits a step.
        hidden: Widths of the hidden layers.
        dropout: The fraction of hidden values set to zero.
        patience: Epochs without improvement before stopping early.
        figure: Where to draw the losses of the first seed.
    """
    digits, test = sx.data.load("mnist")
    train, validation = (
        {name: array[part] for name, array in digits.items()}
        for part in (slice(examples), slice(examples, 2 * examples))
    )
    plain, dropped = learner(0.0, hidden), learner(dropout, hidden)
    numbers: dict[str, list[float]] = {}
    for seed in range(seeds):
        key = jax.random.key(seed)
        settings = {"key": key, "epochs": epochs, "batch_size": batch_size}
        plain_state, plain_losses = curves(plain, train, validation, **settings)
        dropout_state, dropout_losses = curves(dropped, train, validation, **settings)
        run = sx.fit(plain, train, validation=validation, patience=patience, progress=False, **settings)
        arms = {"plain": (plain, plain_state), "dropout": (dropped, dropout_state), "early": (plain, run.state)}
        for name, (arm, state) in arms.items():
            for number, value in measured(arm, state, train, test).items():
                numbers.setdefault(f"{name}_{number}", []).append(value)
        if figure is not None and seed == 0:
            stopped = int(run.state.step) * batch_size // examples
            draw({"plain": plain_losses, f"dropout {dropout:g}": dropout_losses}, stopped, figure)
    for name in ("dropout", "early"):
        gaps = zip(numbers["plain_loss_gap"], numbers[f"{name}_loss_gap"], strict=True)
        numbers[f"{name}_gain"] = [ours - theirs for ours, theirs in gaps]
    return numbers


if __name__ == "__main__":
    print(tyro.cli(main))
