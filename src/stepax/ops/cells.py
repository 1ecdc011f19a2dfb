"""One step of a recurrent layer and its gradient, element by element: all but the products."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from stepax.typing import Array

__all__ = ["GRU", "LSTM", "Cell", "State", "simple_cell"]

State = tuple[Array, ...]


class Cell(NamedTuple):
    """One step, element by element; the first part of a state is the output.

    Attributes:
        gates: How many gates there are.
        parts: How many parts a state has.
        forward: From the input's and the state's products ``[batch, gates · hidden]`` and the state to the next state
            and what ``backward`` needs. The input's product is ``None`` where the state's contains it.
        backward: From what ``forward`` kept and the gradients by the next state to those by both products (one array
            where they are the same) and by the state.
        activation: What a caller gave for ``forward``; it may close over values that are traced.
    """

    gates: int
    parts: int
    forward: Callable[..., tuple[State, Any]]
    backward: Callable[[Any, State], tuple[Array, Array, State]]
    activation: Callable[[Array], Array] | None = None


def simple_cell(activation: Callable[[Array], Array]) -> Cell:
    """The cell of ``h' = σ(x W + h U + b)``."""

    def forward(z: Array | None, u: Array, state: State) -> tuple[State, Any]:
        a = u if z is None else z + u
        return (activation(a),), a

    def backward(a: Array, by_next: State) -> tuple[Array, Array, State]:
        (by_a,) = jax.vjp(activation, a)[1](by_next[0])
        return by_a, by_a, (jnp.zeros_like(by_next[0]),)

    return Cell(1, 1, forward, backward, activation)


def _gru_forward(z: Array, u: Array, state: State) -> tuple[State, Any]:
    (h,) = state
    wide = 2 * h.shape[-1]
    gates = jax.nn.sigmoid(z[:, :wide] + u[:, :wide])
    reset, update = jnp.split(gates, 2, -1)
    new = jnp.tanh(z[:, wide:] + reset * u[:, wide:])
    return (new + update * (h - new),), (gates, new, u[:, wide:], h)


def _gru_backward(saved: Any, by_next: State) -> tuple[Array, Array, State]:
    gates, new, u, h = saved
    (by_h,) = by_next
    reset, update = jnp.split(gates, 2, -1)
    by_new = by_h * (1 - update) * (1 - new * new)
    by_gates = jnp.concatenate([by_new * u, by_h * (h - new)], -1) * gates * (1 - gates)
    by_z = jnp.concatenate([by_gates, by_new], -1)
    by_u = jnp.concatenate([by_gates, by_new * reset], -1)
    return by_z, by_u, (by_h * update,)


def _lstm_forward(z: Array | None, u: Array, state: State) -> tuple[State, Any]:
    _, before = state
    i, f, g, o = jnp.split(u if z is None else z + u, 4, -1)
    i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
    c = f * before + i * g
    return (o * jnp.tanh(c), c), (i, f, g, o, before)


def _lstm_backward(saved: Any, by_next: State) -> tuple[Array, Array, State]:
    i, f, g, o, before = saved
    by_h, by_c = by_next
    # Cheaper to compute once more than to keep.
    t = jnp.tanh(f * before + i * g)
    by_c = by_c + by_h * o * (1 - t * t)
    by_a = jnp.concatenate(
        [by_c * g * i * (1 - i), by_c * before * f * (1 - f), by_c * i * (1 - g * g), by_h * t * o * (1 - o)], -1
    )
    return by_a, by_a, (jnp.zeros_like(by_h), by_c * f)


GRU = Cell(3, 1, _gru_forward, _gru_backward)
LSTM = Cell(4, 2, _lstm_forward, _lstm_backward)
