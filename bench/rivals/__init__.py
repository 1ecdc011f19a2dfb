"""One training in four toolkits, each a module with a function ``trainer(task, form)``, whose result has two methods.

    chunks()       trains without end; yields how many examples were done since, once their results are there
    losses(steps)  the training losses of the first steps from the task's weights, on its batches in their order, by the
                   form's own program: [steps], or [steps, lanes]; fewer of a form that would take minutes

All take Adam at 1e-3 and the mean cross entropy of a batch, keep the data in memory as arrays of their own, draw a new
order every epoch, and keep the losses of their steps without waiting for each.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

TITLES = {"stepax": "stepax", "torch": "PyTorch", "keras": "Keras", "flax": "Flax + Optax"}
MODULES = {
    "stepax": "bench.rivals.ours",
    "torch": "bench.rivals.pytorch",
    "keras": "bench.rivals.keras3",
    "flax": "bench.rivals.linen",
}

# Data parallel over the cores of a CPU, each of them a device, where that is faster.
SPREAD = "fit, a device for each core"
SPREADING = ("lstm", "gru", "tcn-last", "transformer")


class Trainer(Protocol):
    def chunks(self) -> Iterator[int]: ...

    def losses(self, steps: int) -> np.ndarray: ...


def forms(rival: str, workload: str, gpu: bool = False) -> tuple[str, ...]:
    """The ways in which a toolkit's users would write a workload."""
    population = workload.startswith("population")
    match rival:
        case "stepax":
            return ("fit", SPREAD) if workload in SPREADING and not gpu else ("fit",)
        case "torch":
            found = ("eager", "compile", *(("compile, CUDA graphs",) if gpu else ()))
            if workload.startswith("cnn"):
                return (*found, *(f"{form}, channels last" for form in found))
            return (*found, *(f"{form}, vmap" for form in found)) if population else found
        case "keras":
            return ("fit", "fit, 16 steps per execution")
        case "flax":
            found = ("step by step", "scan")
            return (*found, *(f"{form}, vmap" for form in found)) if population else found
    raise ValueError(f"no rival {rival!r}")
