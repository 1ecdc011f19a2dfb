"""Diabetes and breast cancer: a linear model and a small network by gradient descent, beside scikit-learn.

    python examples/tables_baselines.py    # one to two minutes

Both data sets are small and nearly linear, so the measure of a toolkit is to be no worse than ridge regression and
logistic regression on the same splits. Expected: over 10 random splits, both models come within one standard
deviation (over the splits) of scikit-learn's mean; the linear one, which descends the same penalised objective, all
but meets it. The networks hold out a fifth of their training rows and stop when the loss on these has not improved
for 20 epochs; test rows choose nothing. Every model takes raw measurements: the scaling, fitted on training rows, is
part of it.

Reference:
    Efron, Hastie, Johnstone and Tibshirani, Least angle regression, 2004 (diabetes).
    Street, Wolberg and Mangasarian, Nuclear feature extraction for breast tumor diagnosis, 1993 (breast cancer).
"""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import tyro
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import stepax as sx


class Task(NamedTuple):
    """A data set and how it is judged.

    Attributes:
        reference: Scikit-learn's model; its ``score`` is R² or accuracy.
        loss: What is descended.
        decay: ``n -> weight decay`` that makes the mean loss over n rows the reference's penalised objective.
    """

    reference: Any
    loss: sx.typing.Loss
    decay: Any


# Ridge minimises Σ (y − ŷ)² + ‖w‖², logistic regression Σ loss + ½ ‖w‖²; here both are divided by the number of rows.
TASKS = {
    "diabetes": Task(Ridge(alpha=1.0), sx.losses.mean_squared_error, lambda n: 2 / n),
    "breast_cancer": Task(LogisticRegression(C=1.0), sx.losses.binary_cross_entropy, lambda n: 1 / n),
}
CLAIMS = [
    claim
    for task, measure, name in (("diabetes", "R²", "ridge"), ("breast_cancer", "accuracy", "logistic regression"))
    for claim in (
        {"what": f"{task}, 10 splits, test {measure}: scikit-learn's {name}", "number": f"{task}_reference"},
        {"what": f"{task}, test {measure}: linear model by gradient descent", "number": f"{task}_linear"},
        {"what": f"{task}, test {measure}: MLP", "number": f"{task}_mlp"},
        {
            "what": f"{task}: linear model minus scikit-learn, in standard deviations over the splits",
            "number": f"{task}_linear_behind",
            "low": -1.0,
            "high": 1.0,
        },
        {
            "what": f"{task}: MLP minus scikit-learn, in standard deviations over the splits",
            "number": f"{task}_mlp_behind",
            "low": -1.0,
        },
    )
]


def model(features: tuple[int, ...], task: Task, rows: Any) -> sx.Model:
    """A network between raw measurements and raw targets (logits, for classes)."""
    outputs = sx.data.standardization(rows["y"]) if isinstance(task.reference, Ridge) else None
    return sx.scaled(sx.nn.MLP(features), sx.data.standardization(rows["x"]), outputs)


def in_units(task: Task, rows: Any) -> sx.typing.Loss:
    """The loss in units of the targets' variance, so that one learning rate fits every data set."""
    scale = float(rows["y"].var()) if isinstance(task.reference, Ridge) else 1.0
    return lambda output, batch: task.loss(output, batch) / scale


def linear(task: Task, rows: Any, steps: int) -> tuple[sx.Learner, sx.State]:
    """Gradient descent with momentum on all rows at once."""
    is_kernel = {"head": {"kernel": True, "bias": False}}
    descent = optax.sgd(0.1, momentum=0.9, nesterov=True)
    optimizer = optax.chain(optax.add_decayed_weights(task.decay(len(rows["y"])), mask=is_kernel), descent)
    learner = sx.supervised(model((1,), task, rows), in_units(task, rows), optimizer)
    run = sx.fit(learner, rows, key=jax.random.key(0), epochs=steps, batch_size=None, progress=False)
    return learner, run.state


def mlp(task: Task, rows: Any, epochs: int, seed: int) -> tuple[sx.Learner, sx.State]:
    """A hidden layer of 32 units, stopped early on a fifth of the rows."""
    kept, held_out = split(rows, 0.2, seed, isinstance(task.reference, LogisticRegression))
    learner = sx.supervised(model((32, 1), task, kept), in_units(task, kept), optax.adam(3e-3))
    settings = {"epochs": epochs, "batch_size": 32, "validation": held_out, "patience": 20, "progress": False}
    return learner, sx.fit(learner, kept, key=jax.random.key(seed), **settings).state


def split(rows: Any, fraction: float, seed: int, by_class: bool) -> tuple[Any, Any]:
    """The rows in two parts, the second one a ``fraction`` of them."""
    labels = rows["y"] if by_class else None
    parts = train_test_split(np.arange(len(rows["y"])), test_size=fraction, random_state=seed, stratify=labels)
    return tuple({name: array[part] for name, array in rows.items()} for part in parts)


def score(task: Task, learner: sx.Learner, state: sx.State, rows: Any) -> float:
    """R² or accuracy, as scikit-learn's ``score``."""
    output = sx.predict(learner, state, rows["x"])
    if isinstance(task.reference, Ridge):
        return float(sx.metrics.r_squared(output, rows))
    return float(sx.metrics.accuracy(output, rows).mean())


def main(splits: int = 10, steps: int = 1000, epochs: int = 300) -> dict[str, list[float] | float]:
    """Trains on random splits, 80 to 20, and returns test scores.

    Args:
        splits: How many splits.
        steps: Steps of the linear model.
        epochs: The most epochs of the network.
    """
    numbers: dict[str, list[float] | float] = {}
    for name, task in TASKS.items():
        rows, _ = sx.data.load(name, test_fraction=0.0)
        scores: dict[str, list[float]] = {"reference": [], "linear": [], "mlp": []}
        for seed in range(splits):
            train, test = split(rows, 0.2, seed, isinstance(task.reference, LogisticRegression))
            reference = make_pipeline(StandardScaler(), task.reference).fit(train["x"], train["y"])
            scores["reference"].append(float(reference.score(test["x"], test["y"])))
            scores["linear"].append(score(task, *linear(task, train, steps), test))
            scores["mlp"].append(score(task, *mlp(task, train, epochs, seed), test))
        spread = float(np.std(scores["reference"], ddof=1))
        numbers |= {f"{name}_{key}": values for key, values in scores.items()}
        for key in ("linear", "mlp"):
            numbers[f"{name}_{key}_behind"] = (
                float(np.mean(scores[key])) - float(np.mean(scores["reference"]))
            ) / spread
    return numbers


if __name__ == "__main__":
    print(tyro.cli(main))
