"""What token may come next: pure functions of logits, and the draw."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from stepax.checks import check_count, check_key
from stepax.keys import flat
from stepax.targets import at_least_float32
from stepax.typing import Array, Key

__all__ = ["Choice", "checked", "chosen", "knobs", "nucleus", "sample", "temperature", "top_k"]


def temperature(logits: Array, value: Any) -> Array:
    """Logits whose distribution is sharper (below 1) or flatter (above 1): divided by ``value``, the largest at 0.

    Args:
        logits: ``[…, vocabulary]``.
        value: A number above 0; :func:`sample` takes 0, too.

    Raises:
        ValueError: ``value`` is not above 0.
    """
    # By NumPy: in a program, what JAX compares is traced, also where it is known.
    if not isinstance(value, jax.core.Tracer) and not np.asarray(value) > 0:
        raise ValueError(f"temperature: expected a number above 0, got {value}")
    # Below the largest first: near 0 all of them would be infinite.
    return (logits - logits.max(-1, keepdims=True)) / jnp.asarray(value, logits.dtype)


def top_k(logits: Array, k: int) -> Array:
    """Logits of the ``k`` likeliest tokens, −inf elsewhere; of equals those with the lower number stay.

    Args:
        logits: ``[…, vocabulary]``.
        k: From 1 to the vocabulary's size.

    Raises:
        TypeError: ``k`` is no whole number.
        ValueError: It is below 1, or more than there are tokens.
    """
    check_count("top_k", k)
    if k > logits.shape[-1]:
        raise ValueError(f"top_k: expected at most {logits.shape[-1]}, the size of the vocabulary, got {k}")
    return _likeliest(logits, lax.top_k(logits, k)[0], k)


def nucleus(logits: Array, p: Any) -> Array:
    """Logits of the smallest set of likeliest tokens whose probability reaches ``p``, −inf elsewhere.

    Of equals those with the lower number come first, so that the set is never larger than it must be. Probabilities are
    added up in float32 at least; ``p = 1`` keeps everything.

    Args:
        logits: ``[…, vocabulary]``.
        p: In (0, 1].

    Raises:
        ValueError: ``p`` is not in (0, 1].

    Reference:
        Holtzman et al., The curious case of neural text degeneration, 2020, arXiv:1904.09751.
    """
    if not isinstance(p, jax.core.Tracer) and not 0 < np.asarray(p) <= 1:
        raise ValueError(f"top_p: expected a number in (0, 1], got {p}")
    ordered = -jnp.sort(-logits, axis=-1)
    # In half precision a sum of many small probabilities would stand still.
    sums = jnp.cumsum(jax.nn.softmax(at_least_float32(ordered)), axis=-1)
    p = jnp.asarray(p, sums.dtype)
    reached = sums >= p
    # All before the sum reaches p, and the one that makes it.
    count = 1 + jnp.sum(~reached[..., :-1], axis=-1, keepdims=True)
    count = jnp.where(p >= 1, logits.shape[-1], count)
    return _likeliest(logits, ordered, count)


def _likeliest(logits: Array, ordered: Array, count: Any) -> Array:
    """The ``count`` largest logits, given them in falling order; −inf elsewhere."""
    last = jnp.take_along_axis(ordered, jnp.broadcast_to(count - 1, (*ordered.shape[:-1], 1)), axis=-1)
    above, equal = logits > last, logits == last
    free = count - above.sum(-1, keepdims=True)
    return jnp.where(above | (equal & (jnp.cumsum(equal, axis=-1) <= free)), logits, -jnp.inf)


class Choice(NamedTuple):
    """How a next token is chosen, as far as programs differ by it.

    Attributes:
        greedy: Whether it is the likeliest.
        top_k: Among how many, or ``None``.
        nucleus: Whether in a nucleus.
    """

    greedy: bool
    top_k: int | None
    nucleus: bool


def sample(
    logits: Array, key: Key, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Array:
    """Draws tokens: by temperature first, then among the ``top_k`` likeliest, then in the nucleus of ``top_p``.

    Args:
        logits: ``[…, vocabulary]``.
        key: For the draws. What a row gets depends on its own logits alone, and on its place.
        temperature: 1 leaves the distribution as it is; 0 takes the likeliest token, of equals the one with the lowest
            number.
        top_k: Only so many tokens, see :func:`top_k`.
        top_p: Only tokens in this nucleus, see :func:`nucleus`.

    Returns:
        Tokens ``[…]``, int32.

    Raises:
        TypeError: ``top_k`` is no whole number, or ``key`` no typed key.
        ValueError: ``temperature`` is negative, ``top_k`` below 1 or more than there are tokens, or ``top_p`` not in
            (0, 1].
    """
    check_key(key)
    return chosen(checked(temperature, top_k, top_p, logits.shape[-1]), logits, key, temperature, top_p)


def checked(heat: Any, k: int | None, p: Any, vocabulary: int) -> Choice:
    """The choice that the arguments of :func:`sample` mean, for so many tokens; raises what that raises."""
    traced = isinstance(heat, jax.core.Tracer)
    if not traced and not np.asarray(heat) >= 0:
        raise ValueError(f"temperature: expected a number of at least 0, got {heat}")
    like = jax.ShapeDtypeStruct((vocabulary,), jnp.float32)
    if k is not None:
        jax.eval_shape(lambda logits: top_k(logits, k), like)
    if p is not None:
        jax.eval_shape(lambda logits: nucleus(logits, p), like)
    return Choice(not traced and bool(np.asarray(heat) == 0), k, p is not None)


def chosen(choice: Choice, logits: Array, key: Key, heat: Any, p: Any, rows: tuple[Array, int] | None = None) -> Array:
    """The draw of :func:`sample`, nothing checked; ``heat`` and ``p`` may be traced.

    With ``rows``, ``(first, batch)``, the logits are those of some rows of a batch, and so are the draws.
    """
    if choice.greedy:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    # The noise of a draw in half precision is too coarse for tokens that are not likely.
    logits = temperature(at_least_float32(logits), heat)
    if choice.top_k is not None:
        logits = top_k(logits, choice.top_k)
    if choice.nucleus:
        logits = nucleus(logits, p)
    if rows is None:
        return jax.random.categorical(flat(key), logits).astype(jnp.int32)
    # Drawn for all: a row's numbers depend on its place.
    first, batch = rows
    whole = lax.dynamic_update_slice_in_dim(jnp.zeros((batch, logits.shape[-1]), logits.dtype), logits, first, 0)
    drawn = jax.random.categorical(flat(key), whole).astype(jnp.int32)
    return lax.dynamic_slice_in_dim(drawn, first, len(logits), 0)


def knobs(temperature: float, top_p: float | None) -> tuple[np.float32, np.float32]:
    """What a program takes as arguments, so that other values compile nothing."""
    return np.float32(temperature), np.float32(1.0 if top_p is None else top_p)
