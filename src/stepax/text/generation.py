"""Continuing texts, as one compiled program with a cache."""

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stepax.checks import check_count, check_key
from stepax.compile import Concurrent, cores, signature
from stepax.text.answers import check_answers
from stepax.text.continuation import Plan, Text, begin, extend, go_on
from stepax.text.prompt import check_end, prepared_prompt
from stepax.text.sampling import checked, knobs
from stepax.typing import Array, Key, Tree

__all__ = ["generate", "stream"]

BLAME = "params", "parameters that are finite"
# How many texts are worth a thread of their own.
LEAST = 4


def generate(
    module: Any,
    params: Tree,
    prompt: Any,
    length: int,
    key: Key,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    mask: Any = None,
    end: int | None = None,
) -> Array:
    """Continues texts by a number of tokens, each drawn as in :func:`stepax.text.sample`.

    The whole is one compiled program, which keeps what the module has read; a call waits for its end. On a CPU a batch
    is divided among the cores, each of which runs the program for its rows. It compiles anew for another module, shape
    of the prompt, ``length``, ``top_k`` or ``end``, not for another temperature or ``top_p``.

    What a module's ``context`` cannot hold is forgotten: of a longer prompt its last ``context`` tokens are read, and
    when the context is full, its last half is read anew, and the text goes on from there. In a batch this happens to
    all rows at once; a mask's padding takes part of the context.

    Args:
        module: A Linen module that can continue a text: :class:`stepax.nn.Decoder`, ``LSTMLanguageModel``, or one with
            the same methods.
        params: Its parameters.
        prompt: The beginnings, tokens ``[batch, time]``.
        length: How many tokens follow.
        key: For the draws: the ``i``-th new tokens have the key ``fold_in(key, i)``.
        temperature: 0 takes the likeliest token, 1 draws from the model's distribution.
        top_k: Draw among so many likeliest tokens only.
        top_p: Draw from the smallest set of tokens with this probability only.
        mask: ``[batch, time]``, true where a token of the prompt is real: prompts of different lengths are padded,
            on any side, and each continues as it would alone.
        end: The token that ends a text: what follows is padding, token 0. When all have ended the program stops.

    Returns:
        The new tokens ``[batch, length]``, int32.

    Raises:
        TypeError: The module lacks a method, tokens, ``length`` or ``top_k`` are no whole numbers, or ``key`` is no
            typed key.
        ValueError: The prompt is empty or hidden by its mask, holds tokens outside the vocabulary, or has another shape
            than the mask; ``length`` is below 1; ``temperature`` is negative; ``top_k`` is more than there are tokens;
            ``top_p`` is not in (0, 1]; ``end`` is outside the vocabulary; the model answers NaN.
    """
    plan, parts = _prepared(module, params, prompt, length, key, temperature, top_k, top_p, mask, end)
    settings = key, knobs(temperature, top_p)
    tokens, broken = zip(*_whole(plan, length)([(params, *part, *settings) for part in parts]), strict=True)
    check_answers(_together(broken), *BLAME)
    return _together(tokens)


def stream(
    module: Any,
    params: Tree,
    prompt: Any,
    length: int,
    key: Key,
    *,
    chunk: int = 16,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    mask: Any = None,
    end: int | None = None,
) -> Iterator[np.ndarray]:
    """The tokens of :func:`generate` as they come, the same ones: an iterator over arrays on the host.

    Args:
        module: As in ``generate``.
        params: As in ``generate``.
        prompt: As in ``generate``.
        length: How many tokens follow at most; nothing is compiled anew for another number.
        key: As in ``generate``.
        chunk: How many tokens come at once.
        temperature: As in ``generate``.
        top_k: As in ``generate``.
        top_p: As in ``generate``.
        mask: As in ``generate``.
        end: As in ``generate``; the iterator stops with the chunk in which the last text has ended.

    Returns:
        An iterator over tokens ``[batch, chunk]``, int32; the last array may be narrower.

    Raises:
        TypeError: As in ``generate``, when called; ``chunk`` is no whole number.
        ValueError: Likewise; ``chunk`` is below 1. That the model answers NaN is told by the iterator, in place of the
            chunk.
    """
    check_count("chunk", chunk)
    plan, parts = _prepared(module, params, prompt, length, key, temperature, top_k, top_p, mask, end)
    return _chunks(plan, params, parts, key, knobs(temperature, top_p), length, chunk)


def _prepared(
    module: Any,
    params: Tree,
    prompt: Any,
    length: int,
    key: Key,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    mask: Any,
    end: int | None,
) -> tuple[Plan, list[tuple]]:
    """Everything checked: the plan, and the prompt in parts, with its padding on the left and cut to the context."""
    for name in ("start", "extend"):
        if not callable(getattr(module, name, None)):
            raise TypeError(
                f"module: expected one that continues texts, with the methods start and extend, got "
                f"{type(module).__name__}, which has no {name}"
            )
    check_count("length", length)
    check_key(key)
    vocabulary = _vocabulary(module, signature(params))
    start = prepared_prompt(prompt, mask, vocabulary, getattr(module, "context", None))
    check_end(end, vocabulary)
    return _parts(Plan(module, checked(temperature, top_k, top_p, vocabulary), end), start)


def _parts(plan: Plan, start: tuple[np.ndarray, np.ndarray | None]) -> tuple[Plan, list[tuple]]:
    """The texts in equal parts that are to run side by side, each with its first row."""
    prompt, real = start
    batch = len(prompt)
    count = max((n for n in range(1, min(cores(), batch // LEAST) + 1) if batch % n == 0), default=1)
    rows = [slice(first, first + batch // count) for first in range(0, batch, batch // count)]
    if count > 1 and not plan.choice.greedy:
        plan = plan._replace(batch=batch)
    return plan, [(prompt[i], None if real is None else real[i], np.int32(i.start)) for i in rows]


@lru_cache(maxsize=32)
def _vocabulary(module: Any, like: Any) -> int:
    """How many logits a token has. Kept, as tracing a module takes as long as hundreds of tokens."""
    token, state = jax.ShapeDtypeStruct((1, 1), jnp.int32), jax.eval_shape(lambda: module.start(1))
    params = jax.tree.unflatten(*like)
    return jax.eval_shape(lambda *given: extend(module, *given), params, token, state)[0].shape[-1]


@lru_cache(maxsize=32)
def _whole(plan: Plan, length: int) -> Concurrent:
    def whole(
        params: Tree, prompt: Array, real: Array | None, row: Array, key: Key, knobs: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        text = begin(plan, params, prompt, real, row)
        text, tokens = go_on(plan, length, params, text, key, knobs, jnp.int32(0), jnp.int32(length))
        return tokens, text.broken

    return Concurrent(whole)


@lru_cache(maxsize=32)
def _in_chunks(plan: Plan, chunk: int) -> tuple[Concurrent, Concurrent]:
    """The same in two programs: one reads the prompt, one makes a chunk."""
    return Concurrent(partial(begin, plan)), Concurrent(partial(go_on, plan, chunk), donate=(1,))


def _chunks(
    plan: Plan, params: Tree, parts: list[tuple], key: Key, knobs: tuple, length: int, chunk: int
) -> Iterator[np.ndarray]:
    read, made = _in_chunks(plan, chunk)
    texts: Sequence[Text] = read([(params, *part) for part in parts])
    for first in range(0, length, chunk):
        count = min(chunk, length - first)
        now = key, knobs, jnp.int32(first), jnp.int32(count)
        texts, tokens = zip(*made([(params, text, *now) for text in texts]), strict=True)
        check_answers(_together([text.broken for text in texts]), *BLAME)
        yield np.concatenate(tokens)[:, :count]
        if plan.end is not None and all(np.all(text.done) for text in texts):
            return


def _together(parts: Sequence[Array]) -> Array:
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts)
