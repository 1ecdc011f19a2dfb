"""What Ctrl-C leaves of a training."""

import contextlib
import pathlib
from collections.abc import Iterator

import stepax as sx
from stepax import processes, record
from stepax.cli.announcing import EPOCHS
from stepax.cli.console import program
from stepax.cli.unfinished import CHECKPOINTS, finish

__all__ = ["interruptible"]


@contextlib.contextmanager
def interruptible(folder: pathlib.Path) -> Iterator[None]:
    """Tells at Ctrl-C what is kept of a run; a folder with nothing in it is not."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if not processes.first():
            raise
        left = sorted(path.name for path in folder.iterdir())
        if record.RECORD in left:
            what = f"the run is saved in {folder}; `{program()} plot {folder}` draws figures that are missing"
        elif any((folder / CHECKPOINTS).glob("step-*")):
            at = f"after step {stop.step:,}" if isinstance(stop, sx.Interrupted) else "before the end"
            if isinstance(stop, sx.Interrupted) and stop.saved != stop.step:
                at += f", which could not be saved; step {stop.saved:,} is"
            what = f"{at}; `{program()} train --resume {folder}` goes on from there"
        else:
            finish(folder)
            if (log := folder / EPOCHS).exists() and not log.stat().st_size:
                log.unlink()
            left = sorted(path.name for path in folder.iterdir())
            what = f"the model is not saved; {folder} keeps {', '.join(left)}" if left else "nothing is saved"
            if not left:
                folder.rmdir()
        stop.args = (what,)
        raise stop from None
