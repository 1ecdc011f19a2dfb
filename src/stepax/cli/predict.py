"""``stepax predict``: a trained model on new inputs."""

import csv
import pathlib
import textwrap

import numpy as np
from rich.markup import escape
from rich.table import Table

import stepax as sx
from stepax.checks import check_count
from stepax.cli.console import ERR, OUT, program
from stepax.cli.finite import note_outputs
from stepax.cli.losses import probabilities
from stepax.cli.options import Predict
from stepax.cli.plan import Plan, Subject
from stepax.cli.reading import as_options, without_advice
from stepax.cli.runs import open_run
from stepax.cli.texts import objects, read_file
from stepax.cli.tokens import encoded, note_lost
from stepax.data.inputs import Inputs, read_inputs

__all__ = ["answers", "main"]

WIDEST = 60
"""Characters of a text that a terminal's table shows."""

Columns = dict[str, list[str]]
"""Answers as text: by the name of the column, a cell for each input."""


def main(options: Predict) -> None:
    """Prints a table of answers, and writes all of them to a file where one is asked for.

    Raises:
        ValueError: The folder or the inputs do not fit.
        FileNotFoundError: There are no inputs.
    """
    check_count("--rows", options.rows, 0)
    if options.out is not None and options.out.suffix.lower() != ".csv":
        raise ValueError(f"--out: expected a file called .csv, got {options.out}")
    run = open_run(options.run)
    subject = run.plan.subject
    if subject.form == "text":
        what = f"{options.run} is a language model, which goes on with a text"
        raise ValueError(f"{what}: `{program()} generate {options.run} --prompt TEXT`")
    with as_options():
        inputs = _inputs(options, subject)
    known = {subject.reading.get("target"), *subject.reading.get("drop", ())}
    unexpected = [name for name in inputs.left_out if name not in known]
    if unexpected:
        ERR.print(f"left out, not among the columns of the training: {', '.join(unexpected)}", markup=False)
    output = sx.predict(run.built.learner, run.state, inputs.x)
    note_outputs(output)
    columns = answers(run.plan, inputs, output)
    if options.out is not None:
        write(options.out, columns)
        ERR.print(f"{len(inputs.names):,} answers in {options.out}", markup=False)
    if options.rows:
        OUT.print(_table(columns, options.rows, hint=options.out is None))


def _inputs(options: Predict, subject: Subject) -> Inputs:
    """What the file holds, as the model takes it."""
    if subject.form == "rows":
        if options.encoding is not None:
            raise ValueError(f"encoding is for texts, and {options.run} was trained on none")
        return read_inputs(options.file, subject.shape, subject.columns, resize=options.resize)
    if options.resize:
        raise ValueError(f"resize is for images, and {options.run} was trained on texts")
    reading = subject.reading
    try:
        texts = read_file(options.file, reading.get("text"), options.encoding or reading.get("encoding", "utf-8"))
    except ValueError as error:
        raise ValueError(without_advice(str(error))) from error
    found = encoded(subject, {"x": objects(texts)})
    note_lost(subject, found)
    return Inputs(found.rows["x"], texts)


def answers(plan: Plan, inputs: Inputs, output: np.ndarray) -> Columns:
    """The answers that a model's output stands for.

    Args:
        plan: How the model was made.
        inputs: What it was asked about.
        output: What it says, ``[n, width]``.

    Returns:
        ``input``; then ``prediction`` (a class), or a column for each label or number; then the probabilities
        ``p(<class>)`` where the loss gives any.
    """
    subject = plan.subject
    columns: Columns = {"input": list(inputs.names)}
    shares = probabilities(plan.network.loss or "", output)
    if subject.kind == "numbers":
        names = [str(subject.reading.get("target", "prediction"))]
        if output.shape[1] > 1:
            names = [f"{names[0]}[{i}]" for i in range(output.shape[1])]
        return columns | {name: [f"{value:.6g}" for value in output[:, i]] for i, name in enumerate(names)}
    classes = subject.classes or tuple(map(str, range(output.shape[1])))
    if subject.kind == "labels":
        columns |= {name: ["yes" if value > 0 else "no" for value in output[:, i]] for i, name in enumerate(classes)}
    else:
        best = output[:, 0] > 0 if output.shape[1] == 1 else output.argmax(axis=1)
        columns["prediction"] = [classes[int(i)] for i in best]
    if shares is not None:
        columns |= {f"p({name})": [f"{value:.6f}" for value in shares[:, i]] for i, name in enumerate(classes)}
    return columns


def write(path: pathlib.Path, columns: Columns) -> None:
    """Writes columns as a .csv table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _table(columns: Columns, rows: int, *, hint: bool) -> Table:
    """The first rows for a terminal; of many classes the probability of the answer only."""
    total = len(columns["input"])
    shown = dict(columns)
    shares = {name: values for name, values in columns.items() if name.startswith("p(")}
    if len(shares) > 4 and "prediction" in columns:
        shown = {name: values for name, values in columns.items() if name not in shares}
        shown["probability"] = [shares[f"p({label})"][row] for row, label in enumerate(columns["prediction"])]
    rest = "; --out FILE.csv writes them all" if hint else ""
    more = f"{rows:,} of {total:,} answers{rest}" if total > rows else None
    table = Table(box=None, padding=(0, 2, 0, 0), caption=more, caption_justify="left")
    for name in shown:
        table.add_column(escape(name), justify="left" if name in ("input", "prediction") else "right")
    for row in range(min(rows, total)):
        table.add_row(*(escape(_short(name, values[row])) for name, values in shown.items()))
    return table


def _short(name: str, cell: str) -> str:
    """Texts in one line, and probabilities with fewer digits than in a file."""
    if name == "input":
        return textwrap.shorten(cell, WIDEST, placeholder=" …") or cell[:WIDEST]
    is_share = name.startswith("p(") or name == "probability"
    return cell[:-2] if is_share and cell != "nan" else cell
