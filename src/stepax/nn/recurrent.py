"""Recurrent layers: simple, gated, and with long short-term memory; stacked, in one direction or in both."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from stepax.checks import check_count, check_dropout
from stepax.nn.dropout import Dropout
from stepax.ops import recurrence
from stepax.typing import Array, Key

__all__ = ["GRU", "LSTM", "RNN"]


class _Stack(linen.Module):
    """What the three have in common: layers over layers, each in one direction or in both."""

    features: int
    layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    kernel_init: Any = linen.initializers.lecun_normal()
    recurrent_init: Any = linen.initializers.orthogonal()
    bias_init: Any = linen.initializers.zeros_init()

    @linen.compact
    def __call__(
        self, x: Array, train: bool = False, *, initial: Any = None, mask: Array | None = None
    ) -> tuple[Array, list[Any]]:
        """The outputs of the last layer, and the last states of all.

        Args:
            x: The sequences, ``[batch, time, inputs]``.
            train: Whether dropout is on.
            initial: The first states, in the form of the last ones; zeros unless given.
            mask: ``[batch, time]``, true where a step is real; at the others states stay as they are.

        Returns:
            ``[batch, time, features]``, twice as wide if bidirectional (forward, backward); and a list of last states,
            one per layer and direction: layer 0 forward, layer 0 backward, layer 1 forward, and so on.

        Raises:
            TypeError: ``features`` or ``layers`` is no whole number, or ``mask`` is floating.
            ValueError: One of them is below 1, ``dropout`` is not in [0, 1), the number of first states is wrong, or
                shapes do not fit together.
        """
        check_count("features", self.features)
        check_count("layers", self.layers)
        check_dropout(self.dropout)
        if x.ndim != 3 or x.shape[2] == 0:
            raise ValueError(
                "x: expected sequences of shape [batch, time, inputs] with at least one input, got the shape "
                f"{jnp.shape(x)}"
            )
        directions = ("forward", "backward") if self.bidirectional else ("forward",)
        names = [(layer, direction) for layer in range(self.layers) for direction in directions]
        given = len(names) if initial is None else len(initial) if hasattr(initial, "__len__") else initial
        if given != len(names):
            raise ValueError(f"initial: expected {len(names)} states, one per layer and direction, got {given}")
        outputs: list[Array] = []
        states = []
        for i, (layer, direction) in enumerate(names):
            if i and direction == "forward":
                x = jnp.concatenate(outputs, axis=-1)
                outputs = []
                x = Dropout(self.dropout, deterministic=not train, name=f"dropout_{layer}")(x)
            start = None if initial is None else initial[i]
            settings = {"mask": mask, "reverse": direction == "backward"}
            output, state = self._layer(f"{direction}_{layer}", x, start, settings)
            outputs.append(output)
            states.append(state)
        return jnp.concatenate(outputs, axis=-1), states

    def _layer(self, name: str, x: Array, initial: Any, settings: dict[str, Any]) -> tuple[Array, Any]:
        raise NotImplementedError

    def _weights(self, name: str, inputs: int, gates: int, bias_init: Any = None) -> tuple[Array, Array, Array]:
        def each_gate(initializer: Any) -> Callable[..., Array]:
            def init(key: Key, inputs: int) -> Array:
                shape = inputs, self.features
                return jnp.concatenate([initializer(k, shape, jnp.float32) for k in jax.random.split(key, gates)], -1)

            return init

        return (
            self.param(f"{name}_kernel", each_gate(self.kernel_init), inputs),
            self.param(f"{name}_recurrent_kernel", each_gate(self.recurrent_init), self.features),
            self.param(f"{name}_bias", bias_init or self.bias_init, (gates * self.features,)),
        )


class RNN(_Stack):
    """Simple recurrent layers, :func:`stepax.ops.rnn`.

    Attributes:
        features: The width of a state.
        layers: How many layers, each over the outputs of the one before.
        bidirectional: Whether each layer also reads the sequences from their end.
        dropout: The fraction of values set to zero between layers in training.
        kernel_init: Draws the weights of a layer's input.
        recurrent_init: Draws the weights of its state.
        bias_init: Draws the biases.
        activation: The non-linearity.
    """

    activation: Callable[[Array], Array] = jnp.tanh

    def _layer(self, name: str, x: Array, initial: Any, settings: dict[str, Any]) -> tuple[Array, Any]:
        weights = self._weights(name, x.shape[-1], 1)
        return recurrence.rnn(x, *weights, initial, activation=self.activation, **settings)


class GRU(_Stack):
    """Layers of gated recurrent units, :func:`stepax.ops.gru`; the weights of a layer's gates are drawn one by one.

    Attributes:
        features: The width of a state.
        layers: How many layers, each over the outputs of the one before.
        bidirectional: Whether each layer also reads the sequences from their end.
        dropout: The fraction of values set to zero between layers in training.
        kernel_init: Draws the weights of a layer's input.
        recurrent_init: Draws the weights of its state.
        bias_init: Draws the biases.
    """

    def _layer(self, name: str, x: Array, initial: Any, settings: dict[str, Any]) -> tuple[Array, Any]:
        weights = self._weights(name, x.shape[-1], 3)
        recurrent_bias = self.param(f"{name}_recurrent_bias", self.bias_init, (3 * self.features,))
        return recurrence.gru(x, *weights, recurrent_bias, initial, **settings)


class LSTM(_Stack):
    """Layers of long short-term memory, :func:`stepax.ops.lstm`; the weights of a layer's gates are drawn one by one.

    Attributes:
        features: The width of a state.
        layers: How many layers, each over the outputs of the one before.
        bidirectional: Whether each layer also reads the sequences from their end.
        dropout: The fraction of values set to zero between layers in training.
        kernel_init: Draws the weights of a layer's input.
        recurrent_init: Draws the weights of its state.
        bias_init: Draws the biases.
        forget_bias: What is added to the forget gates' drawn biases: at 1 a state is mostly kept at first.
    """

    forget_bias: float = 1.0

    def _layer(self, name: str, x: Array, initial: Any, settings: dict[str, Any]) -> tuple[Array, Any]:
        weights = self._weights(name, x.shape[-1], 4, self._biases)
        return recurrence.lstm(x, *weights, initial, **settings)

    def _biases(self, key: Key, shape: tuple[int, ...]) -> Array:
        forget = slice(self.features, 2 * self.features)
        return self.bias_init(key, shape).at[forget].add(self.forget_bias)
