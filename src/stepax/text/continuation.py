"""How a text goes on, as pure functions: the prompt is read, and then a loop makes one token after the other.

A module can continue a text if it has two methods beside its call, and an attribute:

    start(batch) -> state                                              # nothing read yet; needs no parameters
    extend(tokens [batch, t], state, mask=None) -> (logits [batch, t, vocabulary], state)
    context                                                            # the most tokens that a state holds, or None

Where ``start`` has an argument ``room``, for how many tokens the state is, and ``extend`` takes such a state, whose
arrays are the beginnings of those of the whole, a long context is read as far as it is filled, in quarters.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from stepax.keys import fold_in
from stepax.text.prompt import filled
from stepax.text.sampling import Choice, chosen
from stepax.text.tokens import PADDING
from stepax.typing import Array, Key, Tree

__all__ = ["Plan", "Text", "begin", "extend", "go_on"]

# A state of so many numbers, of those texts that a program is for, is read in parts: the program then holds the loop
# over tokens several times.
LARGE, ROOMS = 2**22, 4


class Plan(NamedTuple):
    """What programs differ by.

    Attributes:
        module: What continues.
        choice: How a token is chosen.
        end: The token that ends a text, or ``None``.
        batch: Of how many texts those of a program are a part; ``None``: they are all, or nothing is drawn.
    """

    module: Any
    choice: Choice
    end: int | None
    batch: int | None = None


class Text(NamedTuple):
    """A batch of texts between two tokens.

    Attributes:
        state: What the module has read: all but ``token``.
        token: The last one of each text, ``[batch]``.
        recent: What lies in the state, ``[batch, context]``, or ``None`` of a module without a bound.
        real: Where ``recent`` is no padding, likewise; ``None`` where there is none.
        used: How many places of the context are taken.
        done: Which texts have ended, ``[batch]``.
        broken: For which the model has answered NaN before, ``[batch]``.
        row: The first one's row in the whole batch.
    """

    state: Tree
    token: Array
    recent: Any
    real: Any
    used: Array
    done: Array
    broken: Array
    row: Array


def begin(plan: Plan, params: Tree, prompt: Array, real: Array | None, row: Array) -> Text:
    """The prompt read, all but its last token."""
    module, (batch, time) = plan.module, prompt.shape
    state, context = module.start(batch), getattr(module, "context", None)
    if time > 1:
        _, state = extend(module, params, prompt[:, :-1], state, None if real is None else real[:, :-1])
    no = jnp.zeros(batch, bool)
    text = Text(state, prompt[:, -1], None, None, jnp.int32(time - 1), done=no, broken=no, row=row)
    if context is None:
        return text
    return text._replace(recent=filled(prompt, context), real=None if real is None else filled(real, context))


def go_on(
    plan: Plan,
    size: int,
    params: Tree,
    text: Text,
    key: Key,
    knobs: tuple[Array, Array],
    first: Array,
    count: Array,
) -> tuple[Text, Array]:
    """``count`` tokens more, of which the first is the ``first``-th of all; ``[batch, size]``, the rest is padding."""
    context: Any = getattr(plan.module, "context", None)

    def wanted(carry: tuple[Text, Array, Array]) -> Array:
        text, _, i = carry
        return (i < count) & (True if plan.end is None else ~text.done.all())

    def one(carry: tuple[Text, Array, Array]) -> tuple[Text, Array, Array]:
        text, out, i = carry
        text = _next(plan, params, text, fold_in(key, first + i), knobs)
        return text, lax.dynamic_update_slice_in_dim(out, text.token[:, None], i, axis=1), i + 1

    def until_full(carry: tuple[Text, Array, Array]) -> tuple[Text, Array, Array]:
        text, out, i = carry
        # Outside of the loop over tokens: a branch within would copy the whole state for each of them.
        text = lax.cond(text.used == context, lambda t: _read_anew(plan, params, t), lambda t: t, text)
        full = sum((jnp.int32(text.used >= size) for size in rooms[:-1]), jnp.int32(0))
        return lax.switch(full, [until(size) for size in rooms], (text, out, i))

    def until(room: int) -> Callable[[tuple[Text, Array, Array]], tuple[Text, Array, Array]]:
        def run(carry: tuple[Text, Array, Array]) -> tuple[Text, Array, Array]:
            text, out, i = carry
            whole, part = text.state, text.state
            if room < context:
                part = _cut(whole, jax.eval_shape(lambda: plan.module.start(batch, room=room)))
            carry = text._replace(state=part), out, i
            text, out, i = lax.while_loop(lambda c: wanted(c) & (c[0].used < room), one, carry)
            return text._replace(state=jax.tree.map(_within, whole, text.state)), out, i

        return run

    batch = text.token.shape[0]
    rooms = () if context is None else _rooms(plan.module, batch, context)
    out = jnp.full((batch, size), PADDING, jnp.int32)
    body = one if context is None else until_full
    text, out, _ = lax.while_loop(wanted, body, (text, out, jnp.int32(0)))
    return text, out


def _next(plan: Plan, params: Tree, text: Text, key: Key, knobs: tuple[Array, Array]) -> Text:
    """One token more."""
    logits, state = extend(plan.module, params, text.token[:, None], text.state)
    rows = None if plan.batch is None else (text.row, plan.batch)
    token, done = chosen(plan.choice, logits[:, -1], key, *knobs, rows), text.done
    broken = text.broken | (~done & jnp.isnan(logits[:, -1]).any(-1))
    recent, used = text.recent, text.used + 1
    if recent is not None:
        recent = lax.dynamic_update_slice_in_dim(recent, text.token[:, None], text.used, axis=1)
    if plan.end is not None:
        token = jnp.where(done, PADDING, token)
        done = done | (token == plan.end)
    return text._replace(state=state, token=token, recent=recent, used=used, done=done, broken=broken)


def _read_anew(plan: Plan, params: Tree, text: Text) -> Text:
    """The last half of a full context, in place of the whole."""
    batch, context = text.recent.shape
    half, state = context // 2, plan.module.start(batch)
    last = slice(context - half, None)
    recent, real = text.recent[:, last], None if text.real is None else text.real[:, last]
    if half:
        _, state = extend(plan.module, params, recent, state, real)
    return text._replace(
        state=state,
        recent=filled(recent, context),
        real=None if real is None else filled(real, context),
        used=jnp.full_like(text.used, half),
    )


def _rooms(module: Any, batch: int, context: int) -> tuple[int, ...]:
    """For how many tokens states are to be, one after the other, until the context is full."""
    if "room" not in inspect.signature(module.start).parameters:
        return (context,)
    numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(lambda: module.start(batch))))
    count = ROOMS if numbers >= LARGE else 1
    return tuple(sorted({-(-context * i // count) for i in range(1, count + 1)}))


def _cut(state: Tree, like: Tree) -> Tree:
    """The beginning of each array, of another one's shape."""
    return jax.tree.map(lambda whole, part: lax.slice(whole, [0] * whole.ndim, part.shape), state, like)


def _within(whole: Array, part: Array) -> Array:
    """An array whose beginning is replaced."""
    return part if part.shape == whole.shape else lax.dynamic_update_slice(whole, part, [0] * whole.ndim)


def extend(module: Any, params: Tree, tokens: Array, state: Tree, mask: Array | None = None) -> tuple[Array, Tree]:
    """The logits of what comes next, and what the module then has read."""
    return module.apply({"params": params}, tokens, state, mask, method="extend")
