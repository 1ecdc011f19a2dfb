"""How a model of sequences is told where each element stands."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen

from stepax.ops.sizes import check_truth
from stepax.typing import Array

__all__ = ["Positions", "check_positions", "learned", "places_of", "rotary", "sinusoidal"]


class Positions(NamedTuple):
    """A pair of functions, of which one is ``None``; if both are, a model is not told of places at all.

    Attributes:
        embedding: ``(param, context, width) -> [context, width]``: a row for each place, which is added to what stands
            there, in its precision; ``param`` is the model's own ``self.param``.
        rotation: ``(x, places) -> x``, for queries and keys ``[batch, time, heads, width]`` and whole numbers
            ``[batch, time]``, or ``[1, time]`` where they are the same for all.
    """

    embedding: Callable[[Callable[..., Array], int, int], Array] | None = None
    rotation: Callable[[Array, Array], Array] | None = None


def learned(init: Any = linen.initializers.normal(0.02)) -> Positions:  # noqa: B008
    """A parameter ``places`` ``[context, width]``, whose rows are added.

    Args:
        init: Draws it.

    Returns:
        The pair.
    """
    return _learned(init)


# Kept by what was meant, however it was written: equal settings make equal models, which share programs.
@cache
def _learned(init: Any) -> Positions:
    def embedding(param: Callable[..., Array], context: int, width: int) -> Array:
        return param("places", init, (context, width))

    return Positions(embedding)


def sinusoidal(period: float = 10_000.0) -> Positions:
    r"""Waves that are added: at place :math:`t`, :math:`\sin(t / P^{2i/w})` and the cosine of the same, side by side.

    Their numbers go up to 1: beside them, draw the tokens' vectors by ``normal(1.0)``.

    Args:
        period: ``P``.

    Returns:
        The pair.

    Raises:
        ValueError: ``period`` is not above 0.

    Reference:
        Vaswani et al., Attention is all you need, 2017, arXiv:1706.03762.
    """
    _check_period(period)
    return _sinusoidal(float(period))


@cache
def _sinusoidal(period: float) -> Positions:
    def embedding(param: Callable[..., Array], context: int, width: int) -> Array:
        del param
        pairs = -(-width // 2)
        rates = jnp.power(period, -2 * jnp.arange(pairs, dtype=float) / width)
        angles = jnp.arange(context, dtype=float)[:, None] * rates[None]
        return jnp.stack([jnp.sin(angles), jnp.cos(angles)], -1).reshape(context, 2 * pairs)[:, :width]

    return Positions(embedding)


def rotary(period: float = 10_000.0) -> Positions:
    r"""Queries and keys are turned by an angle that grows with the place: their product then depends on distance only.

    Half-split: number :math:`i` of a head is turned together with number :math:`i + w/2`, by :math:`t / P^{2i/w}`. (The
    paper takes neighbours, :math:`2i` and :math:`2i + 1`: the same up to the order of a head's numbers.)

    Args:
        period: ``P``.

    Returns:
        The pair. Heads must have an even width.

    Raises:
        ValueError: ``period`` is not above 0.

    Reference:
        Su et al., RoFormer: Enhanced Transformer with rotary position embedding, 2021, arXiv:2104.09864.
    """
    _check_period(period)
    return _rotary(float(period))


@cache
def _rotary(period: float) -> Positions:
    def rotation(x: Array, places: Array) -> Array:
        width = x.shape[-1]
        if width % 2:
            raise ValueError(f"rotation: expected heads of an even width, got {width}")
        # In half precision far places would share an angle.
        exact = jnp.promote_types(x.dtype, jnp.float32)
        rates = jnp.power(period, -2 * jnp.arange(width // 2, dtype=exact) / width)
        angles = places.astype(exact)[:, :, None, None] * rates[None, None, None]
        cos, sin = jnp.cos(angles).astype(x.dtype), jnp.sin(angles).astype(x.dtype)
        a, b = jnp.split(x, 2, axis=-1)
        return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)

    return Positions(None, rotation)


def places_of(mask: Array) -> Array:
    """The place of every step, counted over real steps only.

    Args:
        mask: ``[batch, time]``, true where a step is real.

    Returns:
        Whole numbers ``[batch, time]``; where no step is real, any that are inside.

    >>> places_of(jnp.array([[False, True, True]])).tolist()
    [[0, 0, 1]]
    """
    check_truth("mask", mask)
    return jnp.maximum(jnp.cumsum(jnp.asarray(mask, bool), axis=1, dtype=jnp.int32) - 1, 0)


def check_positions(positions: Any) -> None:
    """Refuse what is no pair of functions.

    Raises:
        TypeError: It is none: a name, or a function that makes one and was not called.
    """
    if not isinstance(positions, Positions):
        raise TypeError(f"positions: expected Positions such as positions.rotary(), got {positions!r}")


def _check_period(period: float) -> None:
    if not period > 0:
        raise ValueError(f"period: expected a number above 0, got {period}")
