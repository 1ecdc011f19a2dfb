"""A rival in a process of its own, asked by lines of JSON; see ``bench/rivals/serve.py``."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]


def environment(cores: int, cache: pathlib.Path) -> dict[str, str]:
    """What a process sees: as many threads as all others, and the folder where its compiled programs are kept.

    How OpenMP's threads wait is left as it is: within milliseconds of a process's turn they sleep, and told to sleep at
    once (``OMP_WAIT_POLICY=PASSIVE``) they halve the speed of PyTorch at small layers.
    """
    threads = ("NPROC", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # NPROC: the thread pool of XLA
    return {
        **os.environ,
        **dict.fromkeys(threads, str(cores)),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "KERAS_BACKEND": "jax",
        "KERAS_HOME": str(cache / "keras"),
        "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }


class Failed(Exception):
    """A process ended before it answered; the message is the last line that it wrote."""


class Process:
    """One rival in one form, at one task; nothing runs before ``start``."""

    def __init__(self, rival: str, form: str, task: pathlib.Path, environment: dict[str, str]) -> None:
        self.rival, self.form = rival, form
        self._command = [sys.executable, "-m", "bench.rivals.serve", rival, form, str(task)]
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> dict[str, Any]:
        """Starts training, up to the first results."""
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=self._environment,
            text=True,
        )
        return self.ask("start")

    def ask(self, do: str, **how: Any) -> dict[str, Any]:
        """Waits for the answer.

        Raises:
            Failed: The process ended instead.
        """
        try:
            print(json.dumps({"do": do, **how}), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self._process.wait()
            self._said.seek(0)
            lines = [line for line in self._said.read().splitlines() if line.strip()]
            raise Failed(lines[-1] if lines else f"exit status {self._process.returncode}")
        return json.loads(answer)

    def close(self) -> None:
        """Ends the process if it still runs."""
        if self._process is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()
            self._said.close()
