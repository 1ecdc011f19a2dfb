"""CleanRL's scripts as they are in a checkout, in whole runs of two lengths.

In their difference there is nothing of what comes before the first step and after the last.
"""

import pathlib
import subprocess
import tempfile
import time
from typing import Any

from bench.process import Failed
from bench.rivals.agent_settings import CLEAN, NAME, PPO

# Steps per second of an ordinary machine, by which lengths are chosen; and the longer of two runs over the shorter.
USUAL, TIMES = {"ppo": 3000, "dqn-clean": 700}, 4


class Scripts:
    """One script in one form; answers as a process does that serves."""

    rival = "cleanrl"

    def __init__(self, checkout: pathlib.Path, python: str, form: str, task: str, environment: dict[str, str]) -> None:
        self.form, self.task = form, task
        self._checkout, self._python = checkout.resolve(), python
        self._environment = {**environment, "PYTHONPATH": str(self._checkout), "CUDA_VISIBLE_DEVICES": ""}
        if form == "one thread":
            self._environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")

    def start(self) -> dict[str, Any]:
        """A run as short as any."""
        return {"first": self.seconds(self.length()), "versions": {"cleanrl": revision(self._checkout)}}

    def ask(self, do: str, seconds: float) -> dict[str, Any]:
        """Two runs whose difference takes so many seconds on an ordinary machine."""
        assert do == "train"
        length = self.length()
        short = max(1, round(USUAL[self.task] * seconds / (TIMES - 1) / length)) * length
        long = TIMES * short
        return {"steps": long - short, "seconds": self.seconds(long) - self.seconds(short)}

    def length(self) -> int:
        """Steps of which a run has a multiple: a rollout, or those before the first update."""
        return PPO["lanes"] * PPO["length"] if self.task == "ppo" else CLEAN["warmup"]

    def seconds(self, steps: int) -> float:
        """How long a run takes.

        Raises:
            Failed: It ends with an error.
        """
        with tempfile.TemporaryDirectory() as folder:
            command = [self._python, str(self._checkout / "cleanrl" / SCRIPTS[self.task]), *arguments(self.task, steps)]
            began = time.perf_counter()
            run = subprocess.run(
                command, cwd=folder, env=self._environment, capture_output=True, text=True, check=False
            )
            spent = time.perf_counter() - began
        if run.returncode:
            lines = [line for line in run.stderr.splitlines() if line.strip()]
            raise Failed(lines[-1] if lines else f"exit status {run.returncode}")
        return spent

    def close(self) -> None:
        """Nothing runs between two questions."""


SCRIPTS = {"ppo": "ppo.py", "dqn-clean": "dqn.py"}


def arguments(task: str, steps: int) -> list[str]:
    """The settings, as the script's own options."""
    if task == "ppo":
        given: dict[str, Any] = {
            "learning-rate": PPO["rate"],
            "num-envs": PPO["lanes"],
            "num-steps": PPO["length"],
            "gamma": PPO["discount"],
            "gae-lambda": PPO["trace"],
            "num-minibatches": 1,
            "update-epochs": PPO["epochs"],
            "clip-coef": PPO["clip"],
            "ent-coef": 0.0,
            "max-grad-norm": PPO["norm"],
        }
        flags = ["--anneal-lr", "--no-clip-vloss"]
    else:
        given = {
            "learning-rate": CLEAN["rate"],
            "buffer-size": CLEAN["capacity"],
            "gamma": CLEAN["discount"],
            "target-network-frequency": CLEAN["target"],
            "batch-size": CLEAN["batch_size"],
            "end-e": CLEAN["epsilon"],
            "exploration-fraction": CLEAN["exploration"],
            "learning-starts": CLEAN["warmup"],
            "train-frequency": CLEAN["length"],
        }
        flags = []
    options = {"env-id": NAME, "total-timesteps": steps, **given}
    return [*(part for name, value in options.items() for part in (f"--{name}", str(value))), *flags, "--no-cuda"]


def revision(checkout: pathlib.Path) -> str:
    """The checkout's commit, as far as it is known."""
    if not (checkout / ".git").exists():  # git would tell that of a repository around it
        return "unknown"
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=checkout, capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "unknown"
