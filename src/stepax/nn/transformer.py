"""Transformer blocks, and the decoder that predicts the next token."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from flax import linen

from stepax.nn.dense import Dense
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
        """
        batch, time, width = x.shape
        if width % self.heads:
            raise ValueError(f"heads: {self.heads} heads do not divide a width of {width}")
        qkv = Dense(3 * width, name="qkv")(x).reshape(batch, time, 3, self.heads, -1)
        q, k, v = (qkv[:, :, i] for i in range(3))
        seen = None if mask is None else mask[:, None, None, :]
        y = attention(q, k, v, causal=self.causal, mask=seen).reshape(batch, time, width)
        y = Dense(width, name="out")(y)
        return linen.Dropout(self.dropout, deterministic=not train, name="dropout")(y) if self.dropout else y


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
        """From ``[batch, time, width]`` to the same; ``mask`` as in :class:`Attention`."""
        width = x.shape[-1]
        h = linen.LayerNorm(epsilon=1e-5, name="norm_1")(x)
        x = x + Attention(self.heads, self.causal, self.dropout, name="attention")(h, train, mask=mask)
        h = linen.LayerNorm(epsilon=1e-5, name="norm_2")(x)
        h = self.activation(Dense(self.expansion * width, name="dense_in")(h))
        h = Dense(width, name="dense_out")(h)
        if self.dropout:
            h = linen.Dropout(self.dropout, deterministic=not train, name="dropout")(h)
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
        """From tokens ``[batch, time]`` to the logits of the next ones, ``[batch, time, vocabulary]``."""
        time = tokens.shape[-1]
        if tokens.ndim != 2 or time > self.context:
            raise ValueError(
                f"tokens: expected [batch, time] with at most {self.context} steps (the context), got {tokens.shape}"
            )
        normal: Any = linen.initializers.normal(0.02)
        table = self.param("tokens", normal, (self.vocabulary, self.features))
        places = self.param("places", normal, (self.context, self.features))
        x = embed(table, tokens)
        x = x + every_row(places[:time].reshape(-1), (tokens.shape[0],)).reshape(x.shape)
        if self.dropout:
            x = linen.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        for i in range(self.layers):
            x = Block(self.heads, True, dropout=self.dropout, name=f"block_{i}")(x, train)
        x = linen.LayerNorm(epsilon=1e-5, name="norm")(x)
        return Dense(self.vocabulary, use_bias=False, name="head")(x)
