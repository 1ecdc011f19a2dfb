"""Times PPO and DQN on CartPole-v1 beside Stable-Baselines3 and CleanRL, and environments alone, in turn.

    python -m bench.agents --rivals-python ~/sb3/bin/python             # Stable-Baselines3 is in that Python
    python -m bench.agents ppo --cleanrl ~/cleanrl --cleanrl-python ~/cleanrl/.venv/bin/python
    python -m bench.agents --help

The settings are those of rl-baselines3-zoo (``bench/rivals/agent_settings.py``); a rate is steps of the environment per
second of training, updates included, and of all agents together where several train at once. Every form is a process of
its own that stays warm; in a round each trains for some seconds while the others wait, and a ratio is the median of the
rounds' ratios. The first results are timed apart: they hold what there is to compile. CleanRL's scripts are run as they
are, in a checkout of it, whole runs of two lengths each round.
"""

import pathlib
import sys
import tempfile
from contextlib import ExitStack, closing
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from bench import tables
from bench.compare import own
from bench.machine import QUIET, busy, described
from bench.process import Failed, environment
from bench.rivals.cleanrl import Scripts
from bench.served import Served

TITLES = {
    "ppo": "PPO, 8 environments · 32 steps, 20 epochs, 64-64",
    "dqn": "DQN, 128 updates of 64 every 256 steps, 256-256",
    "dqn-clean": "DQN, an update of 64 every 2 steps, 120-84",
    "steps": "CartPole alone, random actions, 8,192 lanes",
}
AGENTS = ("one agent", "32 agents")
THREADS = ("all threads", "one thread")
FORMS: dict[str, dict[str, tuple[str, ...]]] = {
    "ppo": {"stepax": AGENTS, "sb3": THREADS, "cleanrl": THREADS},
    "dqn": {"stepax": AGENTS, "sb3": THREADS},
    "dqn-clean": {"stepax": AGENTS, "cleanrl": THREADS},
    "steps": {"stepax": ("compiled",), "gymnasium": ("NumPy",)},
}
NAMES = {"stepax": "stepax", "sb3": "Stable-Baselines3", "cleanrl": "CleanRL", "gymnasium": "Gymnasium"}
RESULTS = tables.RESULTS / "agents"

# A table in a file or a pipe is as wide as it needs to be.
OUT, SAY = Console(highlight=False), Console(stderr=True, highlight=False)
if not OUT.is_terminal:
    OUT.width = 140


def main(
    tasks: tyro.conf.Positional[tuple[str, ...]] = (),
    rivals_python: str = sys.executable,
    cleanrl: pathlib.Path | None = None,
    cleanrl_python: str | None = None,
    rounds: int = 7,
    seconds: float = 5.0,
    out: pathlib.Path | None = None,
) -> None:
    """Times training, and environments alone.

    Args:
        tasks: Which of ppo, dqn, dqn-clean and steps; without, all.
        rivals_python: The Python that has Stable-Baselines3 and Gymnasium.
        cleanrl: A checkout of CleanRL's repository; without, it is left out.
        cleanrl_python: The Python with what its scripts need; without, rivals_python.
        rounds: How often each trains in turn.
        seconds: How long each time.
        out: The file to write, bench/results/agents/<date>-<machine>.json unless given.
    """
    if unknown := [name for name in tasks if name not in FORMS]:
        raise SystemExit(f"tasks: no {unknown[0]!r}; there are {', '.join(FORMS)}")
    if cleanrl is not None and not (cleanrl / "cleanrl" / "ppo.py").is_file():
        raise SystemExit(f"cleanrl: {cleanrl} is no checkout of CleanRL: there is no cleanrl/ppo.py in it")
    if cleanrl is None:
        SAY.print("CleanRL is left out: --cleanrl PATH names a checkout of it")
    result: dict[str, Any] = {**described(), "rounds": rounds, "seconds": seconds, "agents": {}}
    out = out or RESULTS / f"{result['date']}-{result['name']}.json"
    for task in tasks or FORMS:
        taken = busy() or 0.0
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            cores = result["processor"]["cores"]
            running = []
            for rival, form in pairs(task, cleanrl is not None):
                around = environment(cores, own(pathlib.Path(folder), rival, form))
                if rival == "cleanrl" and cleanrl is not None:
                    process: Any = Scripts(cleanrl, cleanrl_python or rivals_python, form, task, around)
                else:
                    process = served(rival, form, task, around, rivals_python)
                running.append(stack.enter_context(closing(process)))
            found = compared(task, running, rounds, seconds, result["versions"])
        result["agents"][task] = {"title": TITLES[task], "forms": found, "busy": max(taken, busy() or 0.0)}
        OUT.print(table(task, result["agents"][task]))
        if result["agents"][task]["busy"] > QUIET:
            SAY.print(f"{task}: other programs take {result['agents'][task]['busy']:.0%} of the processors")
        tables.write(result, out)
    SAY.print(f"written to {out}", soft_wrap=True)


def pairs(task: str, cleanrl: bool) -> list[tuple[str, str]]:
    """Rivals and forms; without a checkout not those of CleanRL."""
    return [(rival, form) for rival, forms in FORMS[task].items() for form in forms if cleanrl or rival != "cleanrl"]


def served(rival: str, form: str, task: str, around: dict[str, str], python: str) -> Served:
    ours = rival == "stepax"
    program = "bench.rivals.agents" if ours else "bench.rivals.sb3"
    return Served(program, rival, form, pathlib.Path(task), around, sys.executable if ours else python)


def compared(
    task: str, processes: list[Any], rounds: int, seconds: float, versions: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """By rival and form: seconds to the first results, and steps per second of every round."""
    found: dict[str, dict[str, Any]] = {}
    running = []
    for process in processes:
        SAY.print(f"{task}: {process.rival}, {process.form}")
        facts = found[f"{process.rival}, {process.form}"] = {"rates": []}
        try:
            told = process.start()
        except Failed as failure:
            SAY.print(f"  failed: {failure}", markup=False)
            facts["failed"] = str(failure)
            continue
        versions |= told["versions"]
        facts["first"] = told["first"]
        running.append((process, facts))
    for i in range(rounds):
        SAY.print(f"{task}: round {i + 1} of {rounds}")
        for process, facts in tuple(running):
            try:
                made = process.ask("train", seconds=seconds)
            except Failed as failure:
                facts["failed"] = str(failure)
                running.remove((process, facts))
                continue
            facts["rates"].append(made["steps"] / made["seconds"])
    return found


def best(forms: dict[str, dict[str, Any]], rival: str) -> str | None:
    """A rival's form of the highest median among those that went through; ``None`` where none did."""
    names = [name for name in forms if name.startswith(f"{rival}, ") and "failed" not in forms[name]]
    return max(names, key=lambda name: tables.rate(forms[name]), default=None)


def ratio(forms: dict[str, dict[str, Any]], ours: str, rival: str) -> tuple[float, float, float] | None:
    """Quartiles of how many times as fast a form of ours is as a rival's best, both of the same round."""
    name = best(forms, rival)
    if name is None or "failed" in forms[ours]:
        return None
    return tables.quartiles([a / b for a, b in zip(forms[ours]["rates"], forms[name]["rates"], strict=True)])


def table(task: str, found: dict[str, Any]) -> Table:
    """All forms of a task; beside stepax's, how many times as fast they are as every rival's best."""
    forms = found["forms"]
    rivals = [rival for rival in FORMS[task] if rival != "stepax" and best(forms, rival)]
    shown = Table(title=f"{task}: {found['title']}", title_justify="left", title_style="bold")
    shown.add_column("", no_wrap=True)
    for column in ("steps/s", "quartiles", "first results", *(f"× {NAMES[rival]}" for rival in rivals)):
        shown.add_column(column, justify="right", no_wrap=True)
    for name, facts in forms.items():
        rival, _, form = name.partition(", ")
        if "failed" in facts:
            shown.add_row(f"{NAMES[rival]}, {form}", "failed")
            continue
        low, middle, high = tables.quartiles(facts["rates"])
        beside = [ratio(forms, name, other) if rival == "stepax" else None for other in rivals]
        cells = ["" if r is None else f"{r[1]:.1f}  ({r[0]:.1f} – {r[2]:.1f})" for r in beside]
        spread = f"{low:,.0f} – {high:,.0f}"
        shown.add_row(f"{NAMES[rival]}, {form}", f"{middle:,.0f}", spread, f"{facts['first']:.1f} s", *cells)
    return shown


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
