"""Continuing texts, as one compiled program with a cache.

A module can continue a text if it has two methods beside its call, and an attribute:

    start(batch) -> state                                              # nothing read yet; needs no parameters
    extend(tokens [batch, t], state, mask=None) -> (logits [batch, t, vocabulary], state)
    context                                                            # the most tokens that a state holds, or None
"""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from stepax.checks import check_count, check_key
from stepax.compile import jit, signature
from stepax.keys import fold_in
from stepax.text.answers import check_answers
from stepax.text.prompt import check_end, filled, prepared_prompt
from stepax.text.sampling import Choice, checked, chosen, knobs
from stepax.text.tokens import PADDING
from stepax.typing import Array, Key, Tree

__all__ = ["generate", "stream"]

BLAME = "params", "parameters that are finite"


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

    The whole is one compiled program, which keeps what the module has read; a call waits for its end. It compiles anew
    for another module, shape of the prompt, ``length``, ``top_k`` or ``end``, not for another temperature or ``top_p``.

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
    plan, start = _prepared(module, params, prompt, length, key, temperature, top_k, top_p, mask, end)
    tokens, broken = _whole(plan, length)(params, *start, key, knobs(temperature, top_p))
    check_answers(broken, *BLAME)
    return tokens


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
    plan, start = _prepared(module, params, prompt, length, key, temperature, top_k, top_p, mask, end)
    return _chunks(plan, params, start, key, knobs(temperature, top_p), length, chunk)


class _Plan(NamedTuple):
    """What programs differ by."""

    module: Any
    choice: Choice
    end: int | None


class _Text(NamedTuple):
    """A batch of texts between two tokens.

    Attributes:
        state: What the module has read: all but ``token``.
        token: The last one of each text, ``[batch]``.
        recent: What lies in the state, ``[batch, context]``, or ``None`` of a module without a bound.
        real: Where ``recent`` is no padding, likewise; ``None`` where there is none.
        used: How many places of the context are taken.
        done: Which texts have ended, ``[batch]``.
        broken: For which the model has answered NaN before, ``[batch]``.
    """

    state: Tree
    token: Array
    recent: Any
    real: Any
    used: Array
    done: Array
    broken: Array


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
) -> tuple[_Plan, tuple[np.ndarray, np.ndarray | None]]:
    """Everything checked: the plan, and the prompt with its padding on the left, cut to the context."""
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
    return _Plan(module, checked(temperature, top_k, top_p, vocabulary), end), start


@lru_cache(maxsize=32)
def _vocabulary(module: Any, like: Any) -> int:
    """How many logits a token has. Kept, as tracing a module takes as long as hundreds of tokens."""
    token, state = jax.ShapeDtypeStruct((1, 1), jnp.int32), jax.eval_shape(lambda: module.start(1))
    params = jax.tree.unflatten(*like)
    return jax.eval_shape(lambda *given: _extend(module, *given), params, token, state)[0].shape[-1]


@lru_cache(maxsize=32)
def _whole(plan: _Plan, length: int) -> Callable[..., tuple[Array, Array]]:
    def whole(params: Tree, prompt: Array, real: Array | None, key: Key, knobs: tuple[Array, Array]) -> Any:
        text = _begin(plan, params, prompt, real)
        text, tokens = _go_on(plan, length, params, text, key, knobs, jnp.int32(0), jnp.int32(length))
        return tokens, text.broken

    return jit(whole)


@lru_cache(maxsize=32)
def _parts(plan: _Plan, chunk: int) -> tuple[Callable[..., _Text], Callable[..., tuple[_Text, Array]]]:
    """The same in two programs: one reads the prompt, one makes a chunk."""
    begin, go_on = partial(_begin, plan), partial(_go_on, plan, chunk)
    return jit(begin), jit(go_on, donate=(1,))


def _chunks(
    plan: _Plan, params: Tree, start: tuple, key: Key, knobs: tuple, length: int, chunk: int
) -> Iterator[np.ndarray]:
    begin, go_on = _parts(plan, chunk)
    text = begin(params, *start)
    for first in range(0, length, chunk):
        count = min(chunk, length - first)
        text, tokens = go_on(params, text, key, knobs, jnp.int32(first), jnp.int32(count))
        check_answers(text.broken, *BLAME)
        yield np.asarray(tokens)[:, :count]
        if plan.end is not None and np.all(text.done):
            return


def _begin(plan: _Plan, params: Tree, prompt: Array, real: Array | None) -> _Text:
    """The prompt read, all but its last token."""
    module, (batch, time) = plan.module, prompt.shape
    state, context = module.start(batch), getattr(module, "context", None)
    if time > 1:
        _, state = _extend(module, params, prompt[:, :-1], state, None if real is None else real[:, :-1])
    text = _Text(state, prompt[:, -1], None, None, jnp.int32(time - 1), *[jnp.zeros(batch, bool)] * 2)
    if context is None:
        return text
    return text._replace(recent=filled(prompt, context), real=None if real is None else filled(real, context))


def _go_on(
    plan: _Plan,
    size: int,
    params: Tree,
    text: _Text,
    key: Key,
    knobs: tuple[Array, Array],
    first: Array,
    count: Array,
) -> tuple[_Text, Array]:
    """``count`` tokens more, of which the first is the ``first``-th of all; ``[batch, size]``, the rest is padding."""
    context = getattr(plan.module, "context", None)

    def wanted(carry: tuple[_Text, Array, Array]) -> Array:
        text, _, i = carry
        return (i < count) & (True if plan.end is None else ~text.done.all())

    def one(carry: tuple[_Text, Array, Array]) -> tuple[_Text, Array, Array]:
        text, out, i = carry
        text = _next(plan, params, text, fold_in(key, first + i), knobs)
        return text, lax.dynamic_update_slice_in_dim(out, text.token[:, None], i, axis=1), i + 1

    def until_full(carry: tuple[_Text, Array, Array]) -> tuple[_Text, Array, Array]:
        text, out, i = carry
        # Outside of the loop over tokens: a branch within would copy the whole state for each of them.
        text = lax.cond(text.used == context, lambda t: _read_anew(plan, params, t), lambda t: t, text)
        return lax.while_loop(lambda c: wanted(c) & (c[0].used < context), one, (text, out, i))

    out = jnp.full((text.token.shape[0], size), PADDING, jnp.int32)
    body = one if context is None else until_full
    text, out, _ = lax.while_loop(wanted, body, (text, out, jnp.int32(0)))
    return text, out


def _next(plan: _Plan, params: Tree, text: _Text, key: Key, knobs: tuple[Array, Array]) -> _Text:
    """One token more."""
    logits, state = _extend(plan.module, params, text.token[:, None], text.state)
    token, done = chosen(plan.choice, logits[:, -1], key, *knobs), text.done
    broken = text.broken | (~done & jnp.isnan(logits[:, -1]).any(-1))
    recent, used = text.recent, text.used + 1
    if recent is not None:
        recent = lax.dynamic_update_slice_in_dim(recent, text.token[:, None], text.used, axis=1)
    if plan.end is not None:
        token = jnp.where(done, PADDING, token)
        done = done | (token == plan.end)
    return text._replace(state=state, token=token, recent=recent, used=used, done=done, broken=broken)


def _read_anew(plan: _Plan, params: Tree, text: _Text) -> _Text:
    """The last half of a full context, in place of the whole."""
    batch, context = text.recent.shape
    half, state = context // 2, plan.module.start(batch)
    last = slice(context - half, None)
    recent, real = text.recent[:, last], None if text.real is None else text.real[:, last]
    if half:
        _, state = _extend(plan.module, params, recent, state, real)
    return text._replace(
        state=state,
        recent=filled(recent, context),
        real=None if real is None else filled(real, context),
        used=jnp.full_like(text.used, half),
    )


def _extend(module: Any, params: Tree, tokens: Array, state: Tree, mask: Array | None = None) -> tuple[Array, Tree]:
    return module.apply({"params": params}, tokens, state, mask, method="extend")
