"""The plan of a training: plain values from which a learner is made, now or again from the folder of its run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from stepax.cli.losses import Kind
from stepax.record import RunError

__all__ = ["Course", "Network", "Plan", "Subject"]


@dataclass(frozen=True)
class Subject:
    """What is learnt from.

    Attributes:
        data: A name, or an absolute path.
        reading: The arguments with which ``stepax.data.load`` reads it.
        name: What it is called.
        kind: What the target is.
        shape: The shape of one input.
        target_shape: The shape of one target.
        classes: The names of classes or labels, or ``None``.
        columns: The names of the inputs' columns, or ``None``.
    """

    data: str
    reading: Mapping[str, Any]
    name: str
    kind: Kind
    shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    classes: tuple[str, ...] | None
    columns: tuple[str, ...] | None


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
            stepax.record.RunError: These are not the details of a run of the command line.
        """
        try:
            subject, network, course = (details[part] for part in ("subject", "network", "course"))
            return cls(Subject(**_frozen(subject)), Network(**_frozen(network)), Course(**_frozen(course)))
        except (KeyError, TypeError) as error:
            raise RunError("the run was not made by `stepax train`, or by another version of it") from error


def _frozen(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with tuples instead of JSON's lists."""
    return {name: _tuples(value) for name, value in fields.items()}


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return _frozen(value) if isinstance(value, dict) else value
