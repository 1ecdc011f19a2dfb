"""Translation: an encoder and a decoder of long short-term memory, with attention from one to the other."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from flax import linen

from stepax.checks import check_count, check_dropout
from stepax.nn import LSTM, Dense, Dropout
from stepax.nn.tokens import check_as_many, check_tokens, source_and_target
from stepax.ops import attention, attention_weights, embed
from stepax.text.tokens import PADDING
from stepax.typing import Array

__all__ = ["LSTMTranslator"]


class _State(NamedTuple):
    """What a translation goes on from.

    Attributes:
        memory: What the encoder has made of each place of the source, ``[batch, source, features]``.
        real: Which of these places hold a token, ``[batch, source]``.
        layers: The decoder's states ``(h, c)``, each ``[batch, features]``, one pair per layer.
    """

    memory: Array
    real: Array
    layers: list[tuple[Array, Array]]


class _Encoder(linen.Module):
    """Reads a source: tokens ``[batch, source]`` to the state before the first token of the target."""

    vocabulary: int
    features: int
    layers: int
    bidirectional: bool
    dropout: float

    @linen.compact
    def __call__(self, tokens: Array, train: bool) -> _State:
        real = tokens != PADDING
        x = _vectors(self, tokens, train)
        width = self.features // (1 + self.bidirectional)
        lstm = LSTM(width, self.layers, self.bidirectional, self.dropout, name="lstm")
        memory, states = lstm(x, train, mask=real)
        each = 1 + self.bidirectional
        # The directions' states beside each other are as wide as the decoder's.
        layers = [
            (jnp.concatenate([h for h, _ in pair], -1), jnp.concatenate([c for _, c in pair], -1))
            for pair in (states[i : i + each] for i in range(0, len(states), each))
        ]
        return _State(memory, real, layers)


class _Decoder(linen.Module):
    """Goes on with a target: tokens ``[batch, target]`` to logits, to the queries of the memory, and the next state."""

    vocabulary: int
    features: int
    layers: int
    dropout: float

    @linen.compact
    def __call__(self, tokens: Array, state: _State, mask: Array | None, train: bool) -> tuple[Array, Array, _State]:
        x = _vectors(self, tokens, train)
        lstm = LSTM(self.features, self.layers, dropout=self.dropout, name="lstm")
        h, layers = lstm(x, train, initial=state.layers, mask=tokens != PADDING if mask is None else mask)
        query = Dense(self.features, use_bias=False, name="query")(h)
        context = attention(*_one_head(query, state.memory, state.memory), **_seen(state))[:, :, 0]
        h = jnp.tanh(Dense(self.features, use_bias=False, name="attended")(jnp.concatenate([context, h], -1)))
        h = Dropout(self.dropout, deterministic=not train, name="dropout_head")(h)
        return Dense(self.vocabulary, name="head")(h), query, state._replace(layers=layers)


class LSTMTranslator(linen.Module):
    r"""From one sequence to another: an LSTM reads the source, and a second one writes the target, looking back.

    The second LSTM begins with the first one's last states. Its state :math:`h_t` then asks every place :math:`s` of
    the source, whose output is :math:`m_s`, and what it gets goes into the next token's logits:

    .. math:: a_t = \mathrm{softmax}_s(h_t^\top W_q m_s), \quad c_t = \sum_s a_{ts} m_s, \quad
        \tilde h_t = \tanh(W_c [c_t; h_t]), \quad z_t = W_o \tilde h_t + b

    This is Luong's "general" score. Attention comes after the recurrence and nothing of it goes back in (no input
    feeding), so that a whole target under teacher forcing is one pass, whose attention and logits are a few large
    products; Bahdanau's additive score stands inside of the recurrence, and needs a hidden layer for each pair of
    places. Padding, token 0, is not there for the model: neither in the source nor in the target, left or right.

    Attributes:
        source: How many tokens the source's language has, 0 for padding among them.
        target: How many the target's, with begin and end.
        features: The width of vectors and states.
        layers: How many LSTMs lie over each other on each side.
        bidirectional: Whether the source is also read from its end, each direction with half the width.
        dropout: The fraction of values set to zero in training: of tokens' vectors, between layers, before the logits.

    Reference:
        Luong, Pham and Manning, Effective approaches to attention-based neural machine translation, 2015,
        arXiv:1508.04025. Sutskever, Vinyals and Le, Sequence to sequence learning with neural networks, 2014,
        arXiv:1409.3215.
    """

    source: int
    target: int
    features: int = 128
    layers: int = 1
    bidirectional: bool = False
    dropout: Any = 0.0

    context: ClassVar[int | None] = None
    """The most tokens that a state holds: there is no bound."""

    def setup(self) -> None:
        """Makes both sides."""
        for name in ("source", "target", "features", "layers"):
            check_count(name, getattr(self, name))
        check_dropout(self.dropout)
        if self.bidirectional and self.features % 2:
            raise ValueError(f"features: expected an even number, half for each direction, got {self.features}")
        self.encoder = _Encoder(self.source, self.features, self.layers, bool(self.bidirectional), self.dropout)
        self.decoder = _Decoder(self.target, self.features, self.layers, self.dropout)

    def __call__(self, x: Mapping[str, Array], train: bool = False) -> Array:
        """The logits of every next token, where all tokens before it are given.

        Args:
            x: ``{"source": [batch, s], "target": [batch, t]}``, tokens; the target starts with the one for the begin.
                Under ``jit``, where they are not looked at, one outside of the vocabulary gives NaN.
            train: Whether dropout is on.

        Returns:
            ``[batch, t, target]``; what stands at padding of the target means nothing.

        Raises:
            TypeError: ``x`` is no dict of two arrays of whole numbers, or an attribute is of the wrong kind.
            ValueError: Tokens have another shape, there is no source, or one is outside of its vocabulary; an attribute
                is out of range.
        """
        source, target = self._pair(x)
        return self.decoder(target, self.encoder(source, train), None, train)[0]

    def encode(self, source: Array) -> Any:
        """Reads a source.

        Args:
            source: Tokens ``[batch, s]``.

        Returns:
            The state before the target's first token, a tree of arrays, for :meth:`extend`.

        Raises:
            TypeError: They are no whole numbers.
            ValueError: As in a call.
        """
        _check("source", source, self.source, least=1)
        return self.encoder(source, False)

    def extend(self, tokens: Array, state: Any, mask: Array | None = None) -> tuple[Array, Any]:
        """Goes on by some tokens; one by one gives the same as all at once.

        Args:
            tokens: The target's next tokens ``[batch, t]``.
            state: What :meth:`encode` or this has returned.
            mask: ``[batch, t]``, true where a token is real; ``None``: where it is not 0.

        Returns:
            Logits of the token after each, ``[batch, t, target]``, and the state after the last.

        Raises:
            TypeError: They are no whole numbers, or ``mask`` is floating.
            ValueError: As in a call, or shapes do not fit together.
        """
        _check("tokens", tokens, self.target)
        logits, _, state = self.decoder(tokens, state, mask, False)
        return logits, state

    def attention_weights(self, x: Mapping[str, Array]) -> Array:
        """Where each step of the target looks, for :func:`stepax.plot.attention_map`.

        Args:
            x: As for a call.

        Returns:
            ``[batch, t, s]``: row ``i`` is what the logits of the token after the ``i``-th are made of. It sums to 1,
            and padding of the source has 0.

        Raises:
            TypeError: As in a call.
            ValueError: Likewise.
        """
        source, target = self._pair(x)
        state = self.encoder(source, False)
        _, query, _ = self.decoder(target, state, None, False)
        return attention_weights(*_one_head(query, state.memory), **_seen(state))[:, 0]

    def _pair(self, x: Any) -> tuple[Array, Array]:
        source, target = source_and_target(x)
        _check('x["source"]', source, self.source, least=1)
        _check('x["target"]', target, self.target)
        check_as_many(source, target)
        return source, target


def _vectors(side: Any, tokens: Array, train: bool) -> Array:
    """The vectors of tokens by a table of the module's own, with dropout."""
    normal: Any = linen.initializers.normal(side.features**-0.5)
    table = side.param("tokens", normal, (side.vocabulary, side.features))
    return Dropout(side.dropout, deterministic=not train, name="dropout_tokens")(embed(table, tokens))


def _one_head(*arrays: Array) -> tuple[Array, ...]:
    return tuple(array[:, :, None] for array in arrays)


def _seen(state: _State) -> dict[str, Any]:
    """How the memory is looked at: not at padding, and by Luong's scores as they are."""
    return {"mask": state.real[:, None, None], "scale": 1.0}


def _check(name: str, tokens: Any, vocabulary: int, least: int = 0) -> None:
    if jnp.ndim(tokens) != 2 or tokens.shape[1] < least:
        some = " with at least one" if least else ""
        raise ValueError(f"{name}: expected tokens of shape [batch, time]{some}, got {jnp.shape(tokens)}")
    check_tokens(name, tokens, vocabulary)
