"""The figures of a run: which there are for it, and the arrays they are drawn from."""

import pathlib
from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

import stepax as sx
from stepax import plot
from stepax.cli.console import warn
from stepax.cli.finite import note_outputs
from stepax.cli.runs import Opened
from stepax.data import Scaling
from stepax.data.dataset import Rows
from stepax.plot.probes import probe_accuracy

__all__ = ["draw"]

# Examples for the probes: enough for a ranking of layers, few enough for seconds; and the most numbers of all layers
# together, half a gigabyte of them.
EXAMPLES, NUMBERS = 500, 1 << 27


def draw(run: Opened, train: Rows, test: Rows, folder: pathlib.Path, example: int = 0) -> Iterator[pathlib.Path]:
    """Draws every figure that a run has something to show in.

    Of a model whose outputs are not finite that is the learning curves alone; a warning says so. Of texts with classes
    it is learning curves and confusion matrix, of a text to go on with the learning curves.

    Args:
        run: The run.
        train: Training rows, for the probes.
        test: Test rows.
        folder: Where to.
        example: The test row that is followed through the layers.

    Yields:
        The files, one after the other.

    Raises:
        ValueError: There is no such example.
    """
    rows = test if len(test["x"]) else train
    if not 0 <= example < len(rows["x"]):
        raise ValueError(f"--example: expected a row from 0 to {len(rows['x']) - 1}, got {example}")
    kind = run.plan.subject.kind
    yield plot.save(_curves(run), folder / "learning_curves.png")
    if kind == "tokens":
        return
    output = sx.predict(run.built.learner, run.state, rows["x"])
    if not note_outputs(output):
        warn("figures that need finite outputs are left out: all but the learning curves")
        return
    if kind in ("classes", "binary"):
        matrix = np.asarray(sx.metrics.confusion_matrix(output, rows))
        yield plot.save(plot.confusion(matrix, run.plan.subject.classes or ()), folder / "confusion_matrix.png")
    if kind == "numbers" and output.shape[1] == 1:
        name = str(run.plan.subject.reading.get("target", "target"))
        figure = plot.predicted_against_true(output[:, 0], rows["y"].reshape(-1), name=name)
        yield plot.save(figure, folder / "predictions.png")
    if run.plan.subject.form != "rows":
        return
    if (kernel := _first_kernel(run)) is not None:
        yield plot.save(_filters(run, kernel), folder / "filters.png")
    if run.plan.network.loss is not None:
        yield from _layers(run, train, rows, folder, example)


def _curves(run: Opened) -> Figure:
    history = run.record["history"]
    best = None
    if run.plan.course.patience is not None:
        steps = history["step"]
        best = history["epoch"][steps.index(int(run.state.step))] if int(run.state.step) in steps else None
    units = {"loss": "nats"} if (run.plan.network.loss or "").endswith("cross-entropy") else {}
    if run.plan.network.target_scaling is not None:
        units["loss"] = "standardized"
    return plot.learning_curves(history, best=best, units=units)


def _first_kernel(run: Opened) -> np.ndarray | None:
    """The first layer's weights ``[height, width, channels, units]``, of a model on images."""
    shape = run.plan.subject.shape
    params = run.state.params
    names = [name for name in ("conv_0", "dense_0", "head") if name in params]
    if len(shape) != 3:
        return None
    kernel = np.asarray(params[names[0]]["kernel"] if names else params["kernel"])
    return kernel if kernel.ndim == 4 else kernel.reshape(*shape, -1)


def _filters(run: Opened, kernel: np.ndarray) -> Figure:
    """Units of a linear model stand for classes, and so have names."""
    classes = run.plan.subject.classes
    named = run.plan.network.model == "linear" and classes is not None and kernel.shape[-1] == len(classes)
    return plot.filters(kernel, titles=classes if named else None)


def _layers(run: Opened, train: Rows, rows: Rows, folder: pathlib.Path, example: int) -> Iterator[pathlib.Path]:
    """The figures of what happens inside."""
    subject = run.plan.subject
    one = _activations(run, rows["x"][example : example + 1])
    if any(values.ndim == 4 for values in one.values()):
        maps = {name: values[0] for name, values in one.items()}
        what = f"Feature maps of example {example}{_label(run, rows, example)}"
        yield plot.save(plot.feature_maps(rows["x"][example], maps, title=what), folder / "feature_maps.png")
    if subject.kind not in ("classes", "binary"):
        return
    total = sum(values.size for values in one.values()) + rows["x"][0].size
    count = max(50, min(EXAMPLES, NUMBERS // (2 * total)))
    first, second = _some(train, count), _some(rows, count)
    if len(np.unique(first["y"])) < 2:
        return
    fitted = {"input": _scaled(run, first["x"]), **_activations(run, first["x"])}
    tested = {"input": _scaled(run, second["x"]), **_activations(run, second["x"])}
    if immense := next((name for name in fitted if not _is_bounded(fitted[name], tested[name])), None):
        warn(f"representation is left out: the values of {immense} are too large to be compared")
        return
    accuracy = {name: probe_accuracy(fitted[name], first["y"], tested[name], second["y"]) for name in fitted}
    name = "standardized input" if run.plan.network.standardize else "input"
    accuracy = {name: accuracy.pop("input"), **accuracy}
    shown = rows["x"][example] if rows["x"].ndim == 4 else _scaled(run, rows["x"][example : example + 1])[0]
    figure = plot.representation(
        {name: shown, **{layer: values[0] for layer, values in one.items()}},
        accuracy,
        classes=subject.classes,
        columns=subject.columns,
        rows=(len(first["y"]), len(second["y"])),
        chance=float(np.bincount(second["y"]).max() / len(second["y"])),
        title=f"From input to answer: example {example}{_label(run, rows, example)}",
    )
    yield plot.save(figure, folder / "representation.png")


def _is_bounded(*parts: np.ndarray) -> bool:
    """Whether the squares of all values, which the probes need, are finite in float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        return all(np.isfinite(np.square(part, dtype=np.float32).sum()) for part in parts)


def _label(run: Opened, rows: Rows, example: int) -> str:
    """What an example is, and what the model takes it for."""
    classes = run.plan.subject.classes
    if classes is None or rows["y"].ndim != 1:
        return ""
    output = sx.predict(run.built.learner, run.state, rows["x"][example : example + 1])[0]
    answer = int(output[0] > 0) if len(output) == 1 else int(output.argmax())
    return f": true {classes[rows['y'][example]]}, predicted {classes[answer]}"


def _some(rows: Rows, count: int) -> Rows:
    """At most ``count`` rows, spread evenly over all."""
    places = np.linspace(0, len(rows["x"]) - 1, min(count, len(rows["x"]))).astype(int)
    return {name: values[places] for name, values in rows.items()}


def _activations(run: Opened, x: np.ndarray) -> dict[str, np.ndarray]:
    """Every layer's activations for raw inputs."""
    variables = {name: collection for name, collection in run.state.variables.items() if name != "scaling"}
    return plot.layer_activations(run.built.module, {"params": run.state.params, **variables}, _scaled(run, x))


def _scaled(run: Opened, x: np.ndarray) -> np.ndarray:
    """Raw inputs as the module inside the scaled model sees them."""
    scaling = run.state.variables.get("scaling", {}).get("inputs")
    return x if scaling is None else Scaling(*(np.asarray(scaling[name]) for name in ("mean", "scale"))).apply(x)
