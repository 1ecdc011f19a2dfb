"""The options of the command line: what each subcommand takes, with its defaults and its help."""

import pathlib
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from stepax.checks import nearest
from stepax.cli.agents.options import Agent, Record
from stepax.cli.parsing import REGISTRY, one_line, shown

__all__ = [
    "Agent",
    "Bench",
    "Data",
    "Evaluate",
    "Generate",
    "Info",
    "Log",
    "Model",
    "Optimization",
    "Output",
    "Plot",
    "Predict",
    "Record",
    "Train",
    "parse",
]

# Names as the tables in ``models``, ``text_models``, ``losses``, ``optimizers`` and ``stepax.bench`` have them; they
# are not read from there, so that help needs none of their imports.
MODELS = "cnn|mlp|linear|perceptron|textcnn|lstm|transformer"
ACTIVATIONS = "relu|tanh|sigmoid|elu|leaky-relu|gelu"
LOSSES = "cross-entropy|multiclass-hinge|binary-cross-entropy|hinge|mean-squared-error|mean-absolute-error|huber"
OPTIMIZERS = "sgd|momentum|nesterov|adagrad|rmsprop|adam|adamw|lion"
SCHEDULES = "constant|cosine|linear|exponential"
WORKLOADS = "mlp|mlp-32|cnn|cnn-deep|lstm|gru|tcn|tcn-last|transformer|population|population-32"

Log = Literal["tensorboard"]
Switch = Literal["yes", "no"]
Part = Literal["train", "test", "all"]


@dataclass(frozen=True)
class Data:
    """What to learn from.

    Attributes:
        data: A name (`stepax info` lists them), a .csv table, an .npz archive of x and y, a folder with one folder of
            images for each class, or a .txt file, a text of which a language model is made.
        target: The column of a .csv table to predict.
        columns: The columns of a .csv table to predict it from.
        drop: The columns of a .csv table to leave out, such as text and row numbers.
        task: What the target of a .csv table or an archive is, where the rule (text and few whole numbers are classes)
            guesses wrong.
        size: Height and width in pixels to bring the images of a folder to.
        text: The column of a .csv table that holds texts, to predict their class, the target, from.
        encoding: How the characters of a text, or of a table with texts, are written as bytes.
        tokens: What texts are cut into, from the training rows alone.
        vocabulary: The most tokens to know: the most frequent ones; the rest is unknown. Of byte-pairs nothing is
            unknown, and at least 258 are needed, with the 256 bytes.
        context: How many tokens a model sees: a language model before each token, and of the texts of a table their
            beginnings.
        test_fraction: Share of the rows held out for testing, for data without test rows of their own; of a text its
            end.
        validation: Share of the training rows that is held out and measured after every epoch, stratified by class; of
            a text the end of its training part.
        class_weights: Weigh the training examples so that every class counts equally.
        standardize: Whether inputs (and the targets of a regression) are brought to mean 0 and deviation 1, as the
            training rows have it; a part of the saved model.
    """

    data: Annotated[str | None, shown("NAME|PATH", "digits")] = None
    target: Annotated[str | None, shown("COLUMN", "none; a .csv table needs it")] = None
    columns: Annotated[tuple[str, ...] | None, shown("COLUMN ...", "all but the target")] = None
    drop: Annotated[tuple[str, ...] | None, shown("COLUMN ...", "none")] = None
    task: Annotated[
        Literal["classification", "regression"] | None, shown("classification|regression", "by the rule")
    ] = None
    size: Annotated[tuple[int, int] | None, shown("HEIGHT WIDTH", "as they are")] = None
    text: Annotated[str | None, shown("COLUMN", "none")] = None
    encoding: Annotated[str | None, shown("NAME", "utf-8")] = None
    tokens: Annotated[
        Literal["characters", "words", "byte-pairs"] | None,
        shown("characters|words|byte-pairs", "characters for a text, words for texts"),
    ] = None
    vocabulary: Annotated[int | None, shown("N", "all of them, and 1000 byte-pairs")] = None
    context: Annotated[int | None, shown("N", "64 for a text, for texts as the longest but at most 400")] = None
    test_fraction: Annotated[float | None, shown("FRACTION", "0.2, and 0.1 for a text")] = None
    validation: Annotated[
        float | None, shown("FRACTION", "0.1, and 0 for fewer than 100 rows, or characters of a text")
    ] = None
    class_weights: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    standardize: Annotated[
        Switch | None, shown("yes|no", "yes for tables, no for images, texts and the perceptron")
    ] = None


@dataclass(frozen=True)
class Model:
    """What learns.

    Attributes:
        model: The kind of model. linear is logistic or linear regression, perceptron threshold units trained by
            Rosenblatt's rule; the last three are for texts.
        features: Channels of the convolutions, one stage with pooling after each; of textcnn for each kernel.
        dense: Widths of the hidden dense layers; without a number, none.
        width: Width of the vectors that stand for tokens, and of the layers of an lstm or a transformer.
        layers: How many layers, each over the one before.
        heads: How many heads the attention of a transformer has.
        kernel: Height and width in pixels of each convolution's window; of textcnn the tokens that each kind of window
            spans.
        dropout: Fraction of the values set to zero in training.
        normalize: Whether hidden layers are batch-normalised; of an agent, whether observations are brought to mean 0
            and deviation 1 by all that was seen.
        activation: The non-linearity.
        loss: What is minimised. Those of a regression are measured in deviations of the target.
    """

    model: Annotated[
        str | None, shown(MODELS, "cnn for images, mlp for tables, transformer for a text, textcnn for texts")
    ] = None
    features: Annotated[tuple[int, ...] | None, shown("WIDTH ...", "32 64 for cnn, 100 for textcnn")] = None
    dense: Annotated[tuple[int, ...] | None, shown("WIDTH ...", "128 for cnn, 64 64 for mlp")] = None
    kernel: Annotated[tuple[int, ...] | None, shown("SIZE ...", "3 3 for cnn, 3 4 5 for textcnn")] = None
    width: Annotated[int | None, shown("WIDTH", "128, and 256 for an lstm that goes on with a text")] = None
    layers: Annotated[int | None, shown("N", "transformer 4 and lstm 2 for a text, 2 and 1 for texts")] = None
    heads: Annotated[int | None, shown("N", "4 for transformer")] = None
    dropout: Annotated[
        float | None,
        shown("FRACTION", "cnn 0.3, mlp 0.2, textcnn 0.5; for texts lstm 0.5, transformer 0.1; 0 for a text"),
    ] = None
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
            0.0003 for lion, 0.05 for sgd, momentum, nesterov and adagrad, 1 for the perceptron where none is given; a
            third of it for a transformer; of an agent by agent and environment.
        momentum: How much of the last step goes on.
        weight_decay: How fast weights shrink.
        schedule: How the learning rate falls over the training: not at all, along half a cosine or a line to 0, or
            exponentially to a hundredth.
        warmup: Share of all steps in which the rate first rises to its height.
        batch_size: Examples a step, or "full" for all of them; of a text pieces as long as the context. Processes share
            them equally: where there are several the default is rounded up.
        epochs: How many times to go through the training rows; of a text, whose pieces are drawn at random, 200 steps
            count as an epoch.
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
    batch_size: Annotated[
        int | Literal["full"] | None, shown("N|full", "64 for images, 32 for tables, 12 for a text, 50 for texts")
    ] = None
    epochs: Annotated[int | None, shown("N", "30 for images, 100 for tables, 10 for texts")] = None
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
    """Train a model; without any option a convolutional network on scikit-learn's digits; with --env an agent.

    The exit status is 0 after a training that went well; 1 if the loss is not finite at its end, with the run saved all
    the same; 2 after an error.
    """

    data: OmitArgPrefixes[Data] = field(default_factory=Data)
    model: OmitArgPrefixes[Model] = field(default_factory=Model)
    agent: OmitArgPrefixes[Agent] = field(default_factory=Agent)
    optimization: OmitArgPrefixes[Optimization] = field(default_factory=Optimization)
    output: OmitArgPrefixes[Output] = field(default_factory=Output)


@dataclass(frozen=True)
class Evaluate:
    """Measure a trained model: accuracy and precision, recall and F1 of every class, or the errors of a regression.

    Of a language model these are loss, perplexity and bits per character; of an agent the returns of episodes.

    Attributes:
        run: The folder of the run.
        data: Other data than those of the run, of the same columns or shape, given as for training.
        encoding: How the characters of --data are written as bytes, where these are texts.
        part: The rows to measure.
        episodes: How many episodes an agent plays, taking the actions that it thinks best.
        gymnasium: Whether it plays in Gymnasium's own environment, too.
        json: Print one JSON object instead of tables.
    """

    run: Annotated[Positional[pathlib.Path], arg(metavar="RUN")]
    data: Annotated[str | None, shown("NAME|PATH", "the run's")] = None
    encoding: Annotated[str | None, shown("NAME", "as in the training")] = None
    part: Annotated[Part | None, shown("train|test|all", "test rows, but all of another file or folder")] = None
    episodes: Annotated[int | None, shown("N", "100")] = None
    gymnasium: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


@dataclass(frozen=True)
class Predict:
    """Apply a trained model to new inputs.

    Attributes:
        run: The folder of the run.
        file: A .csv table with the columns of the training (others are left out), an .npy array or an .npz archive
            with x, an image, or a folder of images; for a model of texts also a .txt file with a text on each line.
        encoding: How the characters of a file with texts are written as bytes.
        out: A .csv file for the answers to all inputs, with the probability of every class.
        rows: The most rows of the table that is printed.
        resize: Bring images of another size to that of the training.
    """

    run: Annotated[Positional[pathlib.Path], arg(metavar="RUN")]
    file: Annotated[Positional[pathlib.Path], arg(metavar="FILE")]
    encoding: Annotated[str | None, shown("NAME", "as in the training")] = None
    out: Annotated[pathlib.Path | None, shown("FILE.csv", "print a table only")] = None
    rows: int = 20
    resize: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


@dataclass(frozen=True)
class Generate:
    """Let a language model go on with a text.

    Attributes:
        run: The folder of the run.
        prompt: The text to go on with, of tokens that the model knows; without one a line break, for a model of words a
            full stop. Of a longer prompt than the context the end counts.
        length: How many tokens to make.
        temperature: Below 1 likely tokens become likelier still, above 1 all become alike; 0 takes the likeliest.
        top_k: Choose among so many of the likeliest tokens.
        top_p: Choose among the likeliest tokens whose probabilities reach this sum.
        samples: How many texts to make.
        seed: The root of all choices.
        json: Print one JSON object at the end instead of the text as it is made.
    """

    run: Annotated[Positional[pathlib.Path], arg(metavar="RUN")]
    prompt: Annotated[str | None, shown("TEXT", "a line break")] = None
    length: int = 500
    temperature: float = 0.8
    top_k: Annotated[int | None, shown("N", "all")] = None
    top_p: Annotated[float | None, shown("FRACTION", "all")] = None
    samples: int = 1
    seed: int = 0
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


@dataclass(frozen=True)
class Plot:
    """Draw the figures of a run, again or for the first time; of an agent also an episode, which moves.

    Attributes:
        run: The folder of the run.
        out: The folder for the figures.
        example: The test example that is followed through the layers, counted from 0; of an agent the episode.
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
    """Show devices, versions, the cache, and all that has a name: data sets, models, losses, environments, agents."""


COMMANDS: dict[str, Callable[..., Any]] = {
    "train": Train,
    "evaluate": Evaluate,
    "predict": Predict,
    "generate": Generate,
    "plot": Plot,
    "record": Record,
    "bench": Bench,
    "info": Info,
}

DESCRIPTION = """
Deep learning on JAX: train a model or an agent, measure it, use it.

`stepax train` alone trains a first model in half a minute. Every subcommand has a --help of its own. An error is one
line; with --traceback (or STEPAX_TRACEBACK=1) it comes with the way there.
"""


def parse(arguments: Sequence[str]) -> Train | Evaluate | Predict | Generate | Plot | Record | Bench | Info:
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
