"""Transformer blocks, and the decoder that predicts the next token."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from stepax.checks import check_count, check_dropout, check_function
from stepax.nn.dense import Dense
from stepax.nn.dropout import Dropout
from stepax.ops.attention import attention
from stepax.ops.embedding import embed
from stepax.ops.rows import every_row
from stepax.typing import Array

__all__ = ["Attention", "Block", "Decoder"]


class Attention(linen.Module):
    """Self-attention with several heads: one projection to queries, keys and values, one back.

    Attributes:
        heads: How many heads share the width.
        causal: Whether a place sees itself and earlier ones only.
        dropout: The fraction of outputs set to zero in training.
    """

    heads: int
    causal: bool = False
    dropout: float = 0.0

    @linen.compact
    def __call__(self, x: Array, train: bool = False, *, mask: Array | None = None) -> Array:
        """From ``[batch, time, width]`` to the same.

        Args:
            x: The sequences.
            train: Whether dropout is on.
            mask: ``[batch, time]``, true where a place is real: the others are not seen.

        Raises:
            TypeError: ``heads`` is no whole number, or ``mask`` is floating.
            ValueError: ``heads`` is below 1 or does not divide the width, ``dropout`` is not in [0, 1), or ``x`` or
                ``mask`` has another shape.
        """
        check_count("heads", self.heads)
        check_dropout(self.dropout)
        if x.ndim != 3:
            raise ValueError(f"x: expected sequences of shape [batch, time, width], got the shape {jnp.shape(x)}")
        if mask is not None and jnp.shape(mask) != x.shape[:2]:
            raise ValueError(f"mask: expected the shape [batch, time] = {x.shape[:2]}, got {jnp.shape(mask)}")
        batch, time, width = x.shape
        if width % self.heads:
            raise ValueError(f"heads: {self.heads} heads do not divide a width of {width}")
        qkv = Dense(3 * width, name="qkv")(x).reshape(batch, time, 3, self.heads, width // self.heads)
        q, k, v = (qkv[:, :, i] for i in range(3))
        seen = None if mask is None else mask[:, None, None, :]
        y = attention(q, k, v, causal=self.causal, mask=seen).reshape(batch, time, width)
        y = Dense(width, name="out")(y)
        return Dropout(self.dropout, deterministic=not train, name="dropout")(y)


class Block(linen.Module):
    """Attention, then a dense layer on each place; both added to their input, which is normalised first.

    Attributes:
        heads: How many heads the attention has.
        causal: Whether a place sees itself and earlier ones only.
        expansion: The hidden dense layer's width over the block's.
        activation: The non-linearity.
        dropout: The fraction of both parts' outputs set to zero in training.

    Reference:
        Xiong et al., On layer normalization in the Transformer architecture, 2020, arXiv:2002.04745 (pre-norm).
    """

    heads: int
    causal: bool = False
    expansion: int = 4
    activation: Callable[[Array], Array] = partial(jax.nn.gelu, approximate=True)
    dropout: float = 0.0

    @linen.compact
    def __call__(self, x: Array, train: bool = False, *, mask: Array | None = None) -> Array:
        """From ``[batch, time, width]`` to the same; ``mask`` as in :class:`Attention`.

        Raises:
            TypeError: ``expansion`` is no whole number, ``activation`` no function, or as in :class:`Attention`.
            ValueError: ``expansion`` is below 1, or as in :class:`Attention`.
        """
        check_count("expansion", self.expansion)
        check_function("activation", self.activation)
        if x.ndim != 3:
            raise ValueError(f"x: expected sequences of shape [batch, time, width], got the shape {jnp.shape(x)}")
        width = x.shape[-1]
        h = linen.LayerNorm(epsilon=1e-5, name="norm_1")(x)
        x = x + Attention(self.heads, self.causal, self.dropout, name="attention")(h, train, mask=mask)
        h = linen.LayerNorm(epsilon=1e-5, name="norm_2")(x)
        h = self.activation(Dense(self.expansion * width, name="dense_in")(h))
        h = Dense(width, name="dense_out")(h)
        h = Dropout(self.dropout, deterministic=not train, name="dropout")(h)
        return x + h


class Decoder(linen.Module):
    """A Transformer that predicts each next token from those before it, as GPT does.

    Attributes:
        vocabulary: How many tokens there are.
        features: The width of a token's vector.
        layers: How many blocks.
        heads: Heads of each.
        context: The longest sequence.
        dropout: The fraction of values set to zero in training: of the sum of token and place, and in the blocks.

    Reference:
        Radford et al., Language models are unsupervised multitask learners, 2019.
    """

    vocabulary: int
    features: int = 128
    layers: int = 4
    heads: int = 4
    context: int = 128
    dropout: float = 0.0

    @linen.compact
    def __call__(self, tokens: Array, train: bool = False) -> Array:
        """From tokens ``[batch, time]`` to the logits of the next ones, ``[batch, time, vocabulary]``.

        Raises:
            TypeError: ``tokens`` or a size are no whole numbers.
            ValueError: A size is too small, ``heads`` do not divide ``features``, ``dropout`` is not in [0, 1), or
                ``tokens`` have another shape.
        """
        sizes = {"vocabulary": self.vocabulary, "features": self.features, "heads": self.heads, "context": self.context}
        for name, size in sizes.items():
            check_count(name, size)
        check_count("layers", self.layers, 0)
        check_dropout(self.dropout)
        if jnp.ndim(tokens) != 2 or tokens.shape[1] > self.context:
            raise ValueError(
                f"tokens: expected [batch, time] with at most {self.context} steps (the context), got "
                f"{jnp.shape(tokens)}"
            )
        if not jnp.issubdtype(tokens.dtype, jnp.integer):
            raise TypeError(f"tokens: expected whole numbers, got {tokens.dtype}")
        time = tokens.shape[1]
        normal: Any = linen.initializers.normal(0.02)
        table = self.param("tokens", normal, (self.vocabulary, self.features))
        places = self.param("places", normal, (self.context, self.features))
        x = embed(table, tokens)
        x = x + every_row(places[:time].reshape(-1), (tokens.shape[0],)).reshape(x.shape)
        x = Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        for i in range(self.layers):
            x = Block(self.heads, True, dropout=self.dropout, name=f"block_{i}")(x, train)
        x = linen.LayerNorm(epsilon=1e-5, name="norm")(x)
        return Dense(self.vocabulary, use_bias=False, name="head")(x)
