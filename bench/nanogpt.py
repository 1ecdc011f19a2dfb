"""Times the whole of nanoGPT's training for a CPU against PyTorch: one model, optimizer and order of the data, in turn.

    python -m bench.nanogpt                    # the 2,000 steps of each: five minutes on two cores
    python -m bench.nanogpt --help

4 layers, 4 heads, width 128, context 64, batches of 12, on the characters of tinyshakespeare; AdamW with a warm-up, a
cosine, weight decay of matrices and gradients cut to a norm of 1. All begin with the same weights and see the same
windows, so that their losses can be laid side by side. The training is cut into parts; in a round each makes one, while
the others wait. The first part holds what there is to compile.
"""

import importlib.metadata
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from bench import tables
from bench.compare import own
from bench.machine import busy, described
from bench.process import Failed, environment
from bench.rivals import SPREAD
from bench.served import Served, answer

FORMS = (("stepax", "fit"), ("stepax", SPREAD), ("torch", "eager"), ("torch", "compile"))
CONTEXT, BATCH, LAYERS, HEADS, FEATURES = 64, 12, 4, 4, 128
RATE, WARM, DECAY, BETAS, NORM = 1e-3, 100, 0.1, (0.9, 0.99), 1.0
# Of the first steps losses differ by rounding alone; after that AdamW makes whole steps of it.
FIRST = 20
RESULTS = tables.RESULTS / "nanogpt"

OUT, SAY = Console(highlight=False), Console(stderr=True, highlight=False)


def main(steps: int = 2000, parts: int = 8, out: pathlib.Path | None = None) -> None:
    """Times the training.

    Args:
        steps: How many.
        parts: Into how many it is cut, all of one length.
        out: The file to write, bench/results/nanogpt/<date>-<machine>.json unless given.

    Raises:
        ValueError: There are no parts, or ``steps`` is no multiple of them.
    """
    import stepax as sx

    check(steps, parts)
    result = {**described(), "steps": steps, "parts": parts}
    taken = busy() or 0.0
    result["forms"] = compared(sx.data.corpus("tinyshakespeare"), steps, parts, result)
    result["busy"] = max(taken, busy() or 0.0)
    OUT.print(table(result))
    out = out or RESULTS / f"{result['date']}-{result['name']}.json"
    tables.write(result, out)
    SAY.print(f"written to {out}", soft_wrap=True)


def check(steps: int, parts: int) -> None:
    """Refuse parts that are not of one length: each is an epoch, and steps left over would go unseen."""
    if parts < 1:
        raise ValueError(f"parts: expected at least 1, got {parts}")
    if steps < parts or steps % parts:
        raise ValueError(f"steps: expected a multiple of parts={parts}, got {steps}")


def compared(text: str, steps: int, parts: int, result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Seconds of every part, and the losses, of every form."""
    forms: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path, cores = pathlib.Path(folder) / "task.npz", result["processor"]["cores"]
        save(path, text, steps, parts)
        running = []
        for rival, form in FORMS:
            cache = own(pathlib.Path(folder), rival, form)
            served = Served("bench.nanogpt", rival, form, path, environment(cores, cache))
            process = stack.enter_context(closing(served))
            facts = forms[f"{rival}, {form}"] = {"seconds": [], "losses": []}
            try:
                result["versions"] |= process.start()["versions"]
                running.append((process, facts))
            except Failed as failure:
                facts["failed"] = str(failure)
        for i in range(parts):
            SAY.print(f"part {i + 1} of {parts}")
            for process, facts in tuple(running):
                try:
                    part = process.ask("train")
                except Failed as failure:
                    facts["failed"] = str(failure)
                    running.remove((process, facts))
                    continue
                facts["seconds"].append(part["seconds"])
                facts["losses"] += part["losses"]
    return summed(forms)


def summed(forms: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """How far losses lie from stepax's at first, and their means over the last tenth, in place of the losses."""
    ours = np.array(forms["stepax, fit"]["losses"])
    for facts in forms.values():
        losses = np.array(facts.pop("losses"))
        if "failed" in facts:
            continue
        if len(losses) == len(ours):
            facts["difference"] = float((np.abs(losses - ours) / ours)[:FIRST].max())
        facts["last"] = float(losses[-max(1, len(losses) // 10) :].mean())
        facts["curve"] = [round(float(part.mean()), 4) for part in np.array_split(losses, min(40, len(losses)))]
    return forms


def ratio(result: dict[str, Any], form: str) -> tuple[float, tuple[float, float, float]]:
    """How many times as fast the best form of stepax is: by sums of all seconds; quartiles of parts after the first."""
    mine = [name for name, facts in result["forms"].items() if name.startswith("stepax") and "failed" not in facts]
    best = min(mine, key=lambda name: sum(result["forms"][name]["seconds"]))
    ours, theirs = (np.array(result["forms"][name]["seconds"]) for name in (best, form))
    return float(theirs.sum() / ours.sum()), tables.quartiles((theirs / ours)[1:].tolist() or [float("nan")])


def table(result: dict[str, Any]) -> Table:
    """All forms."""
    shown = Table(
        "", "seconds", "the first part", "stepax is faster by", "parts after the first", "losses differ by",
        "last tenth", title=f"nanoGPT on a CPU, {result['steps']} steps", title_justify="left",
    )  # fmt: skip
    for form, facts in result["forms"].items():
        if "failed" in facts:
            shown.add_row(form, "failed")
            continue
        seconds, beside = facts["seconds"], ("–", "–", "–")
        if "failed" not in result["forms"]["stepax, fit"]:
            whole, (low, middle, high) = ratio(result, form)
            beside = f"{whole:.2f}", f"{middle:.2f}  ({low:.2f} – {high:.2f})", f"{facts['difference']:.0e}"
        shown.add_row(form, f"{sum(seconds):.1f}", f"{seconds[0]:.1f}", *beside, f"{facts['last']:.4f}")
    return shown


def save(path: pathlib.Path, text: str, steps: int, parts: int, seed: int = 0) -> None:
    """Tokens, where the windows begin, the first weights, and how long a part is."""
    import jax
    from flax import traverse_util

    letters = {letter: i for i, letter in enumerate(sorted(set(text)))}
    tokens = np.array([letters[letter] for letter in text[: int(0.9 * len(text))]], np.int32)
    starts = np.random.default_rng(seed).integers(0, len(tokens) - CONTEXT, (steps, BATCH)).astype(np.int32)
    params = decoder(len(letters)).init(jax.random.key(seed), np.zeros((1, 2), np.int32))["params"]
    weights = {name: np.asarray(array) for name, array in traverse_util.flatten_dict(params, sep="/").items()}
    arrays = {f"weights:{name}": array for name, array in weights.items()}
    np.savez(path, **arrays, tokens=tokens, starts=starts, parts=parts)


class Task:
    """What was saved."""

    def __init__(self, path: pathlib.Path) -> None:
        with np.load(path) as file:
            self.weights = {name.partition(":")[2]: file[name] for name in file.files if name.startswith("weights:")}
            self.tokens, self.starts = file["tokens"], file["starts"]
            self.length = len(self.starts) // int(file["parts"])

    def rate(self, step: Any, xp: Any = np) -> Any:
        """Of learning: a warm-up and a cosine down to a tenth."""
        part = xp.clip((step - WARM) / max(len(self.starts) - WARM, 1), 0, 1)
        cosine = RATE * (0.1 + 0.45 * (1 + xp.cos(xp.pi * part)))
        return xp.where(step < WARM, RATE * (step + 1) / (WARM + 1), cosine)


def decoder(vocabulary: int) -> Any:
    from functools import partial

    import jax
    from flax import linen

    from stepax import nn

    normal = linen.initializers.normal
    return nn.Decoder(
        vocabulary,
        FEATURES,
        LAYERS,
        HEADS,
        CONTEXT,
        activation=partial(jax.nn.gelu, approximate=False),
        kernel_init=normal(0.02),
        residual_init=normal(0.02 / (2 * LAYERS) ** 0.5),
        use_bias=False,
        tied=True,
    )


def ours(task: Task, form: str = "fit") -> Iterator[np.ndarray]:
    """``fit`` in its parts: the losses of one after the other."""
    import jax
    import jax.numpy as jnp
    import optax
    from flax import traverse_util

    import stepax as sx
    from bench.rivals.ours import devices
    from stepax.text.batches import TakeWindows

    count = devices(BATCH) if form == SPREAD else 1

    def matrices(params: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)

    adam = optax.adamw(lambda step: task.rate(step, jnp), *BETAS, weight_decay=DECAY, mask=matrices)
    optimizer = optax.chain(optax.clip_by_global_norm(NORM), adam)
    vocabulary = len(task.weights["tokens"])
    learner = sx.supervised(decoder(vocabulary), sx.losses.cross_entropy, optimizer)
    if count > 1:
        learner = sx.shard(learner, sx.mesh(data=count))
    starts, tokens = jnp.asarray(task.starts.reshape(-1, task.length, BATCH)), jnp.asarray(task.tokens)
    source = sx.Source(task.length, lambda epoch: {"starts": starts[epoch], "tokens": tokens}, TakeWindows(CONTEXT))
    key = jax.random.key(0)
    params = jax.tree.map(jnp.asarray, traverse_util.unflatten_dict(task.weights, sep="/"))
    state = sx.compile.jit(lambda params: learner.init(key, source.take(source.order(0), 0))._replace(params=params))(
        params
    )
    losses: list[np.ndarray] = []
    for _, metrics in sx.epochs(learner, source, state, seconds=sx.reports.PACE):
        losses.append(metrics["loss"])
        if sum(map(len, losses)) == task.length:
            yield np.concatenate(losses)
            losses = []


def theirs(task: Task, form: str) -> Iterator[np.ndarray]:
    """The same in PyTorch."""
    import torch
    import torch.nn.functional as F

    from bench.rivals import gpt

    model = gpt.made(task.weights, HEADS).train()
    groups = [[p for p in model.parameters() if (p.ndim >= 2) == matrix] for matrix in (True, False)]
    optimizer = torch.optim.AdamW(
        [{"params": groups[0], "weight_decay": DECAY}, {"params": groups[1], "weight_decay": 0.0}],
        lr=RATE, betas=BETAS, fused=True,
    )  # fmt: skip

    def loss_of(x: Any, y: Any) -> Any:
        return F.cross_entropy(model(x).flatten(0, 1), y.flatten())

    compute = torch.compile(loss_of, dynamic=False) if form == "compile" else loss_of
    tokens, starts = torch.from_numpy(task.tokens).long(), torch.from_numpy(task.starts).long()
    reach, step = torch.arange(CONTEXT + 1), 0
    while True:
        losses = []
        for _ in range(task.length):
            found = tokens[starts[step][:, None] + reach]
            for group in optimizer.param_groups:
                group["lr"] = float(task.rate(step))
            loss = compute(found[:, :-1], found[:, 1:])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), NORM)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.detach())
            step += 1
        yield torch.stack(losses).numpy()


def serve(rival: str, form: str, path: str) -> None:
    """Answers ``start`` and ``train``."""
    task = Task(pathlib.Path(path))
    packages = {"stepax": ("stepax", "jax", "jaxlib", "flax", "optax"), "torch": ("torch",)}[rival]
    running = ours(task, form) if rival == "stepax" else theirs(task, form)

    def start() -> dict[str, Any]:
        # Imports are no part of the first part's time.
        __import__({"stepax": "stepax", "torch": "torch"}[rival])
        return {"versions": {name: importlib.metadata.version(name) for name in packages}}

    def train() -> dict[str, Any]:
        began = time.perf_counter()
        losses = next(running)
        return {"seconds": time.perf_counter() - began, "losses": losses.tolist()}

    answer({"start": start, "train": train})


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(*sys.argv[2:])
    else:
        tyro.cli(main, description=__doc__)
