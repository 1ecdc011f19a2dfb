"""The command line: ``stepax train``, ``evaluate``, ``predict``, ``generate``, ``plot``, ``record`` and others."""

import importlib
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any

__all__ = ["main"]

TRACEBACK = "--traceback"
ERROR = 2
"""The exit status of a wrong option; 1 is that of a training which ended without numbers to go on with."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line, and ends the process with its exit status.

    What is wrong with options, data or files becomes one line on standard error and status 2; a fault of ours keeps its
    traceback.

    Args:
        arguments: What follows the program's name; ``None`` takes those of the process.

    Raises:
        SystemExit: Always, with 0 where all went well, also when the reader of the output has gone; with 1 after a
            training whose model or loss is not finite in the end.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    traceback = TRACEBACK in given or os.environ.get("STEPAX_TRACEBACK", "0") not in ("", "0")
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    _write_anything()
    status = 0
    try:
        status = _run([argument for argument in given if argument != TRACEBACK])
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        # As a shell has it after a signal; Ctrl-C is SIGINT.
        _end(": ".join(["interrupted", *map(str, stop.args)]), 128 + getattr(stop, "signal", signal.SIGINT))
    except BrokenPipeError:
        # The reader (`| head`) has enough; without this Python would complain when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, TypeError, OSError) as error:
        if traceback:
            raise
        _end(f"error: {_message(error)}", ERROR)
    raise SystemExit(status)


def _write_anything() -> None:
    """Lets what standard output has no bytes for become ``?``, where it would else end the program."""
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        reconfigure(errors="replace")


def _run(arguments: list[str]) -> int:
    """Parses, then calls the subcommand's module: nothing else is imported for ``--help``. Returns the exit status."""
    if arguments == ["--version"]:
        import stepax

        print(f"stepax {stepax.__version__}")
        return 0
    from stepax.cli import options

    wanted: Any = options.parse(arguments)
    _check_seed(wanted)
    if isinstance(wanted, options.Train):
        _several(_processes(wanted), arguments)
    module = importlib.import_module(f"stepax.cli.{type(wanted).__name__.lower()}")
    return module.main(wanted) or 0


def _check_seed(wanted: Any) -> None:
    """Refuses a seed of which no key can be made."""
    seed = getattr(getattr(wanted, "optimization", wanted), "seed", None) or 0
    if not -(2**63) <= seed < 2**63:
        raise ValueError(f"--seed: expected a number of 64 bits, got {seed}")


def _processes(wanted: Any) -> int:
    """How many a training is to have: as was said, and without that one, or as many as the run that goes on had."""
    if wanted.agent.env is not None:
        return 1  # the command refuses another number
    if wanted.optimization.processes is not None:
        return wanted.optimization.processes
    if wanted.output.resume is None:
        return 1
    from stepax.cli.unfinished import unfinished
    from stepax.record import RunError

    try:
        return unfinished(wanted.output.resume).processes
    except RunError:
        return 1  # the command says what is wrong, and first whether other options were given


def _several(count: int, arguments: list[str]) -> None:
    """Runs the command in several processes where that is asked for, and ends with it; each of them goes on here."""
    if count == 1:
        return
    from stepax import checks, processes

    checks.check_count("--processes", count)
    if processes.COORDINATOR not in os.environ:
        raise SystemExit(processes.start([sys.executable, "-m", "stepax", *arguments], count))
    processes.join()


def _message(error: Exception) -> str:
    """An error in one line (a failed download in two): what it says, or what it is where it says nothing."""
    lines = str(error).splitlines() if isinstance(error, ConnectionError) else [str(error)]
    text = "\n".join(" ".join(line.split()) for line in lines) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}"
    return text


def _end(line: str, status: int) -> None:
    """Prints the last line and leaves."""
    print(line, file=sys.stderr, flush=True)
    if "STEPAX_COORDINATOR" in os.environ:  # in an orderly end it would wait for the others, which wait for it
        sys.stdout.flush()
        os._exit(status)
    raise SystemExit(status) from None
