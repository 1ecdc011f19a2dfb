"""From options and data to a plan: what was left open is decided, what does not fit is refused."""

import pathlib
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from stepax.checks import check_count, check_patience
from stepax.cli import losses, models, optimizers, options
from stepax.cli.choices import chosen, settings
from stepax.cli.plan import READING, Course, Network, Plan, Subject, width
from stepax.cli.reading import as_options
from stepax.data import Dataset, load, names, standardization
from stepax.data.dataset import Rows

__all__ = ["held_out", "plan", "read"]

VALIDATION, FEWEST = 0.1, 100
"""The share of the training rows that is held out by default, and the fewest rows of which it is."""

# Epochs and batch size, tuned on held-out parts of the training rows: of digits for images, and of iris, wine,
# breast_cancer and diabetes for tables, which are small.
IMAGES, TABLES = (30, 64), (100, 32)


def read(data: options.Data) -> tuple[Dataset, Subject]:
    """The data that were asked for, and what is known about them.

    Raises:
        ValueError: They are unknown, or cannot be learnt from.
        FileNotFoundError: There is nothing at the path.
    """
    given = {name: getattr(data, name) for name in READING}
    reading: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if data.data in names():
        wanted = {"target": "FILE.csv", "columns": "FILE.csv", "drop": "FILE.csv", "size": "FOLDER"}
        for name in wanted.keys() & reading.keys():
            forgotten = f"did you forget --data {wanted[name]}?"
            raise ValueError(f"--{name} does not apply to the built-in data set {data.data}; {forgotten}")
    with as_options():
        dataset = load(data.data, **reading)
    rows = dataset.train
    source = data.data if data.data in names() else str(pathlib.Path(data.data).expanduser().resolve())
    kind = losses.kind_of(dataset)
    shapes = rows["x"].shape[1:], rows["y"].shape[1:]
    return dataset, Subject(source, reading, dataset.name, kind, *shapes, dataset.classes, dataset.features)


def plan(wanted: options.Train, subject: Subject, rows: Rows) -> Plan:
    """The plan for options and data.

    Args:
        wanted: The options.
        subject: What is known about the data.
        rows: The training rows, those held out among them.

    Returns:
        The plan. ``target_scaling`` is not fitted yet: see :func:`held_out`.

    Raises:
        ValueError: A name is unknown, an option is out of range, or does not apply to what was chosen.
    """
    network = _network(wanted, subject)
    made = Plan(subject, network, _course(wanted, network, rows))
    train, _ = held_out(made, rows)
    if network.standardize and subject.kind == "numbers":
        mean, scale = standardization(train["y"])
        network = replace(network, target_scaling=(mean.tolist(), scale.tolist()))
    size = made.course.batch_size or len(train["y"])
    steps = made.course.epochs * -(-len(train["y"]) // size)
    return replace(made, network=network, course=replace(made.course, steps=steps))


def _network(wanted: options.Train, subject: Subject) -> Network:
    is_image = len(subject.shape) == 3
    name = wanted.model.model or ("cnn" if is_image else "mlp")
    choice = chosen("model", models.MODELS, name)
    if name == "cnn" and not is_image:
        shape = "×".join(map(str, subject.shape))
        raise ValueError(f"--model cnn is for images, and an input of {subject.name} has the shape {shape}; try mlp")
    given = {option: value for option, value in asdict(wanted.model).items() if option not in ("model", "loss")}
    own = settings(f"--model {name}", choice.options, given)
    asked = wanted.data.standardize
    if name == models.PERCEPTRON:
        return _perceptron(wanted, subject)
    loss = wanted.model.loss or losses.default_loss(subject.kind)
    losses.loss_for(loss, subject.kind)
    return Network(name, own, width(subject, loss), loss, asked == "yes" if asked else not is_image)


def _perceptron(wanted: options.Train, subject: Subject) -> Network:
    """Threshold units, one for each label; the rule that trains them leaves no choice of loss, and takes raw inputs."""
    if subject.kind not in ("binary", "labels"):
        what = f"{len(subject.classes)} classes" if subject.classes else "numbers"
        raise ValueError(f"--model perceptron tells two classes apart, and {subject.name} has {what}; try linear")
    if (rate := wanted.optimization.learning_rate) is not None and not rate > 0:
        raise ValueError(f"--learning-rate: expected a positive number, got {rate}")
    if wanted.data.standardize == "yes":
        raise ValueError("--standardize yes does not apply to --model perceptron, whose rule takes inputs as they are")
    if wanted.model.loss is not None:
        raise ValueError("--loss does not apply to --model perceptron, which counts wrong answers")
    if wanted.data.class_weights:
        raise ValueError("--class-weights does not apply to --model perceptron, whose rule takes examples as they are")
    return Network(models.PERCEPTRON, {}, width(subject, None), None, False)


def _course(wanted: options.Train, network: Network, data: Rows) -> Course:
    how, rows = wanted.optimization, len(data["y"])
    usual = IMAGES if data["x"].ndim == 4 else TABLES
    epochs, size = (asked or default for asked, default in zip((how.epochs, how.batch_size), usual, strict=True))
    for option, count in {"--epochs": how.epochs, "--batch-size": how.batch_size}.items():
        if isinstance(count, int):
            check_count(option, count)
    validation = _share(wanted.data.validation, rows)
    check_patience(how.patience, validation or None)
    batch_size = None if size == "full" else min(int(size), rows)
    rest = (int(epochs), batch_size, 0, how.patience, validation, wanted.data.class_weights, how.seed)
    if network.model == models.PERCEPTRON:
        ruled = ("optimizer", "momentum", "weight_decay", "schedule", "warmup")
        settings("--model perceptron", {"learning_rate": 1.0}, {name: getattr(how, name) for name in ruled})
        return Course(None, {}, 1.0 if how.learning_rate is None else how.learning_rate, None, 0.0, *rest)
    name = how.optimizer or "adam"
    choice = chosen("optimizer", optimizers.OPTIMIZERS, name)
    given = {option: getattr(how, option) for option in ("momentum", "weight_decay")}
    own = settings(f"--optimizer {name}", choice.options, given)
    rate = choice.rate if how.learning_rate is None else how.learning_rate
    schedule, warmup = how.schedule or "cosine", how.warmup or 0.0
    optimizers.schedule(schedule, rate, 1, warmup)  # refuses what is unknown or out of range
    return Course(name, own, rate, schedule, warmup, *rest)


def _share(asked: float | None, rows: int) -> float:
    """The share of the training rows that is held out."""
    share = asked if asked is not None else VALIDATION if rows >= FEWEST else 0.0
    if not 0 <= share < 1:
        raise ValueError(f"--validation: expected a share of the rows from 0 to below 1, got {share}")
    return share


def held_out(made: Plan, rows: Rows) -> tuple[Rows, Rows | None]:
    """The rows to learn from, and those held out to be measured after every epoch.

    Args:
        made: The plan; its share and seed decide.
        rows: All training rows.

    Returns:
        Both parts, stratified by class; the second is ``None`` where the share is 0.

    Raises:
        ValueError: There are too few rows for that share.
    """
    fraction, seed = made.course.validation, made.course.seed
    if not fraction:
        return rows, None
    from sklearn.model_selection import train_test_split

    stratify = rows["y"] if made.subject.kind in ("classes", "binary") else None
    places = np.arange(len(rows["y"]))
    try:
        first, second = train_test_split(places, test_size=fraction, stratify=stratify, random_state=seed % 2**32)
    except ValueError as error:
        raise ValueError(f"--validation {fraction} cannot be held out of {len(places)} rows: {error}") from error
    return tuple({name: array[part] for name, array in rows.items()} for part in (first, second))  # type: ignore[return-value]
