"""The options of the command line: what each subcommand takes, with its defaults and its help."""

import pathlib
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from stepax.checks import nearest
from stepax.cli.parsing import REGISTRY, one_line

__all__ = [
    "Bench",
    "Data",
    "Evaluate",
    "Info",
    "Log",
    "Model",
    "Optimization",
    "Output",
    "Plot",
    "Predict",
    "Train",
    "parse",
]

# Names as the tables in ``models``, ``losses``, ``optimizers`` and ``stepax.bench`` have them; they are not read from
# there, so that help needs none of their imports.
MODELS = "cnn|mlp|linear|perceptron"
ACTIVATIONS = "relu|tanh|sigmoid|elu|leaky-relu|gelu"
LOSSES = "cross-entropy|multiclass-hinge|binary-cross-entropy|hinge|mean-squared-error|mean-absolute-error|huber"
OPTIMIZERS = "sgd|momentum|nesterov|adagrad|rmsprop|adam|adamw|lion"
SCHEDULES = "constant|cosine|linear|exponential"
WORKLOADS = "mlp|mlp-32|cnn|cnn-deep|lstm|gru|tcn|transformer|population|population-32"

Log = Literal["tensorboard"]
Switch = Literal["yes", "no"]
Part = Literal["train", "test", "all"]


def shown(metavar: str, default: str) -> Any:
    """How an option is shown whose default depends on others, and is ``None`` here."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


@dataclass(frozen=True)
class Data:
    """What to learn from.

    Attributes:
        data: A name (`stepax info` lists them), a .csv table, an .npz archive of x and y, or a folder with one folder
            of images for each class.
        target: The column of a .csv table to predict.
        columns: The columns of a .csv table to predict it from.
        drop: The columns of a .csv table to leave out, such as text and row numbers.
        task: What the target of a .csv table or an archive is, where the rule (text and few whole numbers are classes)
            guesses wrong.
        size: Height and width in pixels to bring the images of a folder to.
        test_fraction: Share of the rows held out for testing, for data without test rows of their own.
        validation: Share of the training rows that is held out and measured after every epoch, stratified by class.
        class_weights: Weigh the training examples so that every class counts equally.
        standardize: Whether inputs (and the targets of a regression) are brought to mean 0 and deviation 1, as the
            training rows have it; a part of the saved model.
    """

    data: Annotated[str, arg(metavar="NAME|PATH")] = "digits"
    target: Annotated[str | None, shown("COLUMN", "none; a .csv table needs it")] = None
    columns: Annotated[tuple[str, ...] | None, shown("COLUMN ...", "all but the target")] = None
    drop: Annotated[tuple[str, ...] | None, shown("COLUMN ...", "none")] = None
    task: Annotated[
        Literal["classification", "regression"] | None, shown("classification|regression", "by the rule")
    ] = None
    size: Annotated[tuple[int, int] | None, shown("HEIGHT WIDTH", "as they are")] = None
    test_fraction: Annotated[float | None, shown("FRACTION", "0.2")] = None
    validation: Annotated[float | None, shown("FRACTION", "0.1, and 0 for fewer than 100 rows")] = None
    class_weights: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    standardize: Annotated[Switch | None, shown("yes|no", "yes for tables, no for images and the perceptron")] = None


@dataclass(frozen=True)
class Model:
    """What learns.

    Attributes:
        model: The kind of model. linear is logistic or linear regression, perceptron threshold units trained by
            Rosenblatt's rule.
        features: Channels of the convolutions, one stage with pooling after each.
        dense: Widths of the hidden dense layers; without a number, none.
        kernel: Height and width in pixels of each convolution's window.
        dropout: Fraction of the values set to zero in training.
        normalize: Whether hidden layers are batch-normalised.
        activation: The non-linearity.
        loss: What is minimised. Those of a regression are measured in deviations of the target.
    """

    model: Annotated[str | None, shown(MODELS, "cnn for images, mlp for tables")] = None
    features: Annotated[tuple[int, ...] | None, shown("WIDTH ...", "32 64 for cnn")] = None
    dense: Annotated[tuple[int, ...] | None, shown("WIDTH ...", "128 for cnn, 64 64 for mlp")] = None
    kernel: Annotated[tuple[int, int] | None, shown("HEIGHT WIDTH", "3 3 for cnn")] = None
    dropout: Annotated[float | None, shown("FRACTION", "0.3 for cnn, 0.2 for mlp")] = None
    normalize: Annotated[Switch | None, shown("yes|no", "yes for cnn, no for mlp")] = None
    activation: Annotated[str | None, shown(ACTIVATIONS, "relu for cnn and mlp")] = None
    loss: Annotated[
        str | None,
        shown(LOSSES, "cross-entropy for classes, binary-cross-entropy for two, mean-squared-error for numbers"),
    ] = None


@dataclass(frozen=True)
class Optimization:
    """How it learns.

    Attributes:
        optimizer: The rule of the steps.
        learning_rate: The size of the steps at its highest: 0.003 for adam and adamw, 0.001 for rmsprop,
            0.0003 for lion, 0.05 for sgd, momentum, nesterov and adagrad, 1 for the perceptron where none is given.
        momentum: How much of the last step goes on.
        weight_decay: How fast weights shrink.
        schedule: How the learning rate falls over the training: not at all, along half a cosine or a line to 0, or
            exponentially to a hundredth.
        warmup: Share of all steps in which the rate first rises to its height.
        batch_size: Examples a step, or "full" for all of them.
        epochs: How many times to go through the training rows.
        patience: Stop after so many epochs in which the validation loss did not improve, and keep the best parameters.
        seed: The root of all randomness: the held-out rows, the first parameters, the order of examples, dropout.
        processes: How many processes on this machine share every batch; on a machine with GPUs each takes one. A run
            that goes on has as many as before: with another number sums are rounded otherwise.
    """

    optimizer: Annotated[str | None, shown(OPTIMIZERS, "adam")] = None
    learning_rate: Annotated[float | None, shown("RATE", "by the optimizer")] = None
    momentum: Annotated[float | None, shown("FACTOR", "0.9 for momentum and nesterov")] = None
    weight_decay: Annotated[float | None, shown("FACTOR", "0.0001 for adamw, 0.001 for lion")] = None
    schedule: Annotated[str | None, shown(SCHEDULES, "cosine")] = None
    warmup: Annotated[float | None, shown("FRACTION", "0")] = None
    batch_size: Annotated[int | Literal["full"] | None, shown("N|full", "64 for images, 32 for tables")] = None
    epochs: Annotated[int | None, shown("N", "30 for images, 100 for tables")] = None
    patience: Annotated[int | None, shown("EPOCHS", "train to the end")] = None
    seed: int = 0
    processes: Annotated[int | None, shown("N", "1")] = None


@dataclass(frozen=True)
class Output:
    """What it leaves behind.

    Attributes:
        out: The folder of the run: new, empty, or left by a training that was cut short.
        overwrite: Replace the run that the folder holds; other files in it stay.
        log: Logs to write into it beside epochs.jsonl, which has one JSON object for each epoch: TensorBoard events;
            without a name, none.
        watch: Whether to measure the gradient's norm and the size of the updates at every step.
        figures: Whether to draw the figures at the end; `stepax plot` draws them later.
        resume: Go on with the run of this folder, which an interruption of any kind has cut short; its data, model and
            all other options are those that it was begun with.
    """

    out: Annotated[pathlib.Path | None, shown("FOLDER", "runs/<data>-<model>-<number>")] = None
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    log: tuple[Log, ...] = ("tensorboard",)
    watch: Annotated[Switch | None, shown("yes|no", "yes where it costs less than 3 percent of a step")] = None
    figures: bool = True
    resume: Annotated[pathlib.Path | None, shown("RUN", "begin a new run")] = None


@dataclass(frozen=True)
class Train:
    """Train a model; without any option a convolutional network on scikit-learn's digits.

    The exit status is 0 after a training that went well; 1 if the loss is not finite at its end, with the run saved all
    the same; 2 after an error.
    """

    data: OmitArgPrefixes[Data] = field(default_factory=Data)
    model: OmitArgPrefixes[Model] = field(default_factory=Model)
    optimization: OmitArgPrefixes[Optimization] = field(default_factory=Optimization)
    output: OmitArgPrefixes[Output] = field(default_factory=Output)


@dataclass(frozen=True)
class Evaluate:
    """Measure a trained model: accuracy and precision, recall and F1 of every class, or the errors of a regression.

    Attributes:
        run: The folder of the run.
        data: Other data than those of the run, of the same columns or shape, given as for training.
        part: The rows to measure.
        json: Print one JSON object instead of tables.
    """

    run: Annotated[Positional[pathlib.Path], arg(metavar="RUN")]
    data: Annotated[str | None, shown("NAME|PATH", "the run's")] = None
    part: Annotated[Part | None, shown("train|test|all", "test rows, but all of another file or folder")] = None
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


@dataclass(frozen=True)
class Predict:
    """Apply a trained model to new inputs.

    Attributes:
        run: The folder of the run.
        file: A .csv table with the columns of the training (others are left out), an .npy array or an .npz archive
            with x, an image, or a folder of images.
        out: A .csv file for the answers to all inputs, with the probability of every class.
        rows: The most rows of the table that is printed.
        resize: Bring images of another size to that of the training.
    """

    run: Annotated[Positional[pathlib.Path], arg(metavar="RUN")]
    file: Annotated[Positional[pathlib.Path], arg(metavar="FILE")]
    out: Annotated[pathlib.Path | None, shown("FILE.csv", "print a table only")] = None
    rows: int = 20
    resize: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


@dataclass(frozen=True)
class Plot:
    """Draw the figures of a run, again or for the first time.

    Attributes:
        run: The folder of the run.
        out: The folder for the figures.
        example: The test example that is followed through the layers, counted from 0.
    """

    run: Annotated[Positional[pathlib.Path], arg(metavar="RUN")]
    out: Annotated[pathlib.Path | None, shown("FOLDER", "<RUN>/figures")] = None
    example: int = 0


@dataclass(frozen=True)
class Bench:
    """Measure how fast the usual models train here, beside this machine's fastest matrix product.

    Attributes:
        workloads: What to train; without a name, all of it, which takes two minutes on two cores.
        out: A .json file for the result, with every sample.
        figure: A .png, .pdf or .svg file for the result as a figure.
        seconds: About how long each repetition trains.
        repetitions: How often each workload, and the matrix product, is timed.
    """

    workloads: Annotated[
        Positional[tuple[str, ...]], arg(metavar="[WORKLOAD ...]", help_behavior_hint=f"({WORKLOADS})")
    ] = ()
    out: Annotated[pathlib.Path | None, shown("FILE.json", "print a table only")] = None
    figure: Annotated[pathlib.Path | None, shown("FILE.png", "none")] = None
    seconds: float = 0.6
    repetitions: int = 5


@dataclass(frozen=True)
class Info:
    """Show devices, versions, the cache, and the data sets, models, losses and optimizers by name."""


COMMANDS: dict[str, Callable[..., Any]] = {
    "train": Train,
    "evaluate": Evaluate,
    "predict": Predict,
    "plot": Plot,
    "bench": Bench,
    "info": Info,
}

DESCRIPTION = """
Deep learning on JAX: train a model, measure it, use it.

`stepax train` alone trains a first model in half a minute. Every subcommand has a --help of its own. An error is one
line; with --traceback (or STEPAX_TRACEBACK=1) it comes with the way there.
"""


def parse(arguments: Sequence[str]) -> Train | Evaluate | Predict | Plot | Bench | Info:
    """The options of a command line.

    Args:
        arguments: What follows the program's name.

    Returns:
        The options of the subcommand that was asked for.

    Raises:
        SystemExit: After ``--help``.
        ValueError: There is no such subcommand or option, or a value cannot be read.
    """
    asked, help_of = next(iter(arguments), "--"), "stepax"
    if not asked.startswith("-"):
        if asked not in COMMANDS:
            raise ValueError(f"unknown subcommand {nearest(asked, COMMANDS)}")
        help_of = f"stepax {asked}"
    try:
        with one_line():
            return tyro.extras.subcommand_cli_from_dict(
                COMMANDS,
                prog="stepax",
                description=textwrap.dedent(DESCRIPTION).strip(),
                args=list(arguments),
                registry=REGISTRY,
            )
    except ValueError as error:
        raise ValueError(f"{error}; see {help_of} --help") from None
