"""The Transformer's decoder, which predicts the next token, and encoder and decoder as one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen
from jax import lax

from stepax.checks import check_count
from stepax.nn.attention import COLLECTION, KeyValue, check_heads
from stepax.nn.block import Block, Residual
from stepax.nn.dense import Dense
from stepax.nn.encoder import Encoder, Layers
from stepax.nn.layers import STACKED, Stack, unstacked_parameters
from stepax.nn.positions import Positions, places_of
from stepax.nn.tokens import check_as_many, source_and_target
from stepax.ops.dense import dense
from stepax.typing import Array, Tree

__all__ = ["Decoder", "Reading", "Transformer"]


class Reading(NamedTuple):
    """What a decoder knows of the tokens that it has read.

    Attributes:
        caches: Each layer's keys and values, ``[batch, heads, context, width of a head]``, as its stack keeps them.
        real: ``[batch, context]``, true where a token is real.
        length: How many places are used, the same for the whole batch.
        memory: Each layer's keys and values of a memory, if there is one.
        memory_mask: ``[batch, places]``, true where a place of the memory is real.
    """

    caches: Tree
    real: Array
    length: Array
    memory: Tree = None
    memory_mask: Array | None = None


class Decoder(Layers):
    """A Transformer that predicts each next token from those before it, as GPT does.

    What is not told here is as in :class:`Encoder`. For GPT-2's first values give ``kernel_init=normal(0.02)`` and
    ``residual_init=normal(0.02 / sqrt(2 * layers))``.

    Attributes:
        vocabulary: How many tokens there are.
        kernel_init: Draws the weights of projections, the last one's too.
        tied: Whether the last projection's weights are the tokens' vectors.

    Reference:
        Radford et al., Language models are unsupervised multitask learners, 2019.
    """

    tied: bool = False

    def __call__(
        self,
        tokens: Array,
        train: bool = False,
        *,
        mask: Array | None = None,
        memory: Array | None = None,
        memory_mask: Array | None = None,
    ) -> Array:
        """From tokens ``[batch, time]`` to the logits of the next ones, ``[batch, time, vocabulary]``.

        Args:
            tokens: Whole numbers below ``vocabulary``. Under ``jit``, where they are not looked at, one that is not
                makes its whole sequence NaN (a negative one counts from the end).
            train: Whether dropout is on.
            mask: ``[batch, time]``, true where a token is real. The others are as if they were not there: they are not
                seen, and places are counted over the real ones. Their own logits are finite, and mean nothing.
            memory: ``[batch, places, width]``: another sequence, to which every block then has an attention.
            memory_mask: ``[batch, places]``, true where a place of the memory is real. If none is, its attention adds
                nothing but a bias.

        Raises:
            TypeError: ``tokens`` or a size are no whole numbers, or a mask is floating.
            ValueError: A size is too small, ``heads`` do not divide ``features``, a fraction is not in [0, 1),
                ``tokens`` have another shape or more steps than ``context``, or, if they are no tracers, are outside
                of the vocabulary.
        """
        check_count("vocabulary", self.vocabulary)
        self.check("tokens", tokens, mask)
        places = None if mask is None else places_of(mask)

        def step(block: Block, x: Array, each: None) -> tuple[Array, None]:
            del each
            return block(x, train, mask=mask, places=places, memory=memory, memory_mask=memory_mask), None

        return self._run(tokens, places, train, mask, step, None)[0]

    @linen.nowrap
    def start(self, batch: int, room: int | None = None) -> Reading:
        """The state of so many sequences of which nothing was read yet; needs no parameters.

        Its caches are of JAX's default precision; they may be cast.

        Args:
            batch: How many sequences.
            room: For how many tokens each, at most ``context``, which it is where nothing is said.

        Raises:
            TypeError: A size is no whole number.
            ValueError: A size is too small, or ``room`` is more than ``context``.
        """
        check_count("batch", batch, 0)
        check_heads(self.heads, self.features)
        room = self.context if room is None else room
        check_count("room", room)
        if room > self.context:
            raise ValueError(f"room: expected at most {self.context}, the context, got {room}")
        shape = batch, self.heads, room, self.features // self.heads
        caches = [KeyValue(jnp.zeros(shape), jnp.zeros(shape)) for _ in range(self.layers)]
        real = jnp.zeros((batch, room), bool)
        return Reading(self.stack.together(caches), real, jnp.zeros((), jnp.int32))

    def extend(self, tokens: Array, state: Reading, mask: Array | None = None) -> tuple[Array, Reading]:
        """Reads more tokens: in parts of any size, what comes out is what ``__call__`` gives for the whole.

        Args:
            tokens: ``[batch, time]``.
            state: From ``start``, or from here.
            mask: ``[batch, time]``, true where a token is real. The others take up places of the context, and are not
                seen: prompts of several lengths are filled up on the left.

        Returns:
            The logits of the tokens that come next, ``[batch, time, vocabulary]``, and the state with these tokens.
            Under ``jit``, beyond the context logits are NaN.

        Raises:
            TypeError: As in ``__call__``.
            ValueError: The state has no room for so many tokens, or is of another batch; or as in ``__call__``.
        """
        self.check("tokens", tokens, mask)
        batch, time = tokens.shape
        room = state.real.shape[-1]
        if state.real.shape != (batch, room) or room > self.context:
            raise ValueError(
                f"state: expected one of a batch of {batch} and a context of {self.context}, got one of "
                f"{state.real.shape}"
            )
        if not isinstance(state.length, jax.core.Tracer) and state.length + time > room:
            raise ValueError(
                f"tokens: the state holds {state.length} of at most {room} tokens (the context), and has no "
                f"room for {time} more"
            )
        at = state.length
        new = jnp.ones((batch, time), bool) if mask is None else jnp.asarray(mask, bool)
        places = state.real.sum(1, keepdims=True, dtype=jnp.int32) + places_of(new)
        real = lax.dynamic_update_slice_in_dim(state.real, new, at, 1)

        def step(block: Block, x: Array, each: Any) -> tuple[Array, KeyValue]:
            cache, memory = each
            settings = {"at": at, "real": real, "places": places}
            return block.extend(x, cache, **settings, memory=memory, memory_mask=state.memory_mask)

        logits, caches = self._run(tokens, places, False, mask, step, self._beside(state))
        logits = jnp.where(at + time <= room, logits, jnp.nan)
        return logits, state._replace(caches=caches, real=real, length=at + time)

    def remember(self, memory: Array) -> Tree:
        """Each layer's keys and values of a memory ``[batch, places, width]``: the ``memory`` of a state."""

        def step(block: Block, x: None, each: None) -> tuple[None, KeyValue]:
            del each
            return x, block.remember(memory, self.features)

        return self._run(None, None, False, None, step, None)[1]

    @linen.compact
    def _run(self, tokens: Any, places: Any, train: bool, mask: Any, step: Any, each: Tree) -> tuple[Any, Tree]:
        if tokens is None:
            return self.blocks(True, step, None)
        x = self.embedded(tokens, places, train, mask)
        x, each = self.blocks(True, step, x, each)
        x = self.last_norm(x)
        if self.tied:
            x, table = linen.dtypes.promote_dtype(x, self.get_variable("params", "tokens"))
            return dense(x, table.T), each
        vocabulary: Any = self.vocabulary
        return Dense(vocabulary, use_bias=False, kernel_init=self.kernel_init, name="head")(x), each

    def _beside(self, state: Reading) -> Tree:
        """What each layer has of the state: its cache, and its keys and values of the memory."""
        if not self.layers:
            return state.caches
        if isinstance(state.caches, KeyValue):
            return state.caches, state.memory
        memory = state.memory or (None,) * self.layers
        return tuple(zip(state.caches, memory, strict=True))


class Transformer(linen.Module):
    """An encoder and a decoder that attends to what the encoder makes of the source, as in translation.

    What is not told here is as in :class:`Encoder`, and holds for both.

    Attributes:
        source: How many tokens the source's language has.
        target: How many the target's.
        layers: How many blocks the encoder has, and how many the decoder.
        context: The longest sequence, on either side.
        padding: The token of the source that means that there is none; ``None``: all are real.

    Reference:
        Vaswani et al., Attention is all you need, 2017, arXiv:1706.03762.
    """

    source: int
    target: int
    features: int = Layers.features
    layers: int = Layers.layers
    heads: int = Layers.heads
    context: int = Layers.context
    dropout: Any = Layers.dropout
    attention_dropout: Any = Layers.attention_dropout
    expansion: int = Layers.expansion
    activation: Callable[[Array], Array] = Layers.activation
    positions: Positions = Layers.positions
    residual: Residual = Layers.residual
    stack: Stack = Layers.stack
    kernel_init: Any = Layers.kernel_init
    residual_init: Any = Layers.residual_init
    embedding_init: Any = Layers.embedding_init
    use_bias: bool = Layers.use_bias
    padding: int | None = 0

    def setup(self) -> None:
        """The two parts, each with the settings of the whole."""
        check_count("source", self.source)
        check_count("target", self.target)
        own = {"source", "target", "padding", "parent", "name"}
        settings = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in own}
        self.encoder = Encoder(self.source, **settings)
        self.decoder = Decoder(self.target, **settings)

    def __call__(self, x: Any, train: bool = False) -> Array:
        """From both sequences to the logits of the target's next tokens.

        Args:
            x: ``{"source": [batch, s], "target": [batch, t]}``, tokens; the target begins with what ``extend`` is begun
                with. Where the source is ``padding``, it is as if it were not there; the target needs no mask if it is
                filled up on the right: no earlier token sees a later one.
            train: Whether dropout is on.

        Returns:
            ``[batch, t, target]``.

        Raises:
            TypeError: ``x`` is no such dict; or as in :class:`Decoder`.
            ValueError: There are not as many targets as sources; or as in :class:`Decoder`.
        """
        source, target = source_and_target(x)
        self.encoder.check("source", source, None)
        self.decoder.check("target", target, None)
        check_as_many(source, target)
        memory, mask = self._memory(source, train)
        return self.decoder(target, train, memory=memory, memory_mask=mask)

    def encode(self, source: Array) -> Reading:
        """Reads the source.

        Args:
            source: ``[batch, s]``.

        Returns:
            The state with which ``extend`` begins: what the decoder needs of the source, and none of the target read.
        """
        memory, mask = self._memory(source, False)
        state: Reading = self.decoder.start(source.shape[0])
        return state._replace(memory=self.decoder.remember(memory), memory_mask=mask)

    def extend(self, tokens: Array, state: Reading, mask: Array | None = None) -> tuple[Array, Reading]:
        """Reads more of the target, as :meth:`Decoder.extend`."""
        return self.decoder.extend(tokens, state, mask)

    def attention_weights(self, x: Any, layer: int = -1) -> Array:
        """Where each step of the target looks in one of the decoder's layers, for :func:`stepax.plot.attention_map`.

        Args:
            x: As for a call.
            layer: Which one, counted from 0, or from the end by −1, −2 and so on.

        Returns:
            ``[batch, heads, t, s]``: row ``i`` of a head is what the logits of the token after the ``i``-th are made
            of. It sums to 1, and padding of the source has 0.

        Raises:
            TypeError: As in a call, or ``layer`` is no whole number.
            ValueError: As in a call, or there is no such layer.
        """
        check_count("layer", layer, -self.layers)
        if layer >= self.layers:
            raise ValueError(f"layer: expected one of the {self.layers} layers, at most {self.layers - 1}, got {layer}")
        module, variables = self.unbind()
        _, kept = module.apply({"params": variables["params"]}, x, mutable=COLLECTION)
        layers = kept[COLLECTION]["decoder"]
        if STACKED in layers:
            layers = unstacked_parameters(layers)
        (weights,) = layers[f"block_{layer % self.layers}"]["cross"]["weights"]
        return weights

    def _memory(self, source: Array, train: bool) -> tuple[Array, Array | None]:
        self.encoder.check("source", source, None)
        mask = None if self.padding is None else jnp.asarray(source) != self.padding
        return self.encoder(source, train, mask=mask), mask
