"""The Transformer's encoder, and what it has in common with the decoder."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from stepax.checks import check_count, check_dropout
from stepax.nn.attention import check_mask
from stepax.nn.block import Block, Residual, pre_norm
from stepax.nn.dense import Dense
from stepax.nn.dropout import Dropout
from stepax.nn.layers import Stack, check_stack, unrolled
from stepax.nn.positions import Positions, check_positions, learned, places_of
from stepax.nn.tokens import check_tokens
from stepax.ops.embedding import embed
from stepax.ops.rows import every_row
from stepax.typing import Array, Tree

__all__ = ["Encoder", "Layers"]


class Layers(linen.Module):
    """What an encoder and a decoder have in common: tokens with places, and blocks.

    Its methods are parts of theirs: without ``nowrap`` Linen would keep what they return as outputs of layers.
    """

    vocabulary: int | None
    features: int = 128
    layers: int = 4
    heads: int = 4
    context: int = 128
    dropout: Any = 0.0
    attention_dropout: Any = 0.0
    expansion: int = 4
    activation: Callable[[Array], Array] = partial(jax.nn.gelu, approximate=True)
    positions: Positions = learned()
    residual: Residual = pre_norm
    stack: Stack = unrolled()
    kernel_init: Any = linen.initializers.lecun_normal()
    residual_init: Any = linen.initializers.lecun_normal()
    embedding_init: Any = linen.initializers.normal(0.02)
    use_bias: bool = True

    @linen.nowrap
    def check(self, name: str, x: Any, mask: Any) -> None:
        """Refuse settings, an input and a mask that do not fit together; ``name`` is the input's, for messages."""
        sizes = {"features": self.features, "heads": self.heads, "context": self.context}
        for setting, size in sizes.items():
            check_count(setting, size)
        check_count("layers", self.layers, 0)
        check_dropout(self.dropout)
        check_dropout(self.attention_dropout, "attention_dropout")
        check_positions(self.positions)
        check_stack(self.stack)
        axes = "[batch, time, inputs]" if self.vocabulary is None else "[batch, time]"
        if jnp.ndim(x) != axes.count(",") + 1 or x.shape[1] > self.context:
            raise ValueError(
                f"{name}: expected {axes} with at most {self.context} steps (the context), got {jnp.shape(x)}"
            )
        check_mask(mask, x)
        if self.vocabulary is not None:
            check_count("vocabulary", self.vocabulary)
            check_tokens(name, x, self.vocabulary, mask)

    @linen.nowrap
    def embedded(self, x: Array, places: Array | None, train: bool, mask: Array | None) -> Array:
        """Vectors ``[batch, time, features]``; places are the first ones unless given."""
        if mask is not None:
            # What stands where nothing is real may be anything, NaN too.
            x = jnp.where(mask.reshape(*mask.shape, *(1,) * (x.ndim - 2)), x, 0)
        if self.vocabulary is None:
            x = Dense(self.features, self.use_bias, kernel_init=self.kernel_init, name="inputs")(x)
        else:
            x = embed(self.param("tokens", self.embedding_init, (self.vocabulary, self.features)), x)
        if self.positions.embedding is not None:
            # Waves come in the default precision, and would take the whole model there.
            table = self.positions.embedding(self.param, self.context, self.features).astype(x.dtype)
            if places is None:
                x = x + every_row(table[: x.shape[1]].reshape(-1), (x.shape[0],)).reshape(x.shape)
            else:
                x = x + embed(table, places)
        return Dropout(self.dropout, deterministic=not train, name="dropout")(x)

    @linen.nowrap
    def blocks(self, causal: bool, step: Callable[..., Any], x: Any, each: Tree = None) -> tuple[Any, Tree]:
        """All blocks, one after the other, as the stack has it."""
        block = partial(
            Block,
            self.heads,
            causal,
            self.expansion,
            self.activation,
            self.dropout,
            self.attention_dropout,
            self.positions.rotation,
            self.residual,
            self.kernel_init,
            self.residual_init,
            self.use_bias,
        )
        return self.stack.run(block, self.layers, step, x, each)

    @linen.nowrap
    def last_norm(self, x: Array) -> Array:
        """The normalisation behind the blocks."""
        return linen.LayerNorm(epsilon=1e-5, use_bias=self.use_bias, name="norm")(x)


class Encoder(Layers):
    """A Transformer in which every place sees all others: of tokens, or of vectors.

    Attributes:
        vocabulary: How many tokens there are; ``None``: sequences are of vectors, which a dense layer takes to their
            width here.
        features: The width of a token's vector.
        layers: How many blocks.
        heads: Heads of each.
        context: The longest sequence.
        dropout: The fraction of values set to zero in training: of the sum of token and place, and in the blocks.
        attention_dropout: The fraction of attention's weights set to zero in training.
        expansion: The blocks' hidden width over ``features``.
        activation: Their non-linearity.
        positions: How places are told: :func:`positions.learned`, ``sinusoidal`` or ``rotary``.
        residual: :func:`pre_norm` or :func:`post_norm`.
        stack: How blocks follow each other: :func:`unrolled` or :func:`scanned`.
        kernel_init: Draws the weights of projections.
        residual_init: Draws those of the last projection of each part of a block.
        embedding_init: Draws the tokens' vectors.
        use_bias: Whether projections and normalisations have biases.

    Reference:
        Vaswani et al., Attention is all you need, 2017, arXiv:1706.03762; Devlin et al., BERT, 2018, arXiv:1810.04805.
    """

    def __call__(self, x: Array, train: bool = False, *, mask: Array | None = None) -> Array:
        """From tokens ``[batch, time]``, or vectors ``[batch, time, inputs]``, to ``[batch, time, features]``.

        Args:
            x: The sequences.
            train: Whether dropout is on.
            mask: ``[batch, time]``, true where a step is real. The others are as if they were not there: they are not
                seen, and places are counted over the real ones. Of a sequence without any, outputs are finite, and
                mean nothing.

        Raises:
            TypeError: Tokens or a size are no whole numbers, or ``mask`` is floating.
            ValueError: A size is too small, ``heads`` do not divide ``features``, a fraction is not in [0, 1), ``x``
                has another shape or more steps than ``context``, or tokens that are no tracers are outside of the
                vocabulary.
        """
        self.check("x", x, mask)
        return self._run(x, train, mask)

    @linen.compact
    def _run(self, x: Array, train: bool, mask: Array | None) -> Array:
        places = None if mask is None else places_of(mask)
        x = self.embedded(x, places, train, mask)

        def step(block: Block, x: Array, each: None) -> tuple[Array, None]:
            del each
            return block(x, train, mask=mask, places=places), None

        return self.last_norm(self.blocks(False, step, x)[0])
