"""Times training against PyTorch, Keras, and Flax with Optax: the same models, data, batches and steps, run in turn.

    make bench                                        # everything: half an hour on two cores
    make bench ARGS="mlp cnn --rivals torch"          # two workloads against one rival
    python -m bench.compare --help

Every rival in every form is a process of its own that stays warm. In a round each trains for some time while the others
wait, so that what else the machine does meets all alike; a ratio is the median of the rounds' ratios. Before that, the
losses of every form over its first steps from the same weights are held against those of stepax: a form that learns
something else is timed and shown, but it is nobody's best. Every form compiles into an empty folder of its own, so
that its first step is as slow as a user's first.
"""

import pathlib
import re
import tempfile
import time
from contextlib import ExitStack, closing
from typing import Any

import jax
import numpy as np
import tyro
from rich.console import Console

from bench import tables
from bench.machine import QUIET, busy, described
from bench.process import Failed, Process, environment
from bench.rivals import MODULES, forms, task
from stepax.arithmetic import flops
from stepax.bench import WORKLOADS
from stepax.bench.measure import matmul_peak

# A table in a file or a pipe is as wide as the house's lines.
OUT, SAY = Console(highlight=False), Console(stderr=True, highlight=False)
if not OUT.is_terminal:
    OUT.width = 120

# How far the losses of the first steps may lie from stepax's, as a part of the largest. Sums in another order differ in
# the last bits, and Adam makes a whole step of a rounding error in a gradient near zero, which batch normalisation and
# long residual sums spread; Keras adds Adam's epsilon in another place. In float64, where the tests compare, PyTorch
# and Flax differ by less than 1e-9.
STEPS, TOLERANCE = 20, {"cnn-deep": 2e-2, "tcn": 5e-3, "tcn-last": 5e-3}
USUAL_TOLERANCE = 2e-3
# Seconds of training between the first results and the first round, and between two turns without any.
WARM, PAUSE = 1.0, 0.05
# A form that is slower than this part of its rival's best in the first two rounds is left out of the others.
HOPELESS = 0.5


def main(
    workloads: tyro.conf.Positional[tuple[str, ...]] = (),
    rivals: tuple[str, ...] = ("torch", "keras", "flax"),
    rounds: int = 7,
    seconds: float = 1.5,
    out: pathlib.Path | None = None,
    cache: pathlib.Path | None = None,
) -> None:
    """Times training against other toolkits.

    Args:
        workloads: Which ones, of those that `stepax bench` has; without, all.
        rivals: Against whom: torch, keras, flax.
        rounds: How often each trains in turn.
        seconds: How long each time.
        out: The file to write, bench/results/<date>-<machine>.json unless given. Other workloads and rivals in it stay.
        cache: A folder that keeps the compiled programs of every form by itself, for a second run that starts faster;
            without, every first step compiles anew.
    """
    _check("workloads", workloads, WORKLOADS)
    _check("rivals", rivals, MODULES)
    result = {**described(), "workloads": {}}
    out = out or tables.RESULTS / f"{result['date']}-{result['name']}.json"
    gpu = result["device"]["platform"] == "gpu"
    with tempfile.TemporaryDirectory() as folder:
        caches, cores = (cache or pathlib.Path(folder)).resolve(), result["processor"]["cores"]
        path = pathlib.Path(folder) / "task.npz"
        for name in workloads or WORKLOADS:
            task.save(task.make(name), path)
            pairs = [(r, form) for r in dict.fromkeys(("stepax", *rivals)) for form in forms(r, name, gpu)]
            known, taken, peak = about(name), busy() or 0.0, matmul_peak()
            with ExitStack() as stack:
                processes = [Process(*pair, path, environment(cores, own(caches, name, *pair))) for pair in pairs]
                running = [stack.enter_context(closing(process)) for process in processes]
                measured = compared(name, running, rounds, seconds, known["tolerance"], result["versions"])
            # Before and after: others may have come or gone.
            taken, peak = max(taken, busy() or 0.0), max(peak, matmul_peak())
            settings = {"rounds": rounds, "seconds": seconds, "cold": cache is None, "git": result["git"]}
            found = {"busy": taken, "matmul_peak": peak, "rivals": measured}
            result["workloads"][name] = {**known, **settings, **found}
            OUT.print(tables.forms(name, result["workloads"][name]))
            if taken > QUIET:
                SAY.print(f"{name}: other programs take {taken:.0%} of the processors; these times mean little")
            tables.write(result, out)
    OUT.print(tables.ratios(result))
    SAY.print(f"written to {out}; `python -m bench.tables` brings it into the documents", soft_wrap=True)


def _check(argument: str, given: tuple[str, ...], known: Any) -> None:
    if unknown := [name for name in given if name not in known]:
        raise SystemExit(f"{argument}: no {unknown[0]!r}; there are {', '.join(known)}")


def own(caches: pathlib.Path, *names: str) -> pathlib.Path:
    """An own folder for what one form compiles at one workload: nothing there has been compiled by another."""
    folder = caches.joinpath(*(re.sub(r"[^a-z0-9]+", "-", name.lower()) for name in names))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def about(name: str) -> dict[str, Any]:
    """What a workload is, with the operations that one example takes and how far losses may differ."""
    workload, learner = WORKLOADS[name], WORKLOADS[name].learner()
    batch = workload.data(workload.batch_size, 0)
    state = jax.eval_shape(learner.init, jax.random.key(0), batch)
    return {
        "title": workload.title,
        "batch_size": workload.batch_size,
        "lanes": workload.lanes,
        "flops": flops(learner.step, state, batch) / workload.batch_size,
        "tolerance": TOLERANCE.get(name, USUAL_TOLERANCE),
    }


def compared(
    name: str,
    processes: list[Process],
    rounds: int,
    seconds: float,
    tolerance: float,
    versions: dict[str, str],
) -> dict[str, dict[str, Any]]:
    """By rival and form: how far the losses differ, the first results, and examples per second of every round."""
    measured: dict[str, dict[str, Any]] = {process.rival: {} for process in processes}
    running = []
    for process in processes:
        SAY.print(f"{name}: {process.rival}, {process.form}")
        measured[process.rival][process.form] = facts = started(process)
        versions |= facts.pop("versions", {})
        running += [process] if "rates" in facts else []
    judge(measured, tolerance)
    for i in range(rounds):
        SAY.print(f"{name}: round {i + 1} of {rounds}")
        for process in running:
            time.sleep(PAUSE)
            answer = process.ask("time", seconds=seconds)
            measured[process.rival][process.form]["rates"].append(answer["examples"] / answer["seconds"])
        if i == 1:
            running = [process for process in running if not hopeless(measured[process.rival], process.form)]
    return measured


def started(process: Process) -> dict[str, Any]:
    """What is known of a form before the first round."""
    try:
        facts = process.start()
        losses = process.ask("losses", steps=STEPS)["losses"]
        process.ask("time", seconds=WARM)
    except Failed as failure:
        SAY.print(f"  failed: {failure}", markup=False)
        return {"failed": str(failure)}
    return {**facts, "losses": losses, "rates": []}


def hopeless(forms: dict[str, Any], form: str) -> bool:
    """Whether a form is slower than a part of the best of its rival, of those that learn what stepax learns."""
    most = max(
        (max(facts["rates"]) for facts in forms.values() if facts.get("rates") and "left_out" not in facts), default=0.0
    )
    return max(forms[form]["rates"]) < HOPELESS * most


def judge(measured: dict[str, dict[str, Any]], tolerance: float) -> None:
    """Replaces the losses by their largest distance from stepax's, as a part of the largest of those.

    What lies farther than the tolerance is ``left_out``, with the reason. A form that made fewer steps is held against
    as many.
    """
    ours = next(iter(measured["stepax"].values()))
    if "failed" in ours:
        raise SystemExit(f"stepax failed: {ours['failed']}")
    reference = np.array(ours["losses"])
    for facts in (facts for by_form in measured.values() for facts in by_form.values() if "losses" in facts):
        losses = np.array(facts.pop("losses"))
        wanted = reference[: len(losses)]
        facts["steps"], facts["difference"] = len(losses), float(np.abs(losses - wanted).max() / np.abs(wanted).max())
        if not tables.counts(facts, tolerance):
            facts["left_out"] = f"its losses differ by {facts['difference']:.0e}, where {tolerance:.0e} is allowed"
            SAY.print(f"  left out: {facts['left_out']}", markup=False)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
