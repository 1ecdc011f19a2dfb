"""A program of this folder as a process that answers lines of JSON, as ``bench/rivals/serve.py`` does."""

import json
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from bench.process import Process


class Served(Process):
    """One form of one rival, started as ``python -m PROGRAM serve RIVAL FORM FILE``; by this Python unless told."""

    def __init__(
        self,
        program: str,
        rival: str,
        form: str,
        file: pathlib.Path,
        environment: dict[str, str],
        python: str = sys.executable,
    ) -> None:
        super().__init__(rival, form, file, environment)
        self._command = [python, "-m", program, "serve", rival, form, str(file)]


def answer(actions: dict[str, Callable[..., dict[str, Any]]]) -> None:
    """Answers until the input ends."""
    # What a library prints must not come between the answers.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            question = json.loads(line)
            print(json.dumps(actions[question.pop("do")](**question)), file=answers, flush=True)
