"""The likeliest translation: greedily, token by token, and by a beam of the best beginnings."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from stepax.checks import check_count
from stepax.compile import jit
from stepax.targets import at_least_float32, host_values
from stepax.text.answers import check_answers
from stepax.text.tokens import BEGIN, END, PADDING
from stepax.typing import Array, Tree

__all__ = ["beam_search", "greedy"]

BLAME = "source", "tokens of its vocabulary, and parameters that are finite"

Extend = Callable[[Array, Tree], tuple[Array, Tree]]


def greedy(module: Any, params: Tree, source: Any, length: int, begin: int = BEGIN, end: int = END) -> Array:
    """Translates by taking the likeliest token at each step; one compiled program, which ends when all rows have.

    Args:
        module: One that translates: with ``encode(source)``, ``extend(tokens, state)``, and ``context`` where a
            state holds so many tokens at most, such as :class:`stepax.text.LSTMTranslator` and
            :class:`stepax.nn.Transformer`.
        params: Its parameters.
        source: Tokens ``[batch, source]``; 0 is padding.
        length: The most tokens of a translation, its end among them.
        begin: The token with which the target starts.
        end: The token with which it ends.

    Returns:
        ``[batch, length]`` int32: without ``begin``, with ``end`` where it was reached, then 0. Padding itself is never
        chosen.

    Raises:
        TypeError: The module has no such methods, tokens or sizes are no whole numbers.
        ValueError: ``length`` is below 1 or above the module's ``context``; ``begin`` or ``end`` is padding or outside
            of the vocabulary; the source has no rows, or one without a token; the model answers NaN.
    """
    source = _checked(module, source, length, begin, end)
    tokens, broken = _greedy(module, int(length), int(begin), int(end))(params, source)
    check_answers(broken, *BLAME)
    return tokens


@lru_cache(maxsize=32)
def _greedy(module: Any, length: int, begin: int, end: int) -> Callable[[Tree, Array], tuple[Array, Array]]:
    def translate(params: Tree, source: Array) -> tuple[Array, Array]:
        encode, extend = _methods(module, params)
        rows = source.shape[0]
        state = encode(source)
        _checked_step(extend, rows, state, begin, end)

        def goes_on(carried: Any) -> Array:
            step, _, _, done, *_ = carried
            return (step < length) & ~done.all()

        def advance(carried: Any) -> Any:
            step, tokens, last, done, broken, state = carried
            logits, state = extend(last[:, None], state)
            logits = logits[:, 0].at[:, PADDING].set(-jnp.inf)
            last = jnp.where(done, PADDING, jnp.argmax(logits, -1)).astype(jnp.int32)
            broken = broken | (~done & jnp.isnan(logits).any(-1))
            return step + 1, tokens.at[:, step].set(last), last, done | (last == end), broken, state

        no = jnp.zeros(rows, bool)
        first = jnp.full(rows, begin, jnp.int32)
        start = (jnp.int32(0), jnp.zeros((rows, length), jnp.int32), first, no, no, state)
        _, tokens, _, _, broken, _ = lax.while_loop(goes_on, advance, start)
        return tokens, broken

    return jit(translate)


def beam_search(
    module: Any,
    params: Tree,
    source: Any,
    length: int,
    beams: int = 4,
    begin: int = BEGIN,
    end: int = END,
    penalty: float = 0.0,
) -> tuple[Array, Array]:
    r"""Translates by following the best beginnings side by side; one compiled program, whatever the penalty.

    At each step every beginning is gone on with by every token, and the ``beams`` best that have not ended live on. One
    that has ended, and was among the ``beams`` best, is kept aside with its score

    .. math:: s(Y) = \log P(Y \mid X) / \mathrm{lp}(Y), \quad \mathrm{lp}(Y) = \left(\frac{5 + |Y|}{6}\right)^\alpha

    where :math:`|Y|` counts the end too and :math:`\alpha` is ``penalty``: 0 gives plain probabilities, and more
    favours long translations. As each further token makes a beginning less likely, none can score above
    :math:`\log P / \mathrm{lp}` at the full ``length``: when this is no better than the worst of ``beams`` translations
    kept, the search has ended. With one beam and no penalty it is :func:`greedy`.

    Args:
        module: As in :func:`greedy`.
        params: Its parameters.
        source: Tokens ``[batch, source]``; 0 is padding.
        length: The most tokens of a translation, its end among them. One that has not ended by then counts as it is.
        beams: How many beginnings are followed, and how many translations returned. There may be more than tokens, or
            than translations: at the first step there are only as many beginnings as tokens.
        begin: The token with which the target starts.
        end: The token with which it ends.
        penalty: ``α``, at least 0.

    Returns:
        Tokens ``[batch, beams, length]`` int32, as in :func:`greedy`, and their scores ``[batch, beams]``, best first.
        Where there are fewer translations than beams, the rest are padding with the score −inf.

    Raises:
        TypeError: As in :func:`greedy`; ``penalty`` is no number.
        ValueError: As in :func:`greedy`; ``beams`` is below 1, or ``penalty`` negative or not finite.

    Reference:
        Wu et al., Google's neural machine translation system, 2016, arXiv:1609.08144, section 7 (length penalty).
    """
    source = _checked(module, source, length, begin, end)
    check_count("beams", beams)
    if isinstance(penalty, bool) or not isinstance(penalty, int | float | np.number):
        raise TypeError(f"penalty: expected a number of at least 0, got {type(penalty).__name__} {penalty!r}")
    if not 0 <= penalty < np.inf:
        raise ValueError(f"penalty: expected a number of at least 0, got {penalty}")
    program = _beam_search(module, int(length), int(beams), int(begin), int(end))
    tokens, scores = program(params, source, np.float32(penalty))
    check_answers(jnp.isnan(scores).any(-1), *BLAME)
    return tokens, scores


class _Beams(NamedTuple):
    """A search after some steps.

    Attributes:
        step: How many.
        live: Log-probabilities of the beginnings ``[batch, beams]``, best first; −inf where there is none.
        texts: Their tokens ``[batch, beams, length]``.
        last: The last of them ``[batch, beams]``.
        state: The module's, with ``batch · beams`` rows.
        scores: Scores of what has ended ``[batch, beams]``, best first; −inf where there is none.
        ended: Its tokens ``[batch, beams, length]``.
    """

    step: Array
    live: Array
    texts: Array
    last: Array
    state: Tree
    scores: Array
    ended: Array


@lru_cache(maxsize=32)
def _beam_search(module: Any, length: int, beams: int, begin: int, end: int) -> Callable[..., tuple[Array, Array]]:
    def translate(params: Tree, source: Array, penalty: Array) -> tuple[Array, Array]:
        encode, extend = _methods(module, params)
        axes = _batch_axes(encode, source)
        state = _each_row(lambda leaf, axis: jnp.repeat(leaf, beams, axis), encode(source), axes)
        # What is never written is the same for all beams of a row: it stays where it is.
        axes = _of_written(axes, _checked_step(extend, source.shape[0] * beams, state, begin, end))

        def divisor(count: Any) -> Array:
            return ((5.0 + count) / 6.0) ** penalty

        def best_possible(search: _Beams) -> Array:
            return search.live / divisor(length)

        def goes_on(search: _Beams) -> Array:
            done = search.scores[:, -1] >= best_possible(search)[:, 0]
            return (search.step < length) & ~done.all()

        def advance(search: _Beams) -> _Beams:
            totals, state = _continued(extend, search)
            # One token for each beginning ends it: among twice as many there are enough that live on.
            values, places = lax.top_k(totals.reshape(totals.shape[0], -1), 2 * beams)
            parents, tokens = places // totals.shape[2], (places % totals.shape[2]).astype(jnp.int32)
            texts = _picked(search.texts, parents).at[:, :, search.step].set(tokens)
            # To end, it must be among the best: so that one beam is greedy.
            ending = jnp.where(tokens == end, values / divisor(search.step + 1), -jnp.inf)[:, :beams]
            scores, ended = _best((search.scores, ending), (search.ended, texts[:, :beams]))
            live, chosen = lax.top_k(jnp.where(tokens == end, -jnp.inf, values), beams)
            parents, tokens, texts = (_picked(array, chosen) for array in (parents, tokens, texts))
            rows = (parents + beams * jnp.arange(parents.shape[0])[:, None]).reshape(-1)
            state = _each_row(lambda leaf, axis: jnp.take(leaf, rows, axis), state, axes)
            return _Beams(search.step + 1, live, texts, tokens, state, scores, ended)

        last = lax.while_loop(goes_on, advance, _start(source.shape[0], beams, length, begin, state))
        scores, texts = _best((last.scores, best_possible(last)), (last.ended, last.texts))
        return jnp.where(scores[..., None] == -jnp.inf, PADDING, texts), scores

    return jit(translate)


def _start(rows: int, beams: int, length: int, begin: int, state: Tree) -> _Beams:
    """One beginning, the empty one, in the first of each row's places."""
    none = jnp.full((rows, beams), -jnp.inf)
    texts = jnp.zeros((rows, beams, length), jnp.int32)
    last = jnp.full((rows, beams), begin, jnp.int32)
    return _Beams(jnp.int32(0), none.at[:, 0].set(0.0), texts, last, state, none, texts)


def _continued(extend: Extend, search: _Beams) -> tuple[Array, Tree]:
    """Log-probabilities ``[batch, beams, vocabulary]`` of the beginnings with each token, and the module's state."""
    logits, state = extend(search.last.reshape(-1, 1), search.state)
    values = jax.nn.log_softmax(at_least_float32(logits[:, 0])).at[:, PADDING].set(-jnp.inf)
    return search.live[..., None] + values.reshape(*search.live.shape, -1).astype(search.live.dtype), state


def _best(scores: tuple[Array, Array], texts: tuple[Array, Array]) -> tuple[Array, Array]:
    """As many as there are on one side; of equal ones those of the first side."""
    values, places = lax.top_k(jnp.concatenate(scores, 1), scores[0].shape[1])
    return values, _picked(jnp.concatenate(texts, 1), places)


def _picked(array: Array, places: Array) -> Array:
    """``array[row, places[row]]`` for each row."""
    return jax.vmap(lambda row, places: row[places])(array, places)


def _methods(module: Any, params: Tree) -> tuple[Callable[[Array], Tree], Extend]:
    def encode(source: Array) -> Tree:
        return module.apply({"params": params}, source, method="encode")

    def extend(tokens: Array, state: Tree) -> tuple[Array, Tree]:
        return module.apply({"params": params}, tokens, state, method="extend")

    return encode, extend


def _batch_axes(encode: Callable[[Array], Tree], source: Array) -> list[int | None]:
    """Which axis of each leaf of a state has one place per row, told from the states of one row and of two."""
    one, two = (
        jax.tree.leaves(jax.eval_shape(encode, jax.ShapeDtypeStruct((rows, source.shape[1]), source.dtype)))
        for rows in (1, 2)
    )
    return [_grown(a.shape, b.shape) for a, b in zip(one, two, strict=True)]


def _grown(one: tuple[int, ...], two: tuple[int, ...]) -> int | None:
    grown = [axis for axis, sizes in enumerate(zip(one, two, strict=True)) if sizes[0] != sizes[1]]
    if not grown:
        return None
    if len(grown) > 1 or (one[grown[0]], two[grown[0]]) != (1, 2):
        raise ValueError(f"module: expected states with one axis of rows, got {one} for one row and {two} for two")
    return grown[0]


def _of_written(axes: list[int | None], step: Any) -> list[int | None]:
    """The axes of the leaves that a step changes; ``None`` where it hands on what came in, as a source's memory."""
    given, made = step.invars[1:], step.outvars[1:]
    return [None if a is b else axis for axis, a, b in zip(axes, given, made, strict=True)]


def _each_row(function: Callable[[Array, int], Array], state: Tree, axes: list[int | None]) -> Tree:
    """A state of which every leaf with an axis of rows is changed."""
    leaves, structure = jax.tree.flatten(state)
    changed = (leaf if axis is None else function(leaf, axis) for leaf, axis in zip(leaves, axes, strict=True))
    return jax.tree.unflatten(structure, list(changed))


def _checked(module: Any, source: Any, length: Any, begin: Any, end: Any) -> Array:
    """The source, if everything can be used that needs no parameters to be told."""
    if not all(hasattr(module, name) for name in ("apply", "encode", "extend")):
        raise TypeError(f"module: expected one with the methods encode and extend, got {type(module).__name__}")
    check_count("length", length)
    context = getattr(module, "context", None)
    if context is not None and length > context:
        raise ValueError(f"length: expected at most {context}, the module's context, got {length}")
    for name, token in (("begin", begin), ("end", end)):
        check_count(name, token)
    source = source if hasattr(source, "dtype") else np.asarray(source)
    if jnp.ndim(source) != 2 or 0 in source.shape:
        raise ValueError(f"source: expected tokens of shape [batch, source], at least one, got {jnp.shape(source)}")
    if not jnp.issubdtype(source.dtype, jnp.integer):
        raise TypeError(f"source: expected whole numbers, got {source.dtype}")
    values = host_values(source)
    if values is not None and (empty := (values == PADDING).all(-1)).any():
        raise ValueError(
            f"source: {empty.sum()} of {len(empty)} rows hold padding alone, the first row {empty.argmax()}"
        )
    return jnp.asarray(source)


def _checked_step(extend: Extend, rows: int, state: Tree, begin: int, end: int) -> Any:
    """The program of one step, ``(tokens, state) -> (logits, state)``, if its vocabulary holds both tokens."""
    tokens = jax.ShapeDtypeStruct((rows, 1), jnp.int32)
    program, (logits, _) = jax.make_jaxpr(extend, return_shape=True)(tokens, state)
    for name, token in (("begin", begin), ("end", end)):
        if token >= (vocabulary := logits.shape[-1]):
            raise ValueError(f"{name}: expected a token of the vocabulary, from 1 to {vocabulary - 1}, got {token}")
    return program.jaxpr
