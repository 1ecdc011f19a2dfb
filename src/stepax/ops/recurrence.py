"""Recurrent layers over whole sequences, with a backward pass made for a compiled loop.

The gates of a step are one product, and the gradients by the weights are one product over all steps after the backward
scan, where JAX alone would add up one small product per step. A wide input is projected for all steps in one product
before the scan; a narrow one stands beside the state in the step's own product, which costs little more than without,
where the projections of all steps would have to be written to memory and read again.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from stepax.ops.dense import dense
from stepax.ops.primitive import varying_like
from stepax.ops.rows import sum_of_rows
from stepax.typing import Array

__all__ = ["gru", "lstm", "rnn"]

_State = tuple[Array, ...]


class _Cell(NamedTuple):
    """One step, element by element; the first part of a state is the output.

    Attributes:
        gates: How many gates there are.
        parts: How many parts a state has.
        forward: From the input's and the state's products ``[batch, gates · hidden]`` and the state to the next state
            and what ``backward`` needs. The input's product is ``None`` where the state's contains it.
        backward: From what ``forward`` kept and the gradients by the next state to those by both products (one array
            where they are the same) and by the state.
    """

    gates: int
    parts: int
    forward: Callable[..., tuple[_State, Any]]
    backward: Callable[[Any, _State], tuple[Array, Array, _State]]


def rnn(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    initial: Array | None = None,
    *,
    activation: Callable[[Array], Array] = jnp.tanh,
    mask: Array | None = None,
    reverse: bool = False,
) -> tuple[Array, Array]:
    """A simple recurrent layer, ``h' = σ(x W + h U + b)``.

    Args:
        x: The sequences, ``[batch, time, inputs]``.
        kernel: ``W``, ``[inputs, hidden]``.
        recurrent_kernel: ``U``, ``[hidden, hidden]``.
        bias: ``b``, ``[hidden]``.
        initial: The first state, ``[batch, hidden]``; zeros unless given.
        activation: σ, element by element.
        mask: ``[batch, time]``, true where a step is real; at the others the state stays as it is.
        reverse: From the last step to the first.

    Returns:
        Every step's state ``[batch, time, hidden]``, in the order of time, and the last one computed
        ``[batch, hidden]``.

    Raises:
        ValueError: Shapes do not fit together.

    Reference:
        Elman, Finding structure in time, Cognitive Science 14, 1990.
    """
    states = None if initial is None else (initial,)
    cell = _simple_cell(activation)
    outputs, (last,) = _layer(cell, x, kernel, recurrent_kernel, bias, None, states, mask, reverse)
    return outputs, last


def gru(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    recurrent_bias: Array,
    initial: Array | None = None,
    *,
    mask: Array | None = None,
    reverse: bool = False,
) -> tuple[Array, Array]:
    """A layer of gated recurrent units, with the reset gate after the recurrent product as in cuDNN, PyTorch and Keras.

    ``h' = (1 − u) n + u h``, where ``r, u = σ(x W + b + h U + c)`` in their parts and
    ``n = tanh(x W + b + r (h U + c))`` in its.

    Args:
        x: The sequences, ``[batch, time, inputs]``.
        kernel: ``W``, ``[inputs, 3 hidden]``: reset gate, update gate, new state.
        recurrent_kernel: ``U``, ``[hidden, 3 hidden]``.
        bias: ``b``, ``[3 hidden]``.
        recurrent_bias: ``c``, ``[3 hidden]``.
        initial: The first state, ``[batch, hidden]``; zeros unless given.
        mask: ``[batch, time]``, true where a step is real; at the others the state stays as it is.
        reverse: From the last step to the first.

    Returns:
        Every step's state ``[batch, time, hidden]``, in the order of time, and the last one computed
        ``[batch, hidden]``.

    Raises:
        ValueError: Shapes do not fit together.

    Reference:
        Cho et al., Learning phrase representations using RNN encoder–decoder, 2014, arXiv:1406.1078.
    """
    states = None if initial is None else (initial,)
    outputs, (last,) = _layer(_GRU, x, kernel, recurrent_kernel, bias, recurrent_bias, states, mask, reverse)
    return outputs, last


def lstm(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    initial: tuple[Array, Array] | None = None,
    *,
    mask: Array | None = None,
    reverse: bool = False,
) -> tuple[Array, tuple[Array, Array]]:
    """A layer of long short-term memory, ``c' = f c + i g`` and ``h' = o tanh(c')``.

    ``i, f, o = σ(x W + h U + b)`` in their parts and ``g = tanh(x W + h U + b)`` in its.

    Args:
        x: The sequences, ``[batch, time, inputs]``.
        kernel: ``W``, ``[inputs, 4 hidden]``: input gate, forget gate, candidate, output gate.
        recurrent_kernel: ``U``, ``[hidden, 4 hidden]``.
        bias: ``b``, ``[4 hidden]``.
        initial: The first ``(h, c)``, each ``[batch, hidden]``; zeros unless given.
        mask: ``[batch, time]``, true where a step is real; at the others the state stays as it is.
        reverse: From the last step to the first.

    Returns:
        Every step's ``h``, ``[batch, time, hidden]``, in the order of time, and the last ``(h, c)`` computed.

    Raises:
        ValueError: Shapes do not fit together.

    Reference:
        Hochreiter and Schmidhuber, Long short-term memory, Neural Computation 9, 1997; with the forget gate of Gers,
        Schmidhuber and Cummins, Learning to forget, Neural Computation 12, 2000.
    """
    outputs, (h, c) = _layer(_LSTM, x, kernel, recurrent_kernel, bias, None, initial, mask, reverse)
    return outputs, (h, c)


@cache
def _simple_cell(activation: Callable[[Array], Array]) -> _Cell:
    def forward(z: Array | None, u: Array, state: _State) -> tuple[_State, Any]:
        a = u if z is None else z + u
        return (activation(a),), a

    def backward(a: Array, by_next: _State) -> tuple[Array, Array, _State]:
        (by_a,) = jax.vjp(activation, a)[1](by_next[0])
        return by_a, by_a, (jnp.zeros_like(by_next[0]),)

    return _Cell(1, 1, forward, backward)


def _gru_forward(z: Array, u: Array, state: _State) -> tuple[_State, Any]:
    (h,) = state
    wide = 2 * h.shape[-1]
    gates = jax.nn.sigmoid(z[:, :wide] + u[:, :wide])
    reset, update = jnp.split(gates, 2, -1)
    new = jnp.tanh(z[:, wide:] + reset * u[:, wide:])
    return (new + update * (h - new),), (gates, new, u[:, wide:], h)


def _gru_backward(saved: Any, by_next: _State) -> tuple[Array, Array, _State]:
    gates, new, u, h = saved
    (by_h,) = by_next
    reset, update = jnp.split(gates, 2, -1)
    by_new = by_h * (1 - update) * (1 - new * new)
    by_gates = jnp.concatenate([by_new * u, by_h * (h - new)], -1) * gates * (1 - gates)
    by_z = jnp.concatenate([by_gates, by_new], -1)
    by_u = jnp.concatenate([by_gates, by_new * reset], -1)
    return by_z, by_u, (by_h * update,)


def _lstm_forward(z: Array | None, u: Array, state: _State) -> tuple[_State, Any]:
    _, before = state
    i, f, g, o = jnp.split(u if z is None else z + u, 4, -1)
    i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
    c = f * before + i * g
    return (o * jnp.tanh(c), c), (i, f, g, o, before)


def _lstm_backward(saved: Any, by_next: _State) -> tuple[Array, Array, _State]:
    i, f, g, o, before = saved
    by_h, by_c = by_next
    # Cheaper to compute once more than to keep.
    t = jnp.tanh(f * before + i * g)
    by_c = by_c + by_h * o * (1 - t * t)
    by_a = jnp.concatenate(
        [by_c * g * i * (1 - i), by_c * before * f * (1 - f), by_c * i * (1 - g * g), by_h * t * o * (1 - o)], -1
    )
    return by_a, by_a, (jnp.zeros_like(by_h), by_c * f)


_GRU = _Cell(3, 1, _gru_forward, _gru_backward)
_LSTM = _Cell(4, 2, _lstm_forward, _lstm_backward)


def _layer(
    cell: _Cell,
    x: Array,
    kernel: Array,
    recurrent: Array,
    bias: Array,
    recurrent_bias: Array | None,
    initial: tuple[Array, ...] | None,
    mask: Array | None,
    reverse: bool,
) -> tuple[Array, tuple[Array, ...]]:
    if x.ndim != 3:
        raise ValueError(f"x: expected sequences of shape [batch, time, inputs], got the shape {x.shape}")
    batch, time, inputs = x.shape
    hidden = recurrent.shape[0]
    wide = cell.gates * hidden
    expected = {
        "kernel": (kernel, (inputs, wide)),
        "recurrent_kernel": (recurrent, (hidden, wide)),
        "bias": (bias, (wide,)),
        "recurrent_bias": (recurrent_bias, (wide,)),
        "mask": (mask, (batch, time)),
        **{f"initial[{i}]": (part, (batch, hidden)) for i, part in enumerate(initial or ())},
    }
    for name, (array, shape) in expected.items():
        if array is not None and array.shape != shape:
            raise ValueError(f"{name}: expected the shape {shape}, got {array.shape}")
    dtype = jnp.result_type(x, kernel, recurrent, bias)
    if initial is None:
        initial = (jnp.zeros((batch, hidden), dtype),) * cell.parts
    steps = jnp.swapaxes(x, 0, 1).astype(dtype)
    seen = None if mask is None else jnp.swapaxes(mask, 0, 1)[..., None]
    initial = tuple(part.astype(dtype) for part in initial)
    beside = recurrent_bias is None and inputs <= hidden
    shift = bias if beside else recurrent_bias
    row = None if shift is None else shift[None].astype(dtype)
    if beside:
        weights = jnp.concatenate([kernel, recurrent]).astype(dtype)
    else:
        weights, steps = recurrent.astype(dtype), dense(steps, kernel, bias).astype(dtype)
    # On a mesh, what all devices share takes its gradient from all of them.
    given = (steps, weights, row, initial, seen)
    given = jax.tree.map(lambda array: varying_like(array, *jax.tree.leaves(given)), given)
    outputs, last = _recurrence(cell, beside, reverse, *given)
    return jnp.swapaxes(outputs, 0, 1), last


# The scan over time, which comes first in ``x`` and ``mask``. ``x`` is the input if it stands ``beside`` the state, as
# its weights then stand above the state's, and else its products.


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _recurrence(
    cell: _Cell,
    beside: bool,
    reverse: bool,
    x: Array,
    weights: Array,
    shift: Array | None,
    initial: _State,
    mask: Array | None,
) -> tuple[Array, _State]:
    def step(state: _State, now: tuple[Array, Array | None]) -> tuple[_State, Array]:
        x, seen = now
        new, _ = _next(cell, beside, x, weights, shift, state)
        new = _kept(seen, new, state)
        return new, new[0]

    last, outputs = lax.scan(step, initial, (x, mask), reverse=reverse)
    return outputs, last


def _next(
    cell: _Cell, beside: bool, x: Array, weights: Array, shift: Array | None, state: _State
) -> tuple[_State, Any]:
    product = (jnp.concatenate([x, state[0]], -1) if beside else state[0]) @ weights
    return cell.forward(None if beside else x, product if shift is None else product + shift, state)


def _kept(seen: Array | None, new: _State, old: _State) -> _State:
    """The old state where a step is masked."""
    return new if seen is None else tuple(jnp.where(seen, a, b) for a, b in zip(new, old, strict=True))


def _forward(
    cell: _Cell,
    beside: bool,
    reverse: bool,
    x: Array,
    weights: Array,
    shift: Array | None,
    initial: _State,
    mask: Array | None,
) -> Any:
    def step(state: _State, now: tuple[Array, Array | None]) -> Any:
        x, seen = now
        new, saved = _next(cell, beside, x, weights, shift, state)
        new = _kept(seen, new, state)
        return new, (new[0], saved)

    last, (outputs, saved) = lax.scan(step, initial, (x, mask), reverse=reverse)
    return (outputs, last), (initial[0], x if beside else None, outputs, saved, weights, shift, mask)


def _backward(cell: _Cell, beside: bool, reverse: bool, kept: Any, cotangents: Any) -> Any:
    first, x, outputs, saved, weights, shift, mask = kept
    by_outputs, by_last = cotangents
    hidden, wide = outputs.shape[-1], weights.shape[-1]
    narrow = weights.shape[0] - hidden
    transposed = weights[narrow:].T

    def step(by_state: _State, now: Any) -> Any:
        by_output, saved, seen = now
        by_state = (by_state[0] + by_output, *by_state[1:])
        none = tuple(jnp.zeros_like(part) for part in by_state)
        by_z, by_u, (by_h, *others) = cell.backward(saved, _kept(seen, by_state, none))
        by_before = (by_h + by_u @ transposed, *others)
        if seen is not None:
            past = _kept(seen, none, by_state)
            by_before = tuple(a + b for a, b in zip(by_before, past, strict=True))
        return by_before, (by_z,) if by_u is by_z else (by_z, by_u)

    by_initial, products = lax.scan(step, by_last, (by_outputs, saved, mask), reverse=not reverse)
    by_z, by_u = products[0], products[-1]
    # The state before each step is the output of the step before.
    ahead, behind = (by_u[:-1], outputs[1:]) if reverse else (by_u[1:], outputs[:-1])
    edge = by_u[-1] if reverse else by_u[0]
    by_weights = behind.reshape(-1, hidden).T @ ahead.reshape(-1, wide) + first.T @ edge
    by_shift = None if shift is None else sum_of_rows(by_u)[None]
    if not beside:
        return by_z, by_weights, by_shift, by_initial, None
    rows = by_u.reshape(-1, wide)
    by_x = (rows @ weights[:narrow].T).reshape(x.shape)
    by_weights = jnp.concatenate([x.reshape(-1, narrow).T @ rows, by_weights])
    return by_x, by_weights, by_shift, by_initial, None


_recurrence.defvjp(_forward, _backward)
