"""One layer of a Transformer."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from flax import linen

from stepax.checks import check_count, check_function
from stepax.nn.attention import Attention, CrossAttention, KeyValue, check_sequences
from stepax.nn.dense import Dense
from stepax.nn.dropout import Dropout
from stepax.typing import Array

__all__ = ["Block", "post_norm", "pre_norm"]

Residual = Callable[[Array, Callable[[Array], Array], Callable[[Array], Array]], Array]


def pre_norm(x: Array, norm: Callable[[Array], Array], part: Callable[[Array], Array]) -> Array:
    """``x + part(norm(x))``: trains without a warm-up, also where there are many layers.

    Reference:
        Xiong et al., On layer normalization in the Transformer architecture, 2020, arXiv:2002.04745.
    """
    return x + part(norm(x))


def post_norm(x: Array, norm: Callable[[Array], Array], part: Callable[[Array], Array]) -> Array:
    """``norm(x + part(x))``, as in the first Transformer.

    Reference:
        Vaswani et al., Attention is all you need, 2017, arXiv:1706.03762.
    """
    return norm(x + part(x))


class Block(linen.Module):
    """Attention, then a dense layer on each place, each added to its input, with a normalisation.

    Where there is a memory, attention to it stands between them.

    Attributes:
        heads: How many heads the attention has.
        causal: Whether a place sees itself and earlier ones only.
        expansion: The hidden dense layer's width over the block's.
        activation: The non-linearity.
        dropout: The fraction of each part's outputs set to zero in training.
        attention_dropout: The fraction of attention's weights set to zero in training.
        rotation: Of the attention to itself, as in :class:`Attention`.
        residual: How a part, its input's sum and the normalisation follow each other: ``(x, norm, part) -> x``, such as
            :func:`pre_norm` and :func:`post_norm`.
        kernel_init: Draws the weights, but those of the projections back.
        residual_init: Draws the weights of each part's last projection, whose output is added to its input.
        use_bias: Whether projections and normalisations have biases.
    """

    heads: int
    causal: bool = False
    expansion: int = 4
    activation: Callable[[Array], Array] = partial(jax.nn.gelu, approximate=True)
    dropout: Any = 0.0
    attention_dropout: Any = 0.0
    rotation: Callable[[Array, Array], Array] | None = None
    residual: Residual = pre_norm
    kernel_init: Any = linen.initializers.lecun_normal()
    residual_init: Any = linen.initializers.lecun_normal()
    use_bias: bool = True

    def __call__(
        self,
        x: Array,
        train: bool = False,
        *,
        mask: Array | None = None,
        places: Array | None = None,
        memory: Array | KeyValue | None = None,
        memory_mask: Array | None = None,
    ) -> Array:
        """From ``[batch, time, width]`` to the same.

        Args:
            x: The sequences.
            train: Whether dropout is on.
            mask: ``[batch, time]``, as in :class:`Attention`.
            places: As in :class:`Attention`.
            memory: ``[batch, places, width of the memory]``, or what ``remember`` made of it; ``None``: the block has
                no attention to another sequence.
            memory_mask: ``[batch, places]``, as in :class:`CrossAttention`.

        Raises:
            TypeError: ``expansion`` is no whole number, ``activation`` no function, or as in :class:`Attention`.
            ValueError: ``expansion`` is below 1, or as in :class:`Attention`.
        """

        def part(attention: Attention, h: Array) -> Array:
            return attention(h, train, mask=mask, places=places)

        return self._run(x, part, train, memory, memory_mask)

    def extend(
        self,
        x: Array,
        cache: KeyValue,
        *,
        at: Array | int,
        real: Array,
        places: Array | None = None,
        memory: Array | KeyValue | None = None,
        memory_mask: Array | None = None,
    ) -> tuple[Array, KeyValue]:
        """What comes next in sequences that were read before.

        Args:
            x: ``[batch, time, width]``.
            cache: As in :meth:`Attention.extend`.
            at: Likewise.
            real: Likewise.
            places: Likewise.
            memory: As in a call.
            memory_mask: Likewise.

        Returns:
            What ``__call__`` gives for these places of the whole sequences, and the cache with them; where ``at`` is
            traced and there is no room, NaN, and the cache as it was.

        Raises:
            TypeError: As in ``__call__``.
            ValueError: As in :meth:`Attention.extend`, or as in ``__call__``.
        """
        longer = cache

        def part(attention: Attention, h: Array) -> Array:
            nonlocal longer
            y, longer = attention.extend(h, cache, at=at, real=real, places=places)
            return y

        x = self._run(x, part, False, memory, memory_mask)
        return x, longer

    def remember(self, memory: Array, width: int) -> KeyValue:
        """The keys and values of a memory, as in :class:`CrossAttention`."""
        return self._run(None, None, False, memory, None, width)

    @linen.compact
    def _run(self, x: Any, attend: Any, train: bool, memory: Any, memory_mask: Array | None, width: int = 0) -> Any:
        shared: dict[str, Any] = {
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "kernel_init": self.kernel_init,
            "residual_init": self.residual_init,
            "use_bias": self.use_bias,
        }
        if x is None:
            return CrossAttention(self.heads, **shared, name="cross").remember(memory, width)
        check_count("expansion", self.expansion)
        check_function("activation", self.activation)
        if not callable(self.residual):
            raise TypeError(f"residual: expected a function such as pre_norm, got {self.residual!r}")
        check_sequences(x)
        attention = Attention(self.heads, self.causal, rotation=self.rotation, **shared, name="attention")
        x = self.residual(x, self._norm("norm_1"), lambda h: attend(attention, h))
        if memory is not None:
            cross = CrossAttention(self.heads, **shared, name="cross")
            x = self.residual(x, self._norm("norm_cross"), lambda h: cross(h, memory, train, mask=memory_mask))
        return self.residual(x, self._norm("norm_2"), lambda h: self._each_place(h, train))

    def _each_place(self, h: Array, train: bool) -> Array:
        width = h.shape[-1]
        wide = Dense(self.expansion * width, self.use_bias, kernel_init=self.kernel_init, name="dense_in")(h)
        h = Dense(width, self.use_bias, kernel_init=self.residual_init, name="dense_out")(self.activation(wide))
        return Dropout(self.dropout, deterministic=not train, name="dropout")(h)

    def _norm(self, name: str) -> Callable[[Array], Array]:
        return linen.LayerNorm(epsilon=1e-5, use_bias=self.use_bias, name=name)
