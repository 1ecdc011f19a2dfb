"""Transfer on MNIST: a network trained on the digits 0 to 4 learns 5 to 9 with its convolutions frozen.

    python examples/vision_transfer.py              # three seeds, some 8 minutes on two cores
    python examples/vision_transfer.py --seeds 1

Expected: 99.7 to 99.8 % of the test digits 0 to 4; then, training the dense layers only, 99.2 % of 5 to 9 or more, and
training everything from the same start a little more than that. The frozen parameters keep every bit. The second part's
learning rates (of 0.001 and 0.002) and its length (of 5, 10 and 15 epochs) were chosen on the last 5,000 of its digits.

Reference:
    Keras, mnist_transfer_cnn.py (5 epochs of each part, batches of 128; Adadelta there, Adam here).
"""

from typing import Any

import jax
import optax
import tyro

import stepax as sx
from stepax.record import parameter_hash

LONG = True
SOURCE = "Keras, mnist_transfer_cnn.py"
CLAIMS = [
    {
        "what": "MNIST, digits 0–4, CNN, 5 epochs: test accuracy",
        "number": "first",
        "published": "99.8 %",
        "low": 99.7,
    },
    {
        "what": "then digits 5–9, dense layers only, 10 epochs: test accuracy",
        "number": "head",
        "published": "99.2 %",
        "low": 99.2,
    },
    {"what": "digits 5–9, all parameters from the same start: test accuracy", "number": "all", "low": 99.2},
    {"what": "all parameters minus dense layers only", "number": "gain", "low": 0.0, "unit": "points"},
    {"what": "frozen parameters are unchanged, bit for bit", "number": "unchanged", "low": True},
]
CLAIMS = [{"source": SOURCE, "unit": "%", "format": ".2f"} | claim for claim in CLAIMS]


def halves(rows: Any) -> tuple[Any, Any]:
    """The digits 0 to 4 and the digits 5 to 9, the latter with labels from 0 to 4 too."""
    low = rows["y"] < 5
    first, second = ({name: array[part] for name, array in rows.items()} for part in (low, ~low))
    return first, second | {"y": second["y"] - 5}


def learner(model: Any, rate: float) -> sx.Learner:
    return sx.supervised(model, sx.losses.cross_entropy, optax.adam(rate), metrics={"accuracy": sx.metrics.accuracy})


def main(
    seeds: int = 3,
    epochs: int = 5,
    second_epochs: int = 10,
    batch_size: int = 128,
    rate: float = 1e-3,
    head_rate: float = 1e-3,
    all_rate: float = 2e-3,
    width: int = 32,
    examples: int | None = None,
) -> dict[str, Any]:
    """Trains on five digits, transfers to the other five, and returns test accuracies in percent.

    Args:
        seeds: Runs.
        epochs: Times through the first five digits.
        second_epochs: And through the other five.
        batch_size: Images a step.
        rate: Adam's learning rate on the first five digits.
        head_rate: And on the other five, for the dense layers only.
        all_rate: And for all parameters.
        width: Channels of both convolutions.
        examples: How many training and test images to use; all, unless given.
    """
    train, test = ({name: array[:examples] for name, array in rows.items()} for rows in sx.data.load("mnist"))
    (first, second), (first_test, second_test) = halves(train), halves(test)
    cnn = sx.nn.CNN(features=((width, width),), dense=(4 * width,), classes=5, padding="VALID", dropout=0.5)
    numbers: dict[str, Any] = {"first": [], "head": [], "all": [], "gain": [], "unchanged": True}

    for seed in range(seeds):
        keys = jax.random.split(jax.random.key(seed), 3)
        settings = {"batch_size": batch_size, "progress": False}
        base = learner(cnn, rate)
        state = sx.fit(base, first, key=keys[0], epochs=epochs, **settings).state
        numbers["first"].append(percent(base, state, first_test))

        head = learner(sx.transfer(cnn, state.params, train="dense|head"), head_rate)
        moved = sx.fit(head, second, key=keys[1], epochs=second_epochs, **settings).state
        numbers["head"].append(percent(head, moved, second_test))
        frozen = moved.variables["frozen"]
        numbers["unchanged"] &= parameter_hash(frozen) == parameter_hash({name: state.params[name] for name in frozen})

        whole = learner(sx.transfer(cnn, state.params), all_rate)
        numbers["all"].append(
            percent(whole, sx.fit(whole, second, key=keys[2], epochs=second_epochs, **settings).state, second_test)
        )
        numbers["gain"].append(numbers["all"][-1] - numbers["head"][-1])
    return numbers


def percent(learner: sx.Learner, state: sx.State, rows: Any) -> float:
    return 100 * sx.evaluate(learner, state, rows)["accuracy"]


if __name__ == "__main__":
    print(tyro.cli(main))
