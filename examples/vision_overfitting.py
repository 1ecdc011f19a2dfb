"""Overfitting on 1,000 digits: the gap between training and test, and what dropout and early stopping do to it.

    python examples/vision_overfitting.py    # one to three minutes on two cores

Expected: a network of half a million parameters learns its 1,000 training digits by heart, 100 %, and knows some 90 %
of the test digits; its validation loss rises after the first five to ten epochs while its training loss goes to 0.
Early stopping, which returns the state with the lowest validation loss, narrows the loss gap by a third or more, for a
point less of accuracy: what grows in later epochs is false confidence more than false answers. With dropout the lowest
loss comes later and is lower, so that the two go well together. Dropout alone does not undo overfitting here: after 100
epochs that network too knows its digits by heart, and the gap is as wide.

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

ARMS = {
    "plain": "MLP 784-512-256-10, 100 epochs",
    "early": "stopped early",
    "dropout": "dropout .5, 100 epochs",
    "dropout_early": "dropout .5, stopped early",
}
CLAIMS = [
    {"what": f"1,000 MNIST digits, {arm}: {what}", "number": f"{key}_{number}", "unit": unit, "format": digits}
    for key, arm in ARMS.items()
    for number, what, unit, digits in (
        ("accuracy", "test accuracy", "%", ".2f"),
        ("accuracy_gap", "train minus test accuracy", "points", ".2f"),
        ("loss_gap", "test minus train loss", "nats", ".3f"),
    )
]
CLAIMS += [
    {
        "what": "by how much early stopping narrows the loss gap",
        "number": "early_gain",
        "published": "narrower",
        "source": "Prechelt 1998",
        "low": 0.0,
        "unit": "nats",
        "format": ".3f",
    },
    {
        "what": "by how much dropout narrows the loss gap after 100 epochs",
        "number": "dropout_gap_gain",
        "published": "narrower",
        "source": "Srivastava et al. 2014",
        "low": 0.0,
        "unit": "nats",
        "format": ".3f",
    },
    {
        "what": "by how much dropout lowers the test loss, both stopped early",
        "number": "dropout_gain",
        "published": "lower",
        "source": "Srivastava et al. 2014",
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
        "loss": on_test["loss"],
        "accuracy_gap": 100 * (on_train["accuracy"] - on_test["accuracy"]),
        "loss_gap": on_test["loss"] - on_train["loss"],
    }


def draw(losses: dict[str, np.ndarray], figure: pathlib.Path) -> None:
    fig, (training, validation) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for i, (name, curve) in enumerate(losses.items()):
        epochs, best = 1 + np.arange(len(curve)), curve[:, 1].argmin()
        training.semilogy(epochs, curve[:, 0], color=f"C{i}", label=name)
        validation.plot(epochs, curve[:, 1], color=f"C{i}", label=name)
        label = f"{name}, stopped early: {curve[best, 1]:.3f} at epoch {epochs[best]}"
        validation.plot(epochs[best], curve[best, 1], "o", color=f"C{i}", label=label)
    training.set(xlabel="epoch", ylabel="cross entropy (nats)", title="1,000 training digits of MNIST, seed 0")
    validation.set(xlabel="epoch", ylabel="cross entropy (nats)", ylim=(0, 1), title="validation digits")
    for ax in (training, validation):
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
        losses = {}
        for name, arm in {"plain": plain, "dropout": dropped}.items():
            last, losses[name] = curves(arm, train, validation, **settings)
            stopped = sx.fit(arm, train, validation=validation, patience=patience, progress=False, **settings).state
            early = "early" if name == "plain" else f"{name}_early"
            for which, state in {name: last, early: stopped}.items():
                for number, value in measured(arm, state, train, test).items():
                    numbers.setdefault(f"{which}_{number}", []).append(value)
        if figure is not None and seed == 0:
            draw(losses, figure)
    numbers["early_gain"] = less(numbers["plain_loss_gap"], numbers["early_loss_gap"])
    numbers["dropout_gap_gain"] = less(numbers["plain_loss_gap"], numbers["dropout_loss_gap"])
    numbers["dropout_gain"] = less(numbers["early_loss"], numbers["dropout_early_loss"])
    return numbers


def less(before: list[float], after: list[float]) -> list[float]:
    """How much less it is after than before, seed by seed."""
    return [first - second for first, second in zip(before, after, strict=True)]


if __name__ == "__main__":
    print(tyro.cli(main))
