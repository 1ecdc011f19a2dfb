"""What a trained model is worth on data: by class, or the errors of a regression."""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from rich.markup import escape
from rich.table import Table

import stepax as sx
from stepax.cli.losses import LOSSES
from stepax.cli.plan import Plan
from stepax.cli.runs import Opened
from stepax.cli.tokens import UNKNOWN, batch_of, vocabulary
from stepax.data.dataset import Rows
from stepax.typing import Array

__all__ = ["flat", "loss_name", "measures", "tables", "told"]


def measures(run: Opened, rows: Rows) -> tuple[dict[str, Any], np.ndarray | None]:
    """Measures a model.

    Args:
        run: The model.
        rows: ``x`` and ``y``, as the model takes them.

    Returns:
        The measures by name, and the model's output ``[n, width]``, which would be too large for a text: ``None``.
        ``classes`` holds a dict of ``precision``,
        ``recall``, ``f1`` and ``examples`` for every class or label.

    Raises:
        ValueError: There are no rows.
    """
    if not len(rows["x"]):
        raise ValueError("there are no rows to measure; for data without test rows try --part train")
    kind = run.plan.subject.kind
    if kind == "tokens":
        return _of_text(run, rows), None
    output = jnp.asarray(sx.predict(run.built.learner, run.state, rows["x"]))
    loss = sx.evaluate(run.built.learner, run.state, rows)["loss"]
    named: dict[str, Any] = {"examples": len(rows["x"]), "loss": loss}
    if kind == "numbers":
        return named | _errors(output, rows), np.asarray(output)
    return named | (_labels if kind == "labels" else _classes)(run.plan, output, rows), np.asarray(output)


def _of_text(run: Opened, rows: Rows) -> dict[str, Any]:
    """Loss and perplexity of a token, and where tokens are written as they were read the bits of a character."""
    from stepax.text.language_model import bits_per_character

    subject, counted = run.plan.subject, rows.get("weight", np.ones(rows["y"].shape))
    size = batch_of(subject, run.plan.network.outputs)
    loss = sx.evaluate(run.built.learner, run.state, rows, batch_size=size)["loss"]
    total = int(counted.sum())
    named = {"tokens": total, "loss": loss, "perplexity": _perplexity(loss)}
    tokens = rows["y"][counted > 0]
    if _is_exact(run.plan, tokens):
        text = vocabulary(subject.tokens or {}).decode(tokens)
        named["bits_per_character"] = bits_per_character(loss, len(text) / total)
    return named


def _perplexity(loss: float) -> float:
    from stepax.text.language_model import perplexity

    with np.errstate(over="ignore"):
        return float(perplexity(loss))


def _is_exact(plan: Plan, tokens: np.ndarray) -> bool:
    """Whether the text comes back: words are in small letters with blanks between, and what is unknown is lost."""
    return (plan.subject.tokens or {}).get("split") in ("characters", "byte_pairs") and not (tokens == UNKNOWN).any()


def told(plan: Plan, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the history as it is shown: the loss under its name, of texts with what it means beside it."""
    shown: dict[str, Any] = {}
    for name, value in row.items():
        group, _, title = name.rpartition("/")
        prefix = f"{group}/" if group else ""
        shown[f"{prefix}{loss_name(plan)}" if title == "loss" else name] = value
        if title == "loss" and plan.subject.kind == "tokens":
            if (plan.subject.tokens or {}).get("split") == "characters":
                shown[f"{prefix}bits_per_character"] = value / math.log(2)
            else:
                shown[f"{prefix}perplexity"] = _perplexity(value)
    return shown


def _errors(output: Array, rows: Rows) -> dict[str, float]:
    return {
        "mean_absolute_error": float(jnp.mean(sx.metrics.absolute_error(output, rows))),
        "root_mean_squared_error": float(sx.metrics.root_mean_squared_error(output, rows)),
        "r_squared": float(sx.metrics.r_squared(output, rows)),
    }


def _classes(plan: Plan, output: Array, rows: Rows) -> dict[str, Any]:
    named = {"accuracy": float(jnp.mean(sx.metrics.accuracy(output, rows)))}
    functions = {"precision": sx.metrics.precision, "recall": sx.metrics.recall, "f1": sx.metrics.f1}
    for name, function in functions.items():
        named[f"macro_{name}"] = float(function(output, rows, average=sx.metrics.macro))
    # A threshold unit's answers are no scores that could be ranked.
    if output.shape[-1] == 1 and plan.network.loss in LOSSES and len(np.unique(rows["y"])) == 2:
        named["roc_auc"] = float(sx.metrics.roc_auc(output, rows))
    by_class = {name: np.asarray(function(output, rows)) for name, function in functions.items()}
    counts = np.bincount(rows["y"], minlength=len(plan.subject.classes or ()))
    table = {
        str(label): {name: float(values[i]) for name, values in by_class.items()} | {"examples": int(counts[i])}
        for i, label in enumerate(plan.subject.classes or ())
    }
    return {**named, "classes": table}


def _labels(plan: Plan, output: Array, rows: Rows) -> dict[str, Any]:
    """Every label by itself, and the share of rows in which all of them are right."""
    columns = rows["y"].shape[1]
    # The threshold unit says 0 or 1; the losses leave logits and scores. Both are yes above 0.
    table = {}
    for i, label in enumerate(plan.subject.classes or map(str, range(columns))):
        pair = output[:, i], {"y": rows["y"][:, i]}
        functions = {"precision": sx.metrics.precision, "recall": sx.metrics.recall, "f1": sx.metrics.f1}
        row = {"accuracy": float(jnp.mean(sx.metrics.accuracy(*pair)))}
        row |= {name: float(function(*pair)[1]) for name, function in functions.items()}
        table[label] = {**row, "examples": int(rows["y"][:, i].sum())}
    right = np.asarray(output > 0) == (rows["y"] > 0)
    return {"accuracy": float(right.mean()), "rows_all_right": float(right.all(axis=1).mean()), "classes": table}


def flat(named: dict[str, Any], prefix: str) -> dict[str, float]:
    """The measures that are single numbers, under a prefix such as ``test/``."""
    return {f"{prefix}{name}": value for name, value in named.items() if name not in ("classes", "examples", "tokens")}


def loss_name(plan: Plan) -> str:
    """What the loss is called: that of standardized targets has another unit than the errors."""
    return "loss (standardized)" if plan.network.target_scaling is not None else "loss"


def tables(named: dict[str, Any], title: str, loss: str = "loss") -> list[Table]:
    """The measures as tables for a terminal: single numbers, then classes.

    Args:
        named: What :func:`measures` found.
        title: The title of the first table.
        loss: What the loss is called.
    """
    titles = {**NAMES, "loss": loss}
    summary = Table(title=escape(title), title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in named.items():
        if name != "classes":
            text = f"{value:,}" if isinstance(value, int) else _digits(value)
            summary.add_row(titles.get(name, name.replace("_", " ")), text)
    if "classes" not in named:
        return [summary]
    headings = list(next(iter(named["classes"].values())))
    by_class = Table("class", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in headings:
        by_class.add_column(heading, justify="right")
    for label, row in named["classes"].items():
        by_class.add_row(escape(label), *(f"{v:,}" if isinstance(v, int) else f"{v:.3f}" for v in row.values()))
    return [summary, by_class]


def _digits(value: float) -> str:
    """Five significant digits, of large numbers all that stand before the point."""
    if not 1e-4 <= abs(value) < 1e15:  # 0, NaN and infinities too
        return f"{value:.5g}"
    return f"{value:,.{max(0, 4 - math.floor(math.log10(abs(value))))}f}"


NAMES = {
    "root_mean_squared_error": "root mean squared error",
    "r_squared": "R²",
    "roc_auc": "area under the ROC curve",
    "macro_f1": "macro F1",
    "rows_all_right": "rows with all labels right",
}
