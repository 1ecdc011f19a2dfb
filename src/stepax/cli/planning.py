"""From options and data to a plan: what was left open is decided, what does not fit is refused."""

import pathlib
from dataclasses import asdict, replace
from typing import Any

import jax
import numpy as np

from stepax.checks import check_count, check_patience
from stepax.cli import losses, models, optimizers, options, text_models, texts, tokens
from stepax.cli.choices import chosen, settings
from stepax.cli.losses import Kind
from stepax.cli.plan import READING, Course, Network, Plan, Subject, models_for, width
from stepax.cli.reading import load, names
from stepax.data import Dataset, standardization
from stepax.data.dataset import Rows

__all__ = ["held_out", "plan", "read"]

DATA = "digits"
"""What is learnt from where nothing is said."""

VALIDATION, FEWEST = 0.1, 100
"""The share of the training rows that is held out by default, and the fewest rows of which it is."""

FOR_TEXTS = ("encoding", "tokens", "vocabulary", "context")
"""Options of texts alone."""

# Epochs and batch size, tuned on held-out parts of the training rows: of digits for images, and of iris, wine,
# breast_cancer and diabetes for tables, which are small. For a text they are nanoGPT's on a CPU, 2,000 steps of 12
# pieces; for texts with classes Kim's batch.
IMAGES, TABLES, TEXT, TEXTS = (30, 64), (100, 32), (10, 12), (10, 50)

LOWER = {"transformer": 3}
"""What an optimizer's usual learning rate is divided by: on tinyshakespeare 0.001 was better than 0.003 with adam."""

STEPS = 200
"""Steps that count as an epoch where batches are random pieces of a text."""


def read(data: options.Data) -> tuple[Dataset, Subject]:
    """The data that were asked for, and what is known about them.

    Raises:
        ValueError: They are unknown, or cannot be learnt from.
        FileNotFoundError: There is nothing at the path.
    """
    source = data.data or DATA
    given = {name: getattr(data, name) for name in READING}
    reading: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    form = texts.form_of(source, reading)
    if source in names():
        wanted = {"target": "FILE.csv", "columns": "FILE.csv", "drop": "FILE.csv", "text": "FILE.csv", "size": "FOLDER"}
        for name in wanted.keys() & reading.keys():
            forgotten = f"did you forget --data {wanted[name]}?"
            raise ValueError(f"--{name} does not apply to the built-in data set {source}; {forgotten}")
    if form == "rows" and (alien := [name for name in FOR_TEXTS if getattr(data, name) is not None]):
        raise ValueError(f"--{alien[0]} does not apply to {source}: it is for texts, a .txt file or --text COLUMN")
    dataset = load(source, reading)
    rows = dataset.train
    path = source if source in names() else str(pathlib.Path(source).expanduser().resolve())
    kind: Kind = "tokens" if form == "text" else losses.kind_of(dataset)
    shapes = rows["x"].shape[1:], rows["y"].shape[1:]
    subject = Subject(path, reading, dataset.name, kind, *shapes, dataset.classes, dataset.features)
    return dataset, subject if form == "rows" else replace(subject, tokens={})


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
    if subject.form != "rows":
        train, _ = parts(subject.kind, rows, _share(wanted.data.validation, len(rows["y"])), wanted.optimization.seed)
        subject = _with_tokens(wanted, subject, train)
    network = _network(wanted, subject)
    made = Plan(subject, network, _course(wanted, subject, network, rows))
    train, _ = held_out(made, rows)
    course = _shared(made.course, wanted.optimization.batch_size, len(train["y"]))
    if network.standardize and subject.kind == "numbers":
        mean, scale = standardization(train["y"])
        network = replace(network, target_scaling=(mean.tolist(), scale.tolist()))
    size = course.batch_size or len(train["y"])
    length = STEPS if subject.form == "text" else -(-len(train["y"]) // size)
    steps = course.epochs * length
    return replace(made, network=network, course=replace(course, steps=steps))


def _shared(course: Course, asked: int | str | None, rows: int) -> Course:
    """The course with batches of which every device of several processes has an equal share.

    Args:
        course: The course.
        asked: The batch size that was asked for: it is refused where another one would be rounded.
        rows: How many rows are learnt from.
    """
    devices = jax.device_count() if jax.process_count() > 1 else 1
    size = min(course.batch_size or rows, rows)
    if size % devices == 0:
        return course
    most = rows // devices * devices
    if not most:
        raise ValueError(f"--processes: {devices} devices cannot share {rows} training rows: expected fewer processes")
    fitting = min(-(-size // devices) * devices, most)
    if asked is not None:
        raise ValueError(
            f"--batch-size: {devices} devices of {jax.process_count()} processes cannot share {size} examples equally: "
            f"expected a multiple of {devices}, such as {fitting}"
        )
    return replace(course, batch_size=fitting)


def _with_tokens(wanted: options.Train, subject: Subject, train: Rows) -> Subject:
    """The subject with a vocabulary and a context, learnt from the rows to learn from."""
    given = wanted.data
    saved, context = tokens.fitted(subject.form, train, given.tokens, given.vocabulary, given.context)
    shape = (context,)
    return replace(subject, tokens=saved, shape=shape, target_shape=shape if subject.kind == "tokens" else ())


def _network(wanted: options.Train, subject: Subject) -> Network:
    is_image = len(subject.shape) == 3
    table = models_for(subject.form)
    name = wanted.model.model or ("cnn" if is_image else "mlp" if subject.form == "rows" else next(iter(table)))
    if name not in table and name in (*models.MODELS, *text_models.NAMES):
        what = f"{subject.name}, which is {texts.WORDS[subject.form]}"
        raise ValueError(f"--model {name} is not for {what}; there are {', '.join(table)}")
    choice = chosen("model", table, name)
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
    if subject.form != "rows" and asked == "yes":
        raise ValueError("--standardize yes does not apply to texts, whose tokens are no measures")
    return Network(
        name, own, width(subject, loss), loss, asked == "yes" if asked else subject.form == "rows" and not is_image
    )


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


def _course(wanted: options.Train, subject: Subject, network: Network, data: Rows) -> Course:
    how, rows = wanted.optimization, len(data["y"])
    usual = {"text": TEXT, "texts": TEXTS}.get(subject.form, IMAGES if data["x"].ndim == 4 else TABLES)
    if how.batch_size == "full" and subject.form == "text":
        raise ValueError("--batch-size full does not apply to a text, whose batches are random pieces of it")
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
    usual_rate = choice.rate / LOWER.get(network.model, 1)
    rate = usual_rate if how.learning_rate is None else how.learning_rate
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
        Both parts, stratified by class, or of a text its beginning and its end; the second is ``None`` where the share
        is 0.

    Raises:
        ValueError: There are too few rows for that share.
    """
    return parts(made.subject.kind, rows, made.course.validation, made.course.seed)


def parts(kind: Kind, rows: Rows, fraction: float, seed: int) -> tuple[Rows, Rows | None]:
    """As :func:`held_out`, where there is no plan yet."""
    if not fraction:
        return rows, None
    if kind == "tokens":
        count = len(rows["x"])
        place = count - round(fraction * count)
        if place in (0, count):
            raise ValueError(f"--validation {fraction} cannot be held out of {count} characters")
        first, second = (
            {name: array[part] for name, array in rows.items()} for part in (slice(place), slice(place, None))
        )
        return first, second
    from sklearn.model_selection import train_test_split

    stratify = rows["y"] if kind in ("classes", "binary") else None
    places = np.arange(len(rows["y"]))
    try:
        first, second = train_test_split(places, test_size=fraction, stratify=stratify, random_state=seed % 2**32)
    except ValueError as error:
        raise ValueError(f"--validation {fraction} cannot be held out of {len(places)} rows: {error}") from error
    return tuple({name: array[part] for name, array in rows.items()} for part in (first, second))  # type: ignore[return-value]
