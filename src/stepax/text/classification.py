"""Classifiers of texts: convolutions with the maximum over time, recurrent layers, and a Transformer."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from stepax.checks import check_count, check_dropout, check_function
from stepax.nn import LSTM, Dense, Dropout, Encoder
from stepax.nn.positions import Positions, learned
from stepax.nn.widths import check_widths
from stepax.ops.convolution import conv
from stepax.ops.embedding import embed
from stepax.ops.rows import every_row
from stepax.typing import Array, Key

__all__ = ["TextCNN", "TextLSTM", "TextTransformer", "max_over_time", "mean_over_time"]


def _vectors(key: Key, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    """As Kim draws them: as far from zero as vectors of words that were trained before."""
    return jax.random.uniform(key, shape, dtype, -0.25, 0.25)


class TextCNN(linen.Module):
    """Convolutions of several windows side by side over the vectors of tokens, and of each map its largest value.

    A window stands around every token; beyond the text's ends are zeros. Padding, token 0, is neither seen nor can it
    win: a padded text gives what the text alone gives, also where it is shorter than a window.

    Attributes:
        vocabulary: How many tokens there are.
        classes: How many classes.
        features: The width of a token's vector.
        windows: How many tokens each kind of convolution spans.
        maps: How many maps each kind has.
        dropout: The fraction of the maps' maxima set to zero in training.
        dropout_in: The fraction of the vectors' numbers set to zero in training.
        embedding_init: Draws the vectors.

    Reference:
        Kim, Convolutional neural networks for sentence classification, 2014, arXiv:1408.5882.
    """

    vocabulary: int
    classes: int
    features: int = 128
    windows: Sequence[int] = (3, 4, 5)
    maps: int = 100
    dropout: float = 0.5
    dropout_in: float = 0.0
    embedding_init: Any = _vectors

    @linen.compact
    def __call__(self, tokens: Array, train: bool = False) -> Array:
        """From tokens ``[batch, time]`` to logits ``[batch, classes]``.

        Raises:
            TypeError: ``tokens`` or a size are no whole numbers.
            ValueError: A size is below 1, there are no windows, a dropout is not in [0, 1), or ``tokens`` have another
                shape.
        """
        _check_counts(self, "vocabulary", "classes", "features", "maps")
        windows = check_widths("windows", self.windows)
        if not windows:
            raise ValueError("windows: expected at least one, such as (3, 4, 5), got none")
        check_dropout(self.dropout)
        check_dropout(self.dropout_in, "dropout_in")
        mask = _real(tokens)
        x = _Vectors(self.vocabulary, self.features, self.dropout_in, self.embedding_init, name="tokens")(tokens, train)
        kernels = [
            self.param(f"conv_{i}_kernel", linen.initializers.he_normal(), (window, self.features, self.maps))
            for i, window in enumerate(windows)
        ]
        bias = self.param("conv_bias", linen.initializers.zeros_init(), (len(windows) * self.maps,))
        x = jnp.where(mask[..., None], x, 0)
        # The bias and a non-linearity that never falls are cheaper after the maximum, and change nothing.
        largest = jnp.concatenate([max_over_time(conv(x, kernel), mask) for kernel in kernels], axis=-1)
        largest = jax.nn.relu(largest + every_row(bias, largest.shape[:1]))
        largest = Dropout(self.dropout, deterministic=not train, name="dropout")(largest)
        return Dense(self.classes, name="head")(largest)


class TextLSTM(linen.Module):
    """Long short-term memory over the vectors of tokens, in both directions.

    Padding, token 0, changes no state.

    Attributes:
        vocabulary: How many tokens there are.
        classes: How many classes.
        features: The width of a token's vector.
        width: The width of each direction's state.
        layers: How many layers.
        bidirectional: Whether each layer also reads the texts from their end.
        dropout: The fraction of values set to zero in training: of the vectors, between layers, and before the head.
        pooling: From the last layer's outputs ``[batch, time, …]`` and a mask ``[batch, time]`` to ``[batch, …]``, such
            as :func:`max_over_time`; ``None`` takes the states after the last token, and before the first.
        embedding_init: Draws the vectors.

    Reference:
        Graves and Schmidhuber, Framewise phoneme classification with bidirectional LSTM, 2005.
    """

    vocabulary: int
    classes: int
    features: int = 128
    width: int = 128
    layers: int = 1
    bidirectional: bool = True
    dropout: float = 0.5
    pooling: Callable[[Array, Array], Array] | None = None
    embedding_init: Any = _vectors

    @linen.compact
    def __call__(self, tokens: Array, train: bool = False) -> Array:
        """From tokens ``[batch, time]`` to logits ``[batch, classes]``.

        Raises:
            TypeError: ``tokens`` or a size are no whole numbers, or ``pooling`` is no function.
            ValueError: A size is below 1, ``dropout`` is not in [0, 1), or ``tokens`` have another shape.
        """
        _check_counts(self, "vocabulary", "classes", "features", "width", "layers")
        check_dropout(self.dropout)
        if self.pooling is not None:
            check_function("pooling", self.pooling)
        mask = _real(tokens)
        x = _Vectors(self.vocabulary, self.features, self.dropout, self.embedding_init, name="tokens")(tokens, train)
        lstm = LSTM(self.width, self.layers, self.bidirectional, self.dropout, name="lstm")
        outputs, states = lstm(x, train, mask=mask)
        if self.pooling is None:
            text = jnp.concatenate([h for h, _ in states[-1 - self.bidirectional :]], axis=-1)
        else:
            text = self.pooling(outputs, mask)
        text = Dropout(self.dropout, deterministic=not train, name="dropout")(text)
        return Dense(self.classes, name="head")(text)


class TextTransformer(linen.Module):
    """A Transformer over all of a text, and the mean of its outputs.

    Padding, token 0, is neither seen nor in the mean, and places are counted without it.

    Attributes:
        vocabulary: How many tokens there are.
        classes: How many classes.
        features: The width of a token's vector.
        layers: How many blocks.
        heads: Heads of each.
        context: The longest text.
        dropout: The fraction of values set to zero in training: as in :class:`stepax.nn.Encoder`, and before the head.
        positions: How places are told, such as :func:`stepax.nn.positions.rotary`.
        embedding_init: Draws the vectors.

    Reference:
        Vaswani et al., Attention is all you need, 2017, arXiv:1706.03762.
    """

    vocabulary: int
    classes: int
    features: int = 128
    layers: int = 2
    heads: int = 4
    context: int = 128
    dropout: float = 0.1
    positions: Positions = learned()
    embedding_init: Any = linen.initializers.normal(0.02)

    @linen.compact
    def __call__(self, tokens: Array, train: bool = False) -> Array:
        """From tokens ``[batch, time]`` to logits ``[batch, classes]``.

        Raises:
            TypeError: ``tokens`` or a size are no whole numbers.
            ValueError: A size is too small, ``heads`` do not divide ``features``, ``dropout`` is not in [0, 1), or
                ``tokens`` have another shape or are longer than ``context``.
        """
        _check_counts(self, "classes")
        mask = _real(tokens)
        encoder = Encoder(
            self.vocabulary,
            self.features,
            self.layers,
            self.heads,
            self.context,
            self.dropout,
            positions=self.positions,
            embedding_init=self.embedding_init,
            name="encoder",
        )
        text = mean_over_time(encoder(tokens, train, mask=mask), mask)
        text = Dropout(self.dropout, deterministic=not train, name="dropout")(text)
        return Dense(self.classes, name="head")(text)


class _Vectors(linen.Module):
    """The vectors of tokens, with dropout."""

    vocabulary: int
    features: int
    dropout: float
    embedding_init: Any

    @linen.compact
    def __call__(self, tokens: Array, train: bool) -> Array:
        x = embed(self.param("table", self.embedding_init, (self.vocabulary, self.features)), tokens)
        return Dropout(self.dropout, deterministic=not train, name="dropout")(x)


def _check_counts(module: Any, *names: str) -> None:
    for name in names:
        check_count(name, getattr(module, name))


def _real(tokens: Array) -> Array:
    """The mask ``[batch, time]`` of what is no padding."""
    if jnp.ndim(tokens) != 2:
        raise ValueError(f"tokens: expected the shape [batch, time], got {jnp.shape(tokens)}")
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise TypeError(f"tokens: expected whole numbers, got {tokens.dtype}")
    return tokens != 0


def max_over_time(x: Array, mask: Array) -> Array:
    """Of every feature the largest value among the real places.

    Args:
        x: ``[batch, time, features]``.
        mask: ``[batch, time]``, true where a place is real.

    Returns:
        ``[batch, features]``; zeros where no place is real.
    """
    largest = _largest(jnp.where(mask[..., None], x, jnp.finfo(x.dtype).min))
    return jnp.where(mask.any(1)[:, None], largest, 0)


@jax.custom_jvp
def _largest(x: Array) -> Array:
    return x.max(1)


@_largest.defjvp
def _largest_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # By the winner's number: XLA may compute x again for this, rounded otherwise, and then nothing equals the maximum.
    (x,), (t,) = primals, tangents
    won = jnp.arange(x.shape[1])[None, :, None] == jnp.argmax(x, 1)[:, None]
    return _largest(x), jnp.where(won, t, 0).sum(1)


def mean_over_time(x: Array, mask: Array) -> Array:
    """Of every feature the mean over the real places.

    Args:
        x: ``[batch, time, features]``.
        mask: ``[batch, time]``, true where a place is real.

    Returns:
        ``[batch, features]``; zeros where no place is real.
    """
    count = jnp.maximum(mask.sum(1), 1).astype(x.dtype)
    return jnp.where(mask[..., None], x, 0).sum(1) / count[:, None]
