"""The plan of a training: plain values from which a learner is made, now or again from the folder of its run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from inspect import formatannotation
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from stepax.cli import losses, models, optimizers, text_models
from stepax.cli.choices import chosen
from stepax.cli.losses import Kind
from stepax.cli.models import Choice
from stepax.cli.texts import Form
from stepax.cli.tokens import vocabulary
from stepax.record import RECORD, RunError

__all__ = [
    "READING",
    "Course",
    "Network",
    "Plan",
    "Subject",
    "check_fields",
    "check_options",
    "frozen",
    "known",
    "models_for",
    "width",
]

READING = ("target", "columns", "drop", "task", "size", "text", "encoding", "test_fraction")
"""The options with which data are read that a plan may hold."""


@dataclass(frozen=True)
class Subject:
    """What is learnt from.

    Attributes:
        data: A name, or an absolute path.
        reading: The options with which it is read.
        name: What it is called.
        kind: What the target is.
        shape: The shape of one input.
        target_shape: The shape of one target.
        classes: The names of classes or labels, or ``None``.
        columns: The names of the inputs' columns, or ``None``.
        tokens: The vocabulary that cuts texts into tokens, as JSON holds it; ``None`` where there are no texts.
    """

    data: str
    reading: Mapping[str, Any]
    name: str
    kind: Kind
    shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    classes: tuple[str, ...] | None
    columns: tuple[str, ...] | None
    tokens: Mapping[str, Any] | None = None

    @property
    def form(self) -> Form:
        """Whether this is a text to go on with, texts with classes, or rows of numbers."""
        return "rows" if self.tokens is None else "text" if self.kind == "tokens" else "texts"


@dataclass(frozen=True)
class Network:
    """What learns.

    Attributes:
        model: Its name.
        options: Its options.
        outputs: The width of its output.
        loss: The name of the loss; the perceptron has none.
        standardize: Whether inputs are standardized.
        target_scaling: Mean and deviation of the targets of a regression, for the scale on which the loss is measured;
            ``None`` where they are taken as they are.
    """

    model: str
    options: Mapping[str, Any]
    outputs: int
    loss: str | None
    standardize: bool
    target_scaling: tuple[Any, Any] | None = None


@dataclass(frozen=True)
class Course:
    """How it learns.

    Attributes:
        optimizer: Its name; the perceptron has none.
        options: Its options.
        rate: The highest learning rate.
        schedule: The name of the schedule; the perceptron has none.
        warmup: Share of the steps in which the rate rises.
        epochs: How often the training rows are gone through.
        batch_size: Examples a step, or ``None`` for all of them.
        steps: Steps in all.
        patience: Epochs without improvement before it stops, or ``None``.
        validation: Share of the training rows that is held out.
        class_weights: Whether every class counts equally.
        seed: The root of all randomness.
    """

    optimizer: str | None
    options: Mapping[str, float]
    rate: float
    schedule: str | None
    warmup: float
    epochs: int
    batch_size: int | None
    steps: int
    patience: int | None
    validation: float
    class_weights: bool
    seed: int


@dataclass(frozen=True)
class Plan:
    """What is learnt from, what learns, and how."""

    subject: Subject
    network: Network
    course: Course

    def details(self) -> dict[str, Any]:
        """The plan as what JSON can hold."""
        return asdict(self)

    @classmethod
    def of(cls, details: Mapping[str, Any]) -> "Plan":
        """The inverse of ``details``.

        Raises:
            stepax.record.RunError: These are not the details of a run of the command line; the message names the field.
        """
        given, parts = frozen(dict(details)), get_type_hints(cls)
        if isinstance(given.get("subject"), Mapping):  # a vocabulary keeps its lists; older runs have none
            given["subject"]["tokens"] = details["subject"].get("tokens")
        try:
            for part, kind in parts.items():
                check_fields(part, get_type_hints(kind), given.get(part))
            plan = cls(**{part: kind(**given[part]) for part, kind in parts.items()})
            _check_choices(plan)
        except RunError:
            raise
        except ValueError as error:
            raise RunError(f"{RECORD} was not made by `stepax train`, or by another version of it: {error}") from error
        return plan


def width(subject: Subject, loss: str | None) -> int:
    """The width of a model's output.

    Args:
        subject: What is learnt from.
        loss: The name of the loss; ``None``, the perceptron's, takes a threshold unit for each label.
    """
    columns = subject.target_shape[0] if subject.target_shape else 1
    classes = known(subject) if subject.kind == "tokens" else len(subject.classes or ())
    return columns if loss is None else losses.width(loss, subject.kind, columns, classes)


def models_for(form: Form) -> Mapping[str, Choice]:
    """The models for a form of data, by name."""
    return models.MODELS if form == "rows" else text_models.TEXT_MODELS[form]


def known(subject: Subject) -> int:
    """How many tokens there are; 0 where there are no texts."""
    return len(vocabulary(subject.tokens)) if subject.tokens else 0


def frozen(value: Any) -> Any:
    """What JSON gives, with tuples instead of lists."""
    if isinstance(value, list):
        return tuple(map(frozen, value))
    return {name: frozen(item) for name, item in value.items()} if isinstance(value, dict) else value


def check_fields(where: str, hints: Mapping[str, Any], given: Any) -> None:
    """Raise unless there is a value for every field, and no other, each of the field's type."""
    if not isinstance(given, Mapping) or given.keys() != hints.keys():
        raise ValueError(f"{where}: expected {_listed(hints)}, got {_listed(given)}")
    for name, hint in hints.items():
        if not _fits(given[name], hint):
            raise ValueError(f"{where}.{name}: expected {formatannotation(hint)}, got {given[name]!r}")


def _listed(fields: Any) -> str:
    return f"the fields {', '.join(fields) or '(none)'}" if isinstance(fields, Mapping) else repr(fields)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type; a tuple's items are all of one."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Literal:
        return value in inner
    if kind is UnionType:
        return any(_fits(value, one) for one in inner)
    if kind is tuple:
        rightly_long = isinstance(value, tuple) and (inner[-1] is ... or len(value) == len(inner))
        return rightly_long and all(_fits(item, inner[0]) for item in value)
    if kind is Mapping:
        return isinstance(value, Mapping) and all(_fits(item, inner[1]) for item in value.values())
    # JSON writes 1 for 1.0 in other hands than ours; a bool is never meant by a number.
    return hint is Any or type(value) is hint or (hint is float and type(value) is int)


def _check_choices(plan: Plan) -> None:
    """Raise where a plan names what there is not, or gives it other options or widths than it has."""
    subject, network, course = plan.subject, plan.network, plan.course
    if unknown := sorted(subject.reading.keys() - {*READING}):
        raise ValueError(f"subject.reading: unknown {', '.join(unknown)}; known are {', '.join(READING)}")
    _check_texts(subject)
    check_options("network", chosen("model", models_for(subject.form), network.model).options, network.options)
    if network.model != models.PERCEPTRON or network.loss is not None:
        losses.loss_for(network.loss or "", subject.kind)
        chosen("schedule", optimizers.SCHEDULES, course.schedule or "")
        choice = chosen("optimizer", optimizers.OPTIMIZERS, course.optimizer or "")
        check_options("course", choice.options, course.options)
    if network.outputs != (outputs := width(subject, network.loss)):
        raise ValueError(f"network.outputs: expected {outputs}, got {network.outputs}")
    counts = {"binary": (2,), "labels": (0, outputs), "classes": (outputs,)}.get(subject.kind, (0,))
    if (count := len(subject.classes or ())) not in counts:
        raise ValueError(f"subject.classes: expected {counts[-1]} names, got {count}")


def _check_texts(subject: Subject) -> None:
    """Raise where texts have no vocabulary, or one that is damaged, or inputs that are no rows of tokens."""
    if subject.tokens is None:
        if subject.kind == "tokens":
            raise ValueError("subject.tokens: expected a vocabulary, got none")
        return
    try:
        vocabulary(subject.tokens)
    except RunError:
        raise
    except (TypeError, ValueError) as error:
        raise ValueError(f"subject.tokens: {error}") from error
    target = subject.shape if subject.kind == "tokens" else ()
    if len(subject.shape) != 1 or subject.shape[0] < 1 or subject.target_shape != target:
        raise ValueError(f"subject.shape: expected the number of tokens, got {subject.shape}, {subject.target_shape}")


def check_options(part: str, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise unless ``given`` has the options that there are, each of its default's type."""
    hints = {name: tuple[int, ...] if isinstance(value, tuple) else type(value) for name, value in defaults.items()}
    check_fields(f"{part}.options", hints, given)
