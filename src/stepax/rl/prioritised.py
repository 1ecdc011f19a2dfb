"""Prioritised replay: transitions with large errors are drawn more often, and then count less."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from stepax.checks import check_count
from stepax.keys import unrolled
from stepax.rl.estimators import check_number
from stepax.rl.replay import Replay, Sample
from stepax.rl.ring import OUTSIDE, Ring, check_protected, check_sample, check_update, new_ring, read, write
from stepax.typing import Array, Key, Tree

__all__ = ["Prioritised", "prioritised"]

# Children of a node. On two cores 16 are the quickest: of fewer there are more levels, of more there is more to add up.
BRANCHES = 16
# Of a priority: so that sums stay finite, and nothing is out of reach.
LEAST, MOST = 1e-30, 1e28


class Prioritised(NamedTuple):
    """The buffer.

    Attributes:
        ring: The transitions.
        sums: A tree's levels, the leaves first: the priorities, and sums of ``BRANCHES`` numbers of the level before,
            ``[nodes, BRANCHES]``; the last level has one node.
        greatest: The greatest priority so far, that of a new transition.
        updates: How often priorities were brought up to date, int32.
    """

    ring: Ring
    sums: tuple[Array, ...]
    greatest: Array
    updates: Array


def prioritised(
    capacity: int, *, exponent: Any = 0.6, correction: Any = 0.4, offset: Any = 1e-6, protected: int = 0
) -> Replay:
    r"""Drawn in proportion to priorities :math:`p_i = (|\delta_i| + \epsilon)^\alpha`.

    New transitions have the greatest priority so far, at first 1. A batch's weights are

    .. math:: w_i = (N P(i))^{-\beta} / \max_j (N P(j))^{-\beta}, \quad P(i) = p_i / \sum_k p_k

    with the maximum over the batch. The sum of all priorities is cut into as many equal parts as the batch has entries,
    and each part has its draw.

    Priorities lie in a tree of sums on the device. What changes is added up anew from below, so that rounding does not
    gather. Where ``update`` names an entry several times, its greatest error counts; an error that is not finite gives
    the greatest priority so far; indices at which there is no entry are passed over.

    Args:
        capacity: How many transitions are kept.
        exponent: α, at least 0: 0 draws uniformly.
        correction: β, at least 0: 1 makes up for the priorities in full. A function of the number of updates so far,
            such as ``optax.linear_schedule(0.4, 1.0, 50_000)``, lets it grow.
        offset: ε, at least 0, in the unit of the errors.
        protected: How many transitions, the first ones, are never replaced by newer ones.

    Returns:
        The replay; its buffer is :class:`Prioritised`. Errors passed to ``update`` are ``[batch]``, of any sign.

    Raises:
        TypeError: ``capacity`` or ``protected`` is no whole number; another is no number. Of the functions: as in
            :func:`uniform`.
        ValueError: ``capacity`` is below 1, another is negative, or ``protected`` leaves no place. Of the functions: as
            in ``uniform``.

    Reference:
        Schaul et al., Prioritized experience replay, 2016, arXiv:1511.05952.
    """
    check_count("capacity", capacity)
    check_protected(protected, capacity)
    check_number("exponent", exponent)
    check_number("offset", offset)
    if not callable(correction):
        check_number("correction", correction)

    def init(transition: Any) -> Prioritised:
        sums = tuple(jnp.zeros((nodes, BRANCHES), jnp.float32) for nodes in _nodes(capacity))
        return Prioritised(new_ring(capacity, transition), sums, jnp.ones((), jnp.float32), jnp.zeros((), jnp.int32))

    def insert(buffer: Prioritised, transitions: Tree, keep: Any = None) -> Prioritised:
        ring, places = write(buffer.ring, transitions, keep, protected)
        leaves = _leaves(buffer.sums, places).set(buffer.greatest, mode="drop")
        return buffer._replace(ring=ring, sums=_added(leaves, buffer.sums, places))

    def sample(buffer: Prioritised, key: Key, batch_size: int) -> Sample:
        check_sample(buffer.ring, key, batch_size)
        # All reading comes before the places are known to the caller: what is written there then needs no copy.
        indices, priorities = lax.optimization_barrier(_drawn(buffer.sums, key, batch_size))
        power = correction(buffer.updates) if callable(correction) else correction
        # The number of entries and the sum of priorities cancel.
        weight = (priorities.min() / priorities) ** jnp.asarray(power, jnp.float32)
        return Sample(read(buffer.ring, indices), indices, jnp.where(buffer.ring.size > 0, weight, 0))

    def update(buffer: Prioritised, indices: Any, errors: Any) -> Prioritised:
        indices, errors = check_update(indices, errors)
        powers = (jnp.abs(errors.astype(jnp.float32)) + offset) ** jnp.asarray(exponent, jnp.float32)
        priorities = jnp.where(jnp.isfinite(errors), jnp.clip(powers, LEAST, MOST), buffer.greatest)
        known = (indices >= 0) & (indices < buffer.ring.size)
        places = jnp.where(known, indices, OUTSIDE)
        # First 0, then the maximum: in which order an entry's errors come makes no difference.
        sums = (_leaves(buffer.sums, places).set(0, mode="drop"), *buffer.sums[1:])
        leaves = _leaves(sums, places).max(priorities, mode="drop")
        greatest = jnp.maximum(buffer.greatest, jnp.where(known, priorities, 0).max(initial=0))
        return Prioritised(buffer.ring, _added(leaves, sums, places), greatest, buffer.updates + 1)

    return Replay(init, insert, sample, update, lambda buffer: buffer.ring.size)


def _nodes(capacity: int) -> list[int]:
    """How many nodes each level has, the leaves first."""
    nodes = [-(-capacity // BRANCHES)]
    while nodes[-1] > 1:
        nodes.append(-(-nodes[-1] // BRANCHES))
    return nodes


def _leaves(sums: tuple[Array, ...], places: Array) -> Any:
    return sums[0].at[places // BRANCHES, places % BRANCHES]


def _added(leaves: Array, sums: tuple[Array, ...], places: Array) -> tuple[Array, ...]:
    """The tree over new leaves, whose sums change above ``places`` alone."""
    levels = [leaves]
    for level in sums[1:]:
        # ``OUTSIDE`` is so large that it stays outside of every level.
        places = places // BRANCHES
        below = jnp.take(levels[-1], places, axis=0, mode="clip").sum(1)
        levels.append(level.at[places // BRANCHES, places % BRANCHES].set(below, mode="drop"))
    return tuple(levels)


def _drawn(sums: tuple[Array, ...], key: Key, count: int) -> tuple[Array, Array]:
    """Places, in proportion to their priorities, and these."""
    within, again = jax.random.uniform(unrolled(key), (2, count))
    target = (jnp.arange(count) + within) / count * sums[-1].sum()
    places, priorities = jnp.zeros(count, jnp.int32), jnp.zeros(count, jnp.float32)
    for depth, level in enumerate(reversed(sums)):
        children = level[places]
        # Float32 has too few digits to tell a million places apart: within a last node the place is drawn anew.
        if 0 < depth == len(sums) - 1:
            target = again * children.sum(1)
        child, target, priorities = _child(children, target)
        places = places * BRANCHES + child
    return places, priorities


def _child(children: Array, target: Array) -> tuple[Array, Array, Array]:
    """In which child ``target`` lies, counted from the first one's beginning, how far inside of it, and its sum.

    Args:
        children: Sums of each, ``[count, BRANCHES]``.
        target: ``[count]``, from 0 to their sum or, by rounding, beyond: that counts as the last child that is not 0.
    """
    upto = jnp.triu(jnp.ones((BRANCHES, BRANCHES), children.dtype))
    ends = lax.dot(children, upto, precision=lax.Precision.HIGHEST)
    number = jnp.arange(BRANCHES, dtype=jnp.int32)[None]
    some = children > 0
    last = jnp.where(some, number, 0).max(1)
    first = jnp.where(some & (ends > target[:, None]), number, BRANCHES).min(1)
    child = jnp.minimum(first, last)
    before = jnp.where(number < child[:, None], children, 0).sum(1)
    return child, target - before, jnp.where(number == child[:, None], children, 0).sum(1)
