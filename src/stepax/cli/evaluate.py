"""``stepax evaluate``: what a trained model is worth."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from stepax.cli import texts
from stepax.cli.console import print_json, print_tables
from stepax.cli.finite import note_loss, note_outputs
from stepax.cli.kinds import is_agent
from stepax.cli.measures import loss_name, measures, tables
from stepax.cli.options import Evaluate
from stepax.cli.plan import Subject
from stepax.cli.reading import load, names, without_advice
from stepax.cli.runs import Opened, dataset_of, open_run
from stepax.cli.tokens import encoded, note_lost
from stepax.data import Dataset
from stepax.data.dataset import Rows

__all__ = ["main", "rows_of"]


def main(options: Evaluate) -> None:
    """Prints the measures of a run on its own test rows, or on other data; warns of outputs that are not finite.

    Raises:
        ValueError: The folder or the data do not fit.
    """
    if is_agent(options.run):
        from stepax.cli.agents import evaluate  # what is for agents is imported only for them

        evaluate.main(options)
        return
    if options.episodes is not None or options.gymnasium:
        option = "--gymnasium" if options.gymnasium else "--episodes"
        raise ValueError(f"{option} is for the run of an agent, and {options.run} is a model's")
    run = open_run(options.run)
    rows, what = rows_of(run, options.data, options.part, options.encoding)
    named, output = measures(run, _in_tokens(run.plan.subject, rows, what if options.data is None else options.data))
    if output is None:
        note_loss(named["loss"])
    else:
        note_outputs(output)
    if options.json:
        print_json({"run": str(options.run), "data": what, **named})
        return
    print_tables(tables(named, f"{options.run}: {what}", loss_name(run.plan)))


def _in_tokens(subject: Subject, rows: Rows, what: str) -> Rows:
    """Rows as the model takes them; of texts what is lost is told."""
    if subject.form == "rows" or not len(rows["x"]):
        return rows
    found = encoded(subject, rows, what)
    note_lost(subject, found)
    return found.rows


def rows_of(run: Opened, data: str | None, part: str | None, encoding: str | None = None) -> tuple[Rows, str]:
    """The rows to measure, with labels as the model counts them, and what to call them.

    Args:
        run: The model.
        data: Other data than the run's, or ``None``.
        part: ``"train"``, ``"test"`` or ``"all"``; ``None``: all rows of another file or folder, else test rows.
        encoding: How the characters of other data are written; ``None``: as in the training.

    Raises:
        ValueError: The data have another shape or other classes than those of the training, or no encoding.
        FileNotFoundError: There is nothing at the path.
    """
    if encoding is not None and (data is None or run.plan.subject.form == "rows"):
        whose = "texts of another file: pass --data FILE" if data is None else f"texts, and {run.folder} has none"
        raise ValueError(f"--encoding is for {whose}")
    if data is None:
        dataset, name = dataset_of(run), run.plan.subject.name
    else:
        is_name = data in names()
        part = part or ("test" if is_name else "all")
        try:
            dataset, name = _other(run, data, encoding, whole=not is_name and part == "all"), data
        except ValueError as error:  # which columns and sizes there are to be is the run's matter
            raise ValueError(without_advice(str(error))) from error
        _check(run, dataset, data)
    part = part or "test"
    rows = dataset.train if part == "train" else dataset.test
    if part == "all":
        rows = {key: np.concatenate([dataset.train[key], dataset.test[key]]) for key in dataset.train}
    what = "part" if run.plan.subject.form == "text" else "rows"
    return _relabelled(run, rows, dataset), f"{part} {what} of {name}"


def _other(run: Opened, data: str, encoding: str | None, *, whole: bool) -> Dataset:
    """Other data, read as those of the run were."""
    subject = run.plan.subject
    suffix = Path(data).suffix.lower()
    if suffix == ".csv" and "target" not in subject.reading:
        raise ValueError(f"{data} is a table, and {run.folder} was not trained on one: its target column is not known")
    of_texts = {name: subject.reading[name] for name in ("text", "target", "encoding") if name in subject.reading}
    written = {} if encoding is None else {"encoding": encoding}
    of_texts |= written
    if (form := texts.form_of(data, of_texts if suffix == ".csv" else {})) != subject.form:
        raise ValueError(f"{data} is {texts.WORDS[form]}, and the model was trained on {texts.WORDS[subject.form]}")
    task = "regression" if subject.kind == "numbers" else "classification"
    takes: dict[str, Any] = {**written}  # which published data refuse
    if data not in names():
        resized = {"size": subject.shape[:2]} if "size" in subject.reading else {}
        by_suffix: dict[str, dict[str, Any]] = {
            ".csv": {"target": subject.reading.get("target"), "task": task, "columns": subject.columns},
            ".npz": {"task": task},
        }
        if form != "rows":
            by_suffix = {".csv": of_texts, ".txt": {name: of_texts[name] for name in of_texts if name == "encoding"}}
        takes = by_suffix.get(suffix, resized)
    if whole:
        # What has test rows of its own refuses another share; any other fault comes up again.
        with contextlib.suppress(ValueError):
            return load(data, {**takes, "test_fraction": 0})
    return load(data, takes)


def _check(run: Opened, dataset: Dataset, data: str) -> None:
    """Refuses data of another form than those of the training."""
    subject = run.plan.subject
    if subject.form != "rows":
        return
    shape, columns = dataset.train["x"].shape[1:], dataset.features
    if subject.columns and columns and set(columns) == set(subject.columns):
        return
    if subject.columns and columns and columns != subject.columns:
        missing = [name for name in subject.columns if name not in columns]
        extra = [name for name in columns if name not in subject.columns]
        raise ValueError(f"{data} has other columns than the training: without {missing}, and with {extra} besides")
    if shape != subject.shape:
        now, was = ("×".join(map(str, s)) for s in (shape, subject.shape))
        raise ValueError(f"{data} has inputs of shape {now}, and the model was trained on {was}")


def _relabelled(run: Opened, rows: Rows, dataset: Dataset) -> Rows:
    """The rows with columns in the order of the training, and labels counted as there."""
    subject = run.plan.subject
    x, y = rows["x"], rows["y"]
    if subject.form == "text":
        return rows
    if subject.columns and dataset.features and dataset.features != subject.columns:
        x = x[:, [dataset.features.index(name) for name in subject.columns]]
    if (subject.kind == "numbers") != (dataset.task == "regression") or y.shape[1:] != subject.target_shape:
        raise ValueError(f"{dataset.name} has another kind of target than the training: {dataset.task}, {y.shape[1:]}")
    if dataset.classes is None or subject.classes is None or dataset.classes == subject.classes:
        return {"x": x, "y": y}
    unknown = [name for name in dataset.classes if name not in subject.classes]
    if unknown or y.ndim != 1:
        known = ", ".join(subject.classes)
        raise ValueError(f"{dataset.name} has the class {unknown[0]!r}, which the training had not: it had {known}")
    return {"x": x, "y": np.array([subject.classes.index(name) for name in dataset.classes], np.int32)[y]}
