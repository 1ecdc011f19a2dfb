"""What a run is going to need: memory, time to compile, and whether it can afford to be watched."""

import hashlib
import pathlib
from typing import Any

import jax

from stepax.cli.kinds import AnyPlan
from stepax.compile import cache_folder
from stepax.estimation import Estimate
from stepax.files import one_line, read_json, write_json

__all__ = ["compiling", "note_compiled", "worth_watching"]

# Operations a step for each parameter from which on the norms of gradient and update cost less than 3 % of it.
# Measured on two cores of a CPU: at 2,000 to 2,500 it was 4 % and more, at 3,800 to 5,300 nothing that could be told
# from noise; a multilayer perceptron has about six times its batch size.
WORTH = 3000
# Seconds to compile are kept for so many runs.
KEPT = 200


def worth_watching(needed: Estimate) -> bool:
    """Whether :func:`stepax.watch` costs less than 3 % of a step: it passes over the parameters, whatever the batch."""
    size = needed.parameters // 4
    return size > 0 and needed.flops >= WORTH * size


def compiling(made: AnyPlan, watch: bool) -> str:
    """What is known of the time that a run's programs take to compile, in words."""
    seconds = _noted().get(_name(made, watch))
    if not isinstance(seconds, float):
        return "for the first time here, which takes seconds"
    return f"took {seconds:.1f} s the first time, and less where the cache still has it"


def note_compiled(made: AnyPlan, watch: bool, seconds: float) -> None:
    """Keeps the seconds for the next time, unless they are those of loading what was compiled before."""
    noted, name = _noted(), _name(made, watch)
    if name not in noted:
        _path().parent.mkdir(parents=True, exist_ok=True)
        write_json(_path(), dict([*noted.items(), (name, float(seconds))][-KEPT:]))


def _noted() -> dict[str, Any]:
    try:
        found = read_json(_path())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _path() -> pathlib.Path:
    """Beside the programs, where these are files of this machine."""
    config: Any = jax.config
    own = config.jax_compilation_cache_dir
    return (pathlib.Path(own) if own and "://" not in own else cache_folder()) / "seconds.json"


def _name(made: AnyPlan, watch: bool) -> str:
    """The same for runs of the same programs, in which there is no seed."""
    parts = made.details().items()
    details = {part: {name: values[name] for name in values if name != "seed"} for part, values in parts}
    text = one_line([details, watch, jax.__version__, jax.default_backend()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
