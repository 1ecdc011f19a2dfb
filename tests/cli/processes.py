"""``python -m stepax`` as a process of its own."""

import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

import jax


class Done(NamedTuple):
    """What came of a command line."""

    status: int
    out: str
    err: str


def environment() -> dict[str, str]:
    """That of this process, with the compilation cache of the tests."""
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    hidden = {"STEPAX_TRACEBACK", "FORCE_COLOR", "COLUMNS"}
    return {name: value for name, value in os.environ.items() if name not in hidden} | cache


def process(*arguments: object, cwd: pathlib.Path, **variables: str) -> Done:
    """``python -m stepax`` as a process of its own."""
    command = [sys.executable, "-m", "stepax", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment() | variables, timeout=300, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)
