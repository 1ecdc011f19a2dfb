"""Replays: what an agent has seen, kept to be learnt from again.

A buffer is a tree of arrays, written in place in a compiled loop, so that a step costs the same whatever the capacity.
For this, insert first and then draw: to draw from a buffer as it was before takes a copy of it. And under ``vmap`` a
``lax.cond`` whose condition differs between lanes computes both branches and copies whole buffers; let it depend on
the step's number alone.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from stepax.checks import check_count
from stepax.keys import unrolled
from stepax.rl.estimators import check_number
from stepax.rl.ring import (
    Ring,
    check_keep,
    check_protected,
    check_sample,
    check_transitions,
    check_update,
    new_ring,
    read,
    shapes,
    write,
)
from stepax.typing import Array, Key, Tree

__all__ = ["Insert", "Pending", "Replay", "Sample", "check_replay", "n_step", "uniform"]

# The parts of a transition that change when several steps become one entry.
PARTS = ("reward", "terminated", "truncated", "next_observation")


class Sample(NamedTuple):
    """What was drawn.

    Attributes:
        batch: Entries, arrays ``[batch, …]``.
        indices: Where they are, ``[batch]`` int32, for ``update``.
        weight: What each is to count, ``[batch]`` float32; 0 where nothing has been inserted yet.
    """

    batch: Tree
    indices: Array
    weight: Array


class Insert(Protocol):
    """How transitions come into a buffer."""

    def __call__(self, buffer: Any, transitions: Tree, keep: Any = None) -> Any:
        """``(buffer, transitions, keep=None) -> buffer``."""
        ...


class Replay(NamedTuple):
    """Pure functions on a buffer, whose tree, shapes and dtypes never change, so that it is a scan's carry.

    A transition is a dict: ``observation``, ``action``, ``reward``, ``terminated``, ``truncated``, ``next_observation``
    (what the step led to, also at the end of an episode), and whatever else is to be kept, in arrays or trees of them.

    Attributes:
        init: ``transition -> buffer``: an empty one, for transitions of these shapes (without an axis of lanes) and
            dtypes.
        insert: ``(buffer, transitions, keep=None) -> buffer``: takes ``[lanes, …]``, in place of the oldest ones
            that are not protected; of those for which ``keep``, ``[lanes]`` bool, is false nothing is seen.
        sample: ``(buffer, key, batch_size) -> Sample``, with replacement.
        update: ``(buffer, indices, errors) -> buffer``: what is known now of entries that were drawn.
        size: ``buffer -> int32``: how many entries there are to draw from.
    """

    init: Callable[[Any], Any]
    insert: Insert
    sample: Callable[[Any, Key, int], Sample]
    update: Callable[[Any, Any, Any], Any]
    size: Callable[[Any], Array]


class Pending(NamedTuple):
    """What :func:`n_step` keeps of each lane: the last steps, each the beginning of an entry.

    Attributes:
        buffer: The inner replay's.
        beginnings: Transitions without ``PARTS``, ``[steps, lanes, …]``, the newest last.
        rewards: Discounted sums so far, ``[steps, lanes]``.
        open: Which have begun and not yet become entries, ``[steps, lanes]``.
    """

    buffer: Any
    beginnings: Tree
    rewards: Array
    open: Array


def uniform(capacity: int, *, protected: int = 0) -> Replay:
    """All that is kept is equally likely.

    Args:
        capacity: How many transitions are kept.
        protected: How many of them, the first ones, are never replaced by newer ones.

    Returns:
        The replay; its buffer is a :class:`Ring`. ``update`` changes nothing.

    Raises:
        TypeError: ``capacity`` or ``protected`` is no whole number. Of the functions: what they are given is of the
            wrong kind.
        ValueError: ``capacity`` is below 1, or ``protected`` is negative or leaves no place. Of the functions:
            transitions of other names or shapes than the first, or more than there are places; a batch above the
            capacity; drawing from nothing, where that is known before the program runs.
    """
    check_count("capacity", capacity)
    check_protected(protected, capacity)

    def insert(buffer: Ring, transitions: Tree, keep: Any = None) -> Ring:
        return write(buffer, transitions, keep, protected)[0]

    def sample(buffer: Ring, key: Key, batch_size: int) -> Sample:
        check_sample(buffer, key, batch_size)
        indices = jax.random.randint(unrolled(key), (batch_size,), 0, jnp.maximum(buffer.size, 1))
        weight = jnp.full((batch_size,), buffer.size > 0, jnp.float32)
        return Sample(read(buffer, indices), indices, weight)

    def update(buffer: Ring, indices: Any, errors: Any) -> Ring:
        check_update(indices, errors)
        return buffer

    return Replay(partial(new_ring, capacity), insert, sample, update, lambda buffer: buffer.size)


def n_step(replay: Replay, steps: int, discount: Any, *, lanes: int = 1) -> Replay:
    r"""Entries over several steps: rewards are summed and what follows is seen after the last one.

    Every step begins an entry, with its own ``observation`` and ``action``. ``reward`` becomes :math:`\sum_{k<m}
    \gamma^k r_k`; ``next_observation``, ``terminated`` and ``truncated`` are those of the ``m``-th step; and a new
    ``discount`` is :math:`\gamma^m`, or 0 if that step terminated: what the value of ``next_observation`` counts. ``m``
    is ``steps``, or fewer where the episode ends before: then all entries that are open come in at once.

    Args:
        replay: What keeps the entries.
        steps: The most steps of an entry.
        discount: γ, from 0 to 1.
        lanes: How many transitions every ``insert`` has: those of so many environments, always in the same order.

    Returns:
        The replay; its buffer is a :class:`Pending`. Lanes for which ``keep`` is false stand still.

    Raises:
        TypeError: ``replay`` is none, ``steps`` or ``lanes`` is no whole number, or ``discount`` no number. Of
            ``insert``: ``reward`` is not floating, or ends are not booleans.
        ValueError: ``steps`` or ``lanes`` is below 1, or ``discount`` is not in [0, 1]. Of ``init``: a part is missing,
            or ``discount`` is there already. Of ``insert``: another number of lanes.
    """
    check_replay(replay)
    check_count("steps", steps)
    check_count("lanes", lanes)
    check_number("discount", discount, most=1)

    def init(transition: Any) -> Pending:
        like = shapes(transition)
        _check_parts(like)
        zeros = jax.tree.map(lambda leaf: jnp.zeros((steps, lanes, *leaf.shape), leaf.dtype), _beginning(like))
        rewards = jnp.zeros((steps, lanes), like["reward"].dtype)
        inner = replay.init({**like, "discount": jax.ShapeDtypeStruct((), like["reward"].dtype)})
        return Pending(inner, zeros, rewards, jnp.zeros((steps, lanes), bool))

    def insert(buffer: Pending, transitions: Tree, keep: Any = None) -> Pending:
        transitions = check_transitions(transitions, _like(buffer), lanes)
        kept = check_keep(keep, lanes)
        # By age, the newest last: of a step k steps ago, the rewards now count γ^k.
        dtype = buffer.rewards.dtype
        powers = jnp.asarray(discount, dtype) ** jnp.arange(steps, dtype=dtype)[::-1, None]
        buffer = _begun(buffer, transitions, kept, powers)
        ended = transitions["terminated"] | transitions["truncated"]
        due = buffer.open & kept[None] & (ended[None] | (jnp.arange(steps)[:, None] == 0))
        entries = _entries(buffer, transitions, discount * powers)
        flat = jax.tree.map(lambda leaf: leaf.reshape(steps * lanes, *leaf.shape[2:]), entries)
        inner = replay.insert(buffer.buffer, flat, due.reshape(-1))
        return buffer._replace(buffer=inner, open=buffer.open & ~due)

    def sample(buffer: Pending, key: Key, batch_size: int) -> Sample:
        return replay.sample(buffer.buffer, key, batch_size)

    def update(buffer: Pending, indices: Any, errors: Any) -> Pending:
        return buffer._replace(buffer=replay.update(buffer.buffer, indices, errors))

    return Replay(init, insert, sample, update, lambda buffer: replay.size(buffer.buffer))


def check_replay(replay: Any) -> None:
    """Refuse what is no replay.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(replay, Replay):
        raise TypeError(
            f"replay: expected a stepax.rl.Replay, such as rl.uniform(10_000), got {type(replay).__name__} {replay!r}"
        )


def _check_parts(like: Any) -> None:
    """Refuse a transition whose steps cannot be put together."""
    if not isinstance(like, Mapping):
        raise TypeError(f"transition: expected a dict, got {type(like).__name__}")
    if missing := [name for name in ("observation", *PARTS) if name not in like]:
        raise ValueError(f"transition: expected a {missing[0]!r}, got only {sorted(like)}")
    if "discount" in like:
        raise ValueError("transition: expected no 'discount', which entries over several steps have of their own")
    wanted = {"reward": "a floating scalar", "terminated": "a boolean scalar", "truncated": "a boolean scalar"}
    for name, kind in {"reward": jnp.floating, "terminated": jnp.bool_, "truncated": jnp.bool_}.items():
        if like[name].shape or not jnp.issubdtype(like[name].dtype, kind):
            got = f"{like[name].dtype}{list(like[name].shape)}"
            raise TypeError(f'transition["{name}"]: expected {wanted[name]}, got {got}')
    if like["next_observation"] != like["observation"]:
        raise ValueError(
            f'transition["next_observation"]: expected the form of the observation, {like["observation"]}, got '
            f"{like['next_observation']}"
        )


def _beginning(transition: Any) -> dict[str, Any]:
    """What an entry has of its first step."""
    return {name: part for name, part in transition.items() if name not in PARTS}


def _like(buffer: Pending) -> dict[str, Any]:
    """One transition's shapes and dtypes."""
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype), buffer.beginnings)
    flag = jax.ShapeDtypeStruct((), jnp.bool_)
    reward = jax.ShapeDtypeStruct((), buffer.rewards.dtype)
    return {
        **like,
        "next_observation": like["observation"],
        "reward": reward,
        "terminated": flag,
        "truncated": flag,
    }


def _begun(buffer: Pending, transitions: Any, kept: Array, powers: Array) -> Pending:
    """With one more step in the lanes that are kept, whose reward counts for all that are open."""

    def push(old: Array, new: Array) -> Array:
        moved = jnp.concatenate([old[1:], new[None]])
        return jnp.where(kept.reshape(1, -1, *(1,) * (old.ndim - 2)), moved, old)

    sums = push(buffer.rewards, jnp.zeros_like(transitions["reward"]))
    return buffer._replace(
        beginnings=jax.tree.map(push, buffer.beginnings, _beginning(transitions)),
        rewards=jnp.where(kept[None], sums + powers * transitions["reward"][None], sums),
        open=push(buffer.open, jnp.ones_like(kept)),
    )


def _entries(buffer: Pending, transitions: Any, discounts: Array) -> dict[str, Any]:
    """What the open steps are as entries if they end here, ``[steps, lanes, …]``."""
    last = {name: transitions[name] for name in ("terminated", "truncated", "next_observation")}
    leading = buffer.rewards.shape[:1]
    return {
        **buffer.beginnings,
        **jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, leading + leaf.shape), last),
        "reward": buffer.rewards,
        "discount": jnp.where(transitions["terminated"][None], 0, discounts),
    }
