"""``stepax train --env``: the training of an agent, from options to a folder with all that is left of it."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

import stepax as sx
from stepax import data, record
from stepax.cli.agents.environments import place, spaces
from stepax.cli.agents.learners import BuiltAgent, build
from stepax.cli.agents.plan import AgentPlan, planned
from stepax.cli.agents.play import EPISODES, measured, note_left, summary, table
from stepax.cli.agents.runs import OpenedAgent
from stepax.cli.announcing import farewell
from stepax.cli.console import ERR, print_tables, say
from stepax.cli.finite import outcome
from stepax.cli.interruption import interruptible
from stepax.cli.needs import compiling, note_compiled
from stepax.cli.options import Train
from stepax.cli.reading import fingerprint
from stepax.cli.runs import new_folder
from stepax.cli.unfinished import CHECKPOINTS, Unfinished, begin, finish
from stepax.cli.watching import watched
from stepax.compile import compile_seconds

__all__ = ["main", "resume"]


def main(options: Train) -> int:
    """Trains an agent, lets it play, saves and draws.

    Returns:
        The exit status: 1 where the loss or the parameters of the trained agent are not finite, else 0.

    Raises:
        ValueError: An option is out of range, unknown, or does not apply; agent and environment do not fit.
        KeyboardInterrupt: At Ctrl-C; it says what is kept.
    """
    made = planned(options)
    ready = _prepared(made)  # refuses what cannot be, before there is a folder
    output, file = options.output, made.demonstrations and fingerprint(made.demonstrations)
    folder = new_folder(output.out, f"{made.environment}-{made.name}", overwrite=output.overwrite)
    run = Unfinished(made, file or None, output.log, False, output.figures)
    with interruptible(folder):
        begin(folder, run)
        return _whole(folder, run, made, ready)


def resume(folder: pathlib.Path, run: Unfinished) -> int:
    """Goes on with a training that was cut short; returns and raises as :func:`main`."""
    made: Any = run.plan
    if made.demonstrations is not None and fingerprint(made.demonstrations) != run.file:
        raise ValueError(f"--resume {folder}: {made.demonstrations} is not what it was when the training was begun")
    with interruptible(folder):
        return _whole(folder, run, made, _prepared(made))


class _Ready(NamedTuple):
    """What a training takes, and what it will need."""

    built: BuiltAgent
    source: sx.Source
    needed: sx.Estimate


def _prepared(made: AgentPlan) -> _Ready:
    shown = None if made.demonstrations is None else data.demonstrations(made.demonstrations)
    built, source = build(made, shown), sx.generated(made.rounds)
    return _Ready(built, source, sx.estimate(built.learner, source, None))


def _whole(folder: pathlib.Path, run: Unfinished, made: AgentPlan, ready: _Ready) -> int:
    """A training from its first step, or from where it was cut short, to its end. Returns the exit status."""
    announce(made, ready.needed)
    done = _trained(made, ready, folder, run.log)
    note_compiled(made, False, done.record["seconds"]["compile"])
    limit = place(made.environment, made.depth).limit
    found = measured(ready.built, done.state, made.seed, EPISODES, limit)
    told = summary(found)
    metrics = {f"evaluation/{name}": value for name, value in told.items()}
    record.save(folder, done, {**made.details(), "file": run.file}, metrics=metrics)
    finish(folder)
    status = outcome(done.history, record.load(folder)["metrics"], done.state)
    print_tables([table({made.environment: told}, "Episodes played with the actions thought best")])
    note_left(found, limit)
    if run.figures:
        _draw(OpenedAgent(folder, {**done.record, "history": done.history}, made, ready.built, done.state))
    farewell(folder, done, run)
    return status


def announce(made: AgentPlan, needed: sx.Estimate) -> None:
    """Says what is trained and what it needs, before the wait."""
    seen, done = spaces(made.environment, made.depth)
    deep = f", depth {place(made.environment, made.depth).limit}" if made.depth else ""
    say(f"data       {made.environment}: {seen}, {done}{deep}")
    say(f"model      {made.name}: {needed.parameters // 4:,} numbers to learn{_settings(made.options)}")
    what = "steps" if "steps" in made.options else "episodes"
    total = (made.rounds * made.epochs - made.before) * made.made
    rounds = f"{made.epochs} epochs of {made.rounds} × {made.made} {what}"
    if made.demonstrations is not None:
        shown = f"{made.demonstrated:,} steps of {pathlib.Path(made.demonstrations).name}"
        say(f"shown      {shown}, from which alone it learns {made.before:,} times")
    say(f"training   {total:,} {what}, {rounds}, seed {made.seed}")
    say(f"memory     {needed}")
    say(f"compiling  {compiling(made, False)}")
    say()


def _settings(options: Mapping[str, Any]) -> str:
    """All of them in words."""

    def text(value: Any) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        return " ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)

    left = [name for name in options if name not in ("steps", "episodes")]
    return "".join(f", {name.replace('_', ' ')} {text(options[name])}" for name in left)


def _trained(made: AgentPlan, ready: _Ready, folder: pathlib.Path, wanted: tuple[str, ...]) -> sx.Run:
    """The training itself: a generator of reports, with a function around it for each thing that watches."""
    compiled, key = compile_seconds(), jax.random.key(made.seed)
    reports = sx.training(
        ready.built.learner,
        ready.source,
        key=key,
        epochs=made.epochs,
        batch_size=None,
        validation=sx.generated(1),
        checkpoints=folder / CHECKPOINTS,
    )
    reports = watched(reports, folder, wanted, told)
    settings = {"epochs": made.epochs, "seed": made.seed, "key": np.asarray(jax.random.key_data(key)).tolist()}
    return sx.collected(reports, settings, compiled)


SHOWN = ("return", "length", "loss")
"""Measures of a training that are told to people as it goes; the others are in its logs."""


def told(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the history as it is shown, without what is for the logs."""
    shown = {name: row[name] for name in ("epoch", "seconds", "step", *SHOWN) if name in row}
    return shown | {f"best actions/{name}": row[f"validation/{name}"] for name in ("return", "length")}


def _draw(opened: OpenedAgent) -> None:
    from stepax.cli.agents.figures import draw  # Matplotlib takes a second to import

    if not ERR.is_terminal:
        ERR.print("drawing figures …")
    with ERR.status("drawing figures …") as status:
        for path in draw(opened, opened.folder / "figures"):
            status.update(f"drawing figures … {path.stem} done")
