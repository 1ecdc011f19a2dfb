"""A recurrent language model, and the units in which language models are compared.

The GPT is :class:`stepax.nn.Decoder`; both continue a text by ``start`` and ``extend``.
"""

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from stepax.checks import check_count, check_dropout
from stepax.nn import LSTM, Dense, Dropout
from stepax.ops.embedding import embed
from stepax.typing import Array, Tree

__all__ = ["LSTMLanguageModel", "bits_per_character", "perplexity"]


class LSTMLanguageModel(linen.Module):
    """Layers of long short-term memory that predict each next token from those before it.

    A text of any length can be read: ``context`` is ``None``.

    Attributes:
        vocabulary: How many tokens there are.
        features: The width of a token's vector and of every layer's state.
        layers: How many layers.
        dropout: The fraction of values set to zero in training: of the tokens' vectors, between layers, and before the
            head.

    Reference:
        Zaremba, Sutskever and Vinyals, Recurrent neural network regularization, 2014, arXiv:1409.2329.
    """

    vocabulary: int
    features: int = 256
    layers: int = 2
    dropout: float = 0.0
    context: ClassVar[int | None] = None

    def __call__(self, tokens: Array, train: bool = False, *, mask: Array | None = None) -> Array:
        """From tokens ``[batch, time]`` to the logits of the next ones, ``[batch, time, vocabulary]``.

        Args:
            tokens: The texts.
            train: Whether dropout is on.
            mask: ``[batch, time]``, true where a token is real: the others change nothing.

        Raises:
            TypeError: ``tokens`` or a size are no whole numbers, or ``mask`` is floating.
            ValueError: A size is below 1, ``dropout`` is not in [0, 1), or ``tokens`` or ``mask`` have another shape.
        """
        return self._read(tokens, None, train, mask)[0]

    def start(self, batch: int) -> Tree:
        """The state before anything is read, for so many texts: zeros of the default precision; needs no parameters."""
        check_count("batch", batch, 0)
        zeros = jnp.zeros((batch, self.features))
        return tuple((zeros, zeros) for _ in range(self.layers))

    def extend(self, tokens: Array, state: Tree, mask: Array | None = None) -> tuple[Array, Tree]:
        """Reads on.

        Args:
            tokens: What comes next, ``[batch, time]``.
            state: As :meth:`start` or an earlier call made it.
            mask: ``[batch, time]``, true where a token is real.

        Returns:
            The logits of the tokens after each, ``[batch, time, vocabulary]``, and the state after the last.

        Raises:
            TypeError: As of a call of the model.
            ValueError: As of a call of the model, or the state is of another model.
        """
        logits, last = self._read(tokens, state, False, mask)
        # A state keeps its dtypes, whatever those of the parameters: it is the carry of a loop.
        return logits, jax.tree.map(lambda new, old: new.astype(old.dtype), tuple(last), tuple(state))

    @linen.compact
    def _read(self, tokens: Array, state: Tree | None, train: bool, mask: Array | None) -> tuple[Array, list[Any]]:
        for name, size in {"vocabulary": self.vocabulary, "features": self.features, "layers": self.layers}.items():
            check_count(name, size)
        check_dropout(self.dropout)
        if jnp.ndim(tokens) != 2:
            raise ValueError(f"tokens: expected the shape [batch, time], got {jnp.shape(tokens)}")
        if not jnp.issubdtype(tokens.dtype, jnp.integer):
            raise TypeError(f"tokens: expected whole numbers, got {tokens.dtype}")

        def dropped(x: Array, name: str) -> Array:
            return Dropout(self.dropout, deterministic=not train, name=name)(x)

        table = self.param("tokens", linen.initializers.normal(0.1), (self.vocabulary, self.features))
        x = dropped(embed(table, tokens), "dropout_in")
        x, last = LSTM(self.features, self.layers, dropout=self.dropout, name="lstm")(
            x, train, initial=state, mask=mask
        )
        return Dense(self.vocabulary, name="head")(dropped(x, "dropout_out")), last


def perplexity(loss: Any) -> Any:
    """``exp(loss)``: among how many equally likely tokens a model that has such a loss seems to choose.

    Args:
        loss: The mean cross entropy of a token in nats, as a learner's ``loss`` is: a number or an array.

    >>> f"{perplexity(math.log(65)):.1f}"
    '65.0'
    """
    return jnp.exp(loss) if isinstance(loss, jax.Array) else np.exp(loss)


def bits_per_character(loss: Any, characters: float = 1.0) -> Any:
    """``loss / (characters · log 2)``: nats for each token as bits for each character.

    Args:
        loss: The mean cross entropy of a token in nats: a number or an array.
        characters: How many characters a token stands for on average: 1 for a vocabulary of characters, and the
            characters of a text over its tokens for one of words or byte pairs.

    Raises:
        ValueError: ``characters`` is not above 0.

    >>> f"{bits_per_character(math.log(2)):.1f}"
    '1.0'
    """
    if not characters > 0:
        raise ValueError(f"characters: expected more than 0 characters for each token, got {characters}")
    return loss / (characters * math.log(2))
