"""The compiled loop: chunks of an epoch, each one call of one program."""

import time
from collections.abc import Callable, Hashable, Iterator
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from stepax.checks import check_count
from stepax.compile import Program, compile_seconds, jit, signature
from stepax.learner import Learner, State, check_learner
from stepax.source import Source
from stepax.typing import Metrics, Tree

__all__ = ["copied", "epochs"]


def epochs(
    learner: Learner, source: Source, state: State, *, chunk: int | None = None, seconds: float | None = None
) -> Iterator[tuple[State, dict[str, np.ndarray]]]:
    """Trains without end, epoch after epoch, from ``state.step`` on.

    Steps run in chunks, each one call of one compiled program; a chunk never crosses the end of an epoch. How the steps
    are cut into chunks changes no bit of the result. A user who wants another loop than ``fit`` writes it around this
    one::

        for state, metrics in stepax.epochs(learner, source, state, chunk=100):
            print(int(state.step), metrics["loss"].mean())
            if state.step >= 1000:
                break

    Args:
        learner: What to train.
        source: Where batches come from.
        state: Where to start; it stays valid.
        chunk: The most steps between two turns of the loop; ``None``: an epoch.
        seconds: About how long a turn may take; ``None``: as long as ``chunk`` says.

    Yields:
        The state, which is borrowed until the next turn (``jax.tree.map(jnp.copy, state)`` keeps it), and the chunk's
        metrics, each ``[steps]``.

    Raises:
        TypeError: No learner, source or state; ``chunk`` is no whole number.
        ValueError: ``chunk`` is below 1; the step changes the state's structure, shapes or dtypes.
    """
    check_learner(learner, state)
    if not isinstance(source, Source):
        raise TypeError(
            "source: expected a stepax.Source, as stepax.shuffled(data, batch_size, key) makes it, "
            f"got {type(source).__name__}"
        )
    if chunk is not None:
        check_count("chunk", chunk)
    capacity = min(chunk or source.length, source.length)
    program = _program(learner, source.take, capacity, signature((state, source.order(0))))
    state = copied(state)
    position, planned = int(state.step), capacity if seconds is None else 1
    while True:
        epoch, first = divmod(position, source.length)
        order = source.order(epoch)
        while first < source.length:
            last = min(first + planned, source.length)
            compiled, started = compile_seconds(), time.perf_counter()
            state, buffers = program(state, order, jnp.int32(first), jnp.int32(last))
            metrics = {name: values[: last - first] for name, values in jax.device_get(buffers).items()}
            spent = time.perf_counter() - started - (compile_seconds() - compiled)
            yield state, metrics
            if seconds is not None:
                planned = max(1, min(capacity, 4 * planned, int((last - first) * seconds / max(spent, 1e-9))))
            position, first = position + last - first, last


@lru_cache(maxsize=16)
def _program(learner: Learner, take: Callable, capacity: int, shapes: Hashable) -> Program:
    """A second training of the same learner, on data of the same shapes, compiles nothing."""
    del shapes
    return Program(_chunk(learner, take, capacity), donate=(0,))


def copied(state: State) -> State:
    """The same state in memory of its own, which a donated step cannot take."""
    return jit(_copy)(state)


def _copy(state: State) -> State:
    return jax.tree.map(jnp.copy, state)


def _chunk(learner: Learner, take: Callable, capacity: int) -> Callable[..., tuple[State, Metrics]]:
    """Steps ``first`` to ``last`` of an epoch, with their metrics in buffers of a fixed length.

    The bounds are arguments: one program serves chunks of any length.
    """

    def run(state: State, order: Tree, first: jax.Array, last: jax.Array) -> tuple[State, Metrics]:
        after, like = jax.eval_shape(lambda state: learner.step(state, take(order, first)), state)
        _check_unchanged(state, after)

        def body(i: jax.Array, carry: tuple[State, Metrics]) -> tuple[State, Metrics]:
            state, buffers = carry
            state, metrics = learner.step(state, take(order, i))
            return state, {name: buffers[name].at[i - first].set(value) for name, value in metrics.items()}

        buffers = {name: jnp.zeros((capacity, *value.shape), value.dtype) for name, value in like.items()}
        return jax.lax.fori_loop(first, last, body, (state, buffers))

    return run


def _check_unchanged(before: Tree, after: Tree) -> None:
    """A step is the body of a loop: it must give back what it took."""
    first, second = (dict(jax.tree_util.tree_flatten_with_path(tree)[0]) for tree in (before, after))
    for path in [*first, *(path for path in second if path not in first)]:
        was, now = (
            f"{tree[path].dtype}{list(tree[path].shape)}" if path in tree else "absent" for tree in (first, second)
        )
        if was != now:
            raise ValueError(
                "step: the learner's step must keep the state's shapes; "
                f"state{jax.tree_util.keystr(path)} was {was} and became {now}"
            )
