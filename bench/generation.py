"""Times generation against PyTorch: the same GPT, weights and prompts, greedy, run in turn; the tokens must be equal.

    python -m bench.generation                 # three minutes on two cores
    python -m bench.generation --help

A nanoGPT of 4 layers, 4 heads and width 128 continues a prompt until its context is full. PyTorch is written with a
cache of keys and values in tensors that are there from the beginning, under ``inference_mode``, eager and compiled;
nanoGPT's own way, which reads everything again for each token, stands beside it. What is timed is the whole call, the
prompt's reading too.
"""

import importlib.metadata
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from bench import tables
from bench.compare import HOPELESS, own
from bench.machine import busy, described
from bench.process import Failed, environment
from bench.served import Served, answer

FORMS = (("stepax", "generate"), ("torch", "eager"), ("torch", "compile"), ("torch", "eager, no cache"))
VOCABULARY, FEATURES, LAYERS, HEADS, PROMPT = 65, 128, 4, 4, 8
RESULTS = tables.RESULTS / "generation"

OUT, SAY = Console(highlight=False), Console(stderr=True, highlight=False)


def main(
    batches: tuple[int, ...] = (1, 32),
    contexts: tuple[int, ...] = (64, 256),
    rounds: int = 7,
    seconds: float = 1.0,
    out: pathlib.Path | None = None,
) -> None:
    """Times generation.

    Args:
        batches: How many texts at once.
        contexts: How many tokens a context has; a text is generated until it is full.
        rounds: How often each is timed in turn.
        seconds: How long each time.
        out: The file to write, bench/results/generation/<date>-<machine>.json unless given.
    """
    result: dict[str, Any] = {**described(), "cases": []}
    for context in contexts:
        for batch in batches:
            taken = busy() or 0.0
            found = case(batch, context, rounds, seconds, result)
            result["cases"].append({**found, "busy": max(taken, busy() or 0.0)})
            OUT.print(table(result["cases"][-1]))
    out = out or RESULTS / f"{result['date']}-{result['name']}.json"
    tables.write(result, out)
    SAY.print(f"written to {out}", soft_wrap=True)


def case(batch: int, context: int, rounds: int, seconds: float, result: dict[str, Any]) -> dict[str, Any]:
    """Tokens per second of every form and round."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path, cores = pathlib.Path(folder) / "task.npz", result["processor"]["cores"]
        save(path, batch, context)
        forms: dict[str, dict[str, Any]] = {}
        running = []
        for rival, form in FORMS:
            cache = own(pathlib.Path(folder), rival, form)
            process = stack.enter_context(
                closing(Served("bench.generation", rival, form, path, environment(cores, cache)))
            )
            facts = forms[f"{rival}, {form}"] = {}
            try:
                started = process.start()
            except Failed as failure:
                facts["failed"] = str(failure)
                SAY.print(f"{rival}, {form} failed: {failure}", markup=False)
                continue
            result["versions"] |= started.pop("versions")
            facts |= {**started, "rates": []}
            running.append((process, facts))
        for i in range(rounds):
            SAY.print(f"batch {batch}, context {context}: round {i + 1} of {rounds}")
            for process, facts in tuple(running):
                try:
                    facts["rates"].append(process.ask("time", seconds=seconds)["rate"])
                except Failed as failure:
                    facts["failed"] = str(failure)
                    running.remove((process, facts))
                    SAY.print(f"{process.rival}, {process.form} failed: {failure}", markup=False)
            if i == 1:
                running = [(process, facts) for process, facts in running if not hopeless(process.rival, facts, forms)]
    return {"batch": batch, "context": context, "prompt": PROMPT, "forms": checked(forms)}


def hopeless(rival: str, facts: dict[str, Any], forms: dict[str, dict[str, Any]]) -> bool:
    """Whether a form is slower than a part of its rival's best, as in ``bench.compare``: its first rounds will do."""
    rates = [max(other["rates"]) for name, other in forms.items() if name.startswith(rival) and other.get("rates")]
    return max(facts["rates"]) < HOPELESS * max(rates)


def checked(forms: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Whether a form makes stepax's tokens, in place of the tokens; ``None`` where stepax has made none."""
    ours = forms["stepax, generate"].get("tokens")
    for facts in forms.values():
        if "tokens" in facts:
            tokens = facts.pop("tokens")
            facts["equal"] = None if ours is None else tokens == ours
    return forms


def ratio(found: dict[str, Any], form: str) -> tuple[float, float, float]:
    """Quartiles of stepax's rate over that of another form in the same round."""
    pairs = zip(found["forms"]["stepax, generate"]["rates"], found["forms"][form]["rates"], strict=False)
    return tables.quartiles([ours / theirs for ours, theirs in pairs])


def table(found: dict[str, Any]) -> Table:
    """One case."""
    title = f"batch {found['batch']}, context {found['context']}: tokens per second"
    shown = Table(
        "", "median", "quartiles", "stepax is faster by", "first call", "tokens", title=title, title_justify="left"
    )
    for form, facts in found["forms"].items():
        if "failed" in facts:
            shown.add_row(form, "failed")
            continue
        low, middle, high = tables.quartiles(facts["rates"])
        faster = "–"
        if "failed" not in found["forms"]["stepax, generate"]:
            faster = "{1:.2f}  ({0:.2f} – {2:.2f})".format(*ratio(found, form))
        shown.add_row(
            form,
            f"{middle:,.0f}",
            f"{low:,.0f} – {high:,.0f}",
            faster,
            f"{facts['first']:.1f} s",
            {True: "equal", False: "[red]different[/]", None: "–"}[facts["equal"]],
        )
    return shown


def save(path: pathlib.Path, batch: int, context: int) -> None:
    """Weights large enough that the likeliest token is clear, and prompts."""
    import jax
    from flax import traverse_util

    module = decoder(context)
    params = module.init(jax.random.key(0), np.zeros((1, 2), np.int32))["params"]
    weights = {name: np.asarray(array) for name, array in traverse_util.flatten_dict(params, sep="/").items()}
    prompt = np.random.default_rng(0).integers(0, VOCABULARY, (batch, PROMPT)).astype(np.int32)
    np.savez(path, **{f"weights:{name}": array for name, array in weights.items()}, prompt=prompt)


def load(path: pathlib.Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    with np.load(path) as file:
        weights = {name.partition(":")[2]: file[name] for name in file.files if name.startswith("weights:")}
        return weights, file["prompt"]


def decoder(context: int) -> Any:
    from functools import partial

    import jax
    from flax import linen

    from stepax import nn

    normal = linen.initializers.normal
    return nn.Decoder(
        VOCABULARY,
        FEATURES,
        LAYERS,
        HEADS,
        context,
        activation=partial(jax.nn.gelu, approximate=False),
        kernel_init=normal(0.3),
        residual_init=normal(0.3),
        embedding_init=normal(0.1),
        use_bias=False,
        tied=True,
    )


def continues(rival: str, form: str, path: pathlib.Path) -> Callable[[], np.ndarray]:
    """A function without arguments that continues all texts."""
    weights, prompt = load(path)
    context = len(weights["places"])
    length = context - PROMPT
    if rival == "stepax":
        import jax
        from flax import traverse_util

        from stepax.text.generation import generate

        params = jax.device_put(traverse_util.unflatten_dict(weights, sep="/"))
        module, key = decoder(context), jax.random.key(0)
        return lambda: np.asarray(generate(module, params, prompt, length, key, temperature=0.0))
    import torch

    from bench.rivals import gpt

    model, tokens = gpt.made(weights, HEADS).eval(), torch.from_numpy(prompt).long()
    if "no cache" in form:
        return lambda: gpt.without_cache(model, tokens, length).numpy()
    cached = gpt.Cached(model, len(prompt), compiled="compile" in form)
    return lambda: cached(tokens, length).numpy()


def serve(rival: str, form: str, path: str) -> None:
    """Answers ``start`` and ``time``."""
    packages = {"stepax": ("stepax", "jax", "jaxlib", "flax"), "torch": ("torch",)}[rival]
    makes: list[Callable[[], np.ndarray]] = []

    def start() -> dict[str, Any]:
        began = time.perf_counter()
        makes.append(continues(rival, form, pathlib.Path(path)))
        tokens = makes[0]()
        first = time.perf_counter() - began
        versions = {name: importlib.metadata.version(name) for name in packages}
        return {"first": first, "tokens": tokens.tolist(), "versions": versions}

    def timed(seconds: float) -> dict[str, Any]:
        made, began = 0, time.perf_counter()
        while (spent := time.perf_counter() - began) < seconds:
            made += makes[0]().size
        return {"rate": made / spent}

    answer({"start": start, "time": timed})


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(*sys.argv[2:])
    else:
        tyro.cli(main, description=__doc__)
