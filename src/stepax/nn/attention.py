"""Attention with parameters: of a sequence to itself, and of one sequence to another."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen
from jax import lax

from stepax.checks import check_count, check_dropout
from stepax.nn.dense import Dense
from stepax.nn.dropout import Dropout
from stepax.nn.positions import places_of
from stepax.ops.attention import attention, attention_weights
from stepax.ops.sizes import check_truth
from stepax.typing import Array

__all__ = ["Attention", "CrossAttention", "KeyValue", "check_heads", "check_mask", "check_sequences"]

# Where the weights go when this collection may be written: ``module.apply(…, mutable="attention")``.
COLLECTION = "attention"


class KeyValue(NamedTuple):
    """What queries are held against, and what they then get.

    Attributes:
        key: ``[batch, places, heads, width]``; in a cache ``[batch, heads, places, width]``.
        value: The same.
    """

    key: Array
    value: Array


class Attention(linen.Module):
    """Self-attention with several heads: one projection to queries, keys and values, one back.

    With ``mutable="attention"``, ``apply`` also returns the weights, under ``weights``: ``[batch, heads, queries,
    keys]``.

    Attributes:
        heads: How many heads share the width.
        causal: Whether a place sees itself and earlier ones only.
        dropout: The fraction of outputs set to zero in training.
        attention_dropout: The fraction of weights set to zero in training.
        rotation: Turns queries and keys by their places, as that of :func:`positions.rotary` does; ``None``: places are
            not told here.
        kernel_init: Draws the weights of the projection to queries, keys and values.
        residual_init: Draws those of the projection back.
        use_bias: Whether projections have biases.
    """

    heads: int
    causal: bool = False
    dropout: Any = 0.0
    attention_dropout: Any = 0.0
    rotation: Callable[[Array, Array], Array] | None = None
    kernel_init: Any = linen.initializers.lecun_normal()
    residual_init: Any = linen.initializers.lecun_normal()
    use_bias: bool = True

    def __call__(
        self, x: Array, train: bool = False, *, mask: Array | None = None, places: Array | None = None
    ) -> Array:
        """From ``[batch, time, width]`` to the same.

        Args:
            x: The sequences.
            train: Whether dropout is on.
            mask: ``[batch, time]``, true where a place is real: the others are not seen. A place that sees none gets
                the bias of the projection back.
            places: For ``rotation``, ``[batch, time]`` or ``[1, time]``; ``None``: counted over the real ones.

        Raises:
            TypeError: ``heads`` is no whole number, or ``mask`` is floating.
            ValueError: ``heads`` is below 1 or does not divide the width, ``dropout`` is not in [0, 1), or ``x`` or
                ``mask`` has another shape.
        """
        check_sequences(x)
        check_mask(mask, x)
        if places is None and self.rotation is not None:
            places = jnp.arange(x.shape[1])[None] if mask is None else places_of(mask)
        seen = None if mask is None else mask[:, None, None, :]

        def attend(query: Array, pair: KeyValue) -> Array:
            return _attend(self, query, pair, train, causal=self.causal, mask=seen)

        return self._run(x, train, places, attend)

    def start(self, batch: int, context: int, width: int) -> KeyValue:
        """The cache that holds nothing yet.

        Args:
            batch: How many sequences.
            context: How many places each may have.
            width: That of ``x``.

        Returns:
            Zeros ``[batch, heads, context, width of a head]`` each.
        """
        check_heads(self.heads, width)
        zeros = jnp.zeros((batch, self.heads, context, width // self.heads))
        return KeyValue(zeros, zeros)

    def extend(
        self, x: Array, cache: KeyValue, *, at: Array | int, real: Array, places: Array | None = None
    ) -> tuple[Array, KeyValue]:
        """What comes next in sequences that were read before.

        Args:
            x: ``[batch, time, width]``.
            cache: The keys and values of what was read, ``[batch, heads, context, width of a head]``: heads first, as
                their products are formed. In any other order every step would copy the whole cache.
            at: How many places of the cache are used: the next ones are those of ``x``.
            real: ``[batch, context]``, true where a place is real, those of ``x`` among them.
            places: For ``rotation``, ``[batch, time]``; ``None``: counted over the real ones.

        Returns:
            What ``__call__`` gives for these places of the whole sequences; and the cache with them. Where ``at`` is
            traced and there is no room, NaN, and the cache as it was.

        Raises:
            ValueError: Attention is not causal, the cache has no room for so many places, or as in ``__call__``.
        """
        check_sequences(x)
        if not self.causal:
            raise ValueError("causal: what was read before would have to see what comes next; expected causal=True")
        time, context = x.shape[1], cache.key.shape[2]
        _check_room(at, time, context)
        if places is None and self.rotation is not None:
            places = lax.dynamic_slice_in_dim(places_of(real), at, time, 1)
        earlier = jnp.arange(context)[None] <= at + jnp.arange(time)[:, None]
        seen = earlier[None, None] & jnp.asarray(real, bool)[:, None, None]
        longer = cache

        def attend(query: Array, pair: KeyValue) -> Array:
            nonlocal longer
            new = KeyValue(*(jnp.moveaxis(part, 1, 2).astype(old.dtype) for part, old in zip(pair, cache, strict=True)))
            # A branch of its own: XLA would write once for the cache and again for the products, each time into a copy
            # of the whole.
            longer = lax.cond(at + time <= context, _written, lambda cache, new, at: cache, cache, new, at)
            # Moved back at once where attention begins: no copy is made.
            pair = KeyValue(
                *(jnp.moveaxis(whole, 1, 2).astype(new.dtype) for whole, new in zip(longer, pair, strict=True))
            )
            return _attend(self, query, pair, False, mask=seen)

        y = self._run(x, False, places, attend)
        return jnp.where(at + time <= context, y, jnp.nan), longer

    @linen.compact
    def _run(self, x: Array, train: bool, places: Any, attend: Callable[[Array, KeyValue], Array]) -> Array:
        batch, time, width = x.shape
        check_heads(self.heads, width)
        check_dropout(self.dropout)
        qkv = Dense(3 * width, self.use_bias, kernel_init=self.kernel_init, name="qkv")(x)
        qkv = qkv.reshape(batch, time, 3, self.heads, width // self.heads)
        q, k, v = (qkv[:, :, i] for i in range(3))
        if self.rotation is not None:
            q, k = self.rotation(q, places), self.rotation(k, places)
        y = attend(q, KeyValue(k, v)).reshape(batch, time, width)
        y = Dense(width, self.use_bias, kernel_init=self.residual_init, name="out")(y)
        return Dropout(self.dropout, deterministic=not train, name="dropout")(y)


class CrossAttention(linen.Module):
    """Attention of a sequence to another one, the memory: queries from the former, keys and values from the latter.

    The weights as in :class:`Attention`.

    Attributes:
        heads: How many heads share the width.
        dropout: The fraction of outputs set to zero in training.
        attention_dropout: The fraction of weights set to zero in training.
        kernel_init: Draws the weights of the projections to queries, keys and values.
        residual_init: Draws those of the projection back.
        use_bias: Whether projections have biases.
    """

    heads: int
    dropout: Any = 0.0
    attention_dropout: Any = 0.0
    kernel_init: Any = linen.initializers.lecun_normal()
    residual_init: Any = linen.initializers.lecun_normal()
    use_bias: bool = True

    def __call__(self, x: Array, memory: Array | KeyValue, train: bool = False, *, mask: Array | None = None) -> Array:
        """From ``[batch, time, width]`` to the same.

        Args:
            x: The sequences that ask.
            memory: Those that answer, ``[batch, places, width of the memory]``, or what ``remember`` made of them.
            train: Whether dropout is on.
            mask: ``[batch, places]``, true where a place of the memory is real: the others are not seen. If none is,
                the answer is the bias of the projection back.

        Raises:
            TypeError: ``heads`` is no whole number, or ``mask`` is floating.
            ValueError: ``heads`` is below 1 or does not divide the width, ``dropout`` is not in [0, 1), or shapes do
                not fit together.
        """
        check_sequences(x)
        if not isinstance(memory, KeyValue):
            check_sequences(memory, "memory")
        held = memory.key if isinstance(memory, KeyValue) else memory
        if held.shape[0] != x.shape[0]:
            raise ValueError(f"memory: expected as many sequences as x, {x.shape[0]}, got {held.shape[0]}")
        check_mask(mask, held, "[batch, places]")
        return self._run(x, memory, train, mask)

    def remember(self, memory: Array, width: int | None = None) -> KeyValue:
        """The keys and values of a memory, once for all the steps that will ask.

        Args:
            memory: ``[batch, places, width of the memory]``.
            width: That of the sequences that will ask; ``None``: the memory's.

        Returns:
            ``[batch, places, heads, width of a head]`` each.
        """
        check_sequences(memory, "memory")
        return self._run(None, memory, False, None, width or memory.shape[-1])

    @linen.compact
    def _run(self, x: Any, memory: Any, train: bool, mask: Array | None, width: int = 0) -> Any:
        width = width or x.shape[-1]
        check_heads(self.heads, width)
        check_dropout(self.dropout)
        pair = memory
        if not isinstance(memory, KeyValue):
            both = Dense(2 * width, self.use_bias, kernel_init=self.kernel_init, name="key_value")(memory)
            both = both.reshape(*memory.shape[:2], 2, self.heads, width // self.heads)
            pair = KeyValue(both[:, :, 0], both[:, :, 1])
        if x is None:
            return pair
        query = Dense(width, self.use_bias, kernel_init=self.kernel_init, name="query")(x)
        query = query.reshape(*x.shape[:2], self.heads, width // self.heads)
        seen = None if mask is None else mask[:, None, None, :]
        y = _attend(self, query, pair, train, mask=seen).reshape(x.shape)
        y = Dense(width, self.use_bias, kernel_init=self.residual_init, name="out")(y)
        return Dropout(self.dropout, deterministic=not train, name="dropout")(y)


def _check_room(at: Array | int, time: int, context: int) -> None:
    """Refuse more places than a cache has left, as far as that is known."""
    used = 0 if isinstance(at, jax.core.Tracer) else int(at)
    if used + time > context:
        raise ValueError(f"at: the cache has {context} places, of which {used} are used, and no room for {time} more")


def _written(cache: KeyValue, new: KeyValue, at: Array | int) -> KeyValue:
    """A cache with what is new from place ``at`` on, both ``[batch, heads, time, width of a head]``."""
    return KeyValue(*(lax.dynamic_update_slice_in_dim(c, n, at, 2) for c, n in zip(cache, new, strict=True)))


def _attend(module: Attention | CrossAttention, query: Array, pair: KeyValue, train: bool, **how: Any) -> Array:
    """Attention, with dropout of the weights; these are kept where somebody asks for them."""
    if module.is_mutable_collection(COLLECTION) and not module.is_initializing():
        module.sow(COLLECTION, "weights", attention_weights(query, pair.key, **how))
    check_dropout(module.attention_dropout, "attention_dropout")
    drop = Dropout(module.attention_dropout, deterministic=not train, name="dropout_weights") if train else None
    return attention(query, *pair, **how, drop=drop)


def check_sequences(x: Array, name: str = "x") -> None:
    """Refuse what is no batch of sequences of vectors.

    Raises:
        ValueError: It has other axes.
    """
    if jnp.ndim(x) != 3:
        raise ValueError(f"{name}: expected sequences of shape [batch, time, width], got the shape {jnp.shape(x)}")


def check_mask(mask: Array | None, x: Array, axes: str = "[batch, time]") -> None:
    """Refuse a mask that is none of these sequences.

    Raises:
        TypeError: It is floating.
        ValueError: It has another shape than their first two axes.
    """
    if mask is None:
        return
    if jnp.shape(mask) != x.shape[:2]:
        raise ValueError(f"mask: expected the shape {axes} = {x.shape[:2]}, got {jnp.shape(mask)}")
    check_truth("mask", mask)


def check_heads(heads: int, width: int) -> None:
    """Refuse heads that cannot share a width.

    Raises:
        TypeError: They are no whole number.
        ValueError: They are below 1, or do not divide the width.
    """
    check_count("heads", heads)
    if width % heads:
        raise ValueError(f"heads: {heads} heads do not divide a width of {width}")
