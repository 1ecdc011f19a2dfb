"""Recurrent layers over whole sequences, with a backward pass made for a compiled loop.

The gates of a step are one product, and the gradients by the weights are one product over all steps after the backward
scan, where JAX alone would add up one small product per step. A wide input is projected for all steps in one product
before the scan; a narrow one stands beside the state in the step's own product, which costs little more than without,
where the projections of all steps would have to be written to memory and read again.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from stepax.ops.cells import GRU, LSTM, Cell, State, simple_cell
from stepax.ops.dense import dense
from stepax.ops.primitive import varying_like
from stepax.ops.rows import sum_of_rows
from stepax.ops.sizes import check_truth
from stepax.typing import Array

__all__ = ["gru", "lstm", "rnn"]


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
        activation: σ, element by element. It may close over values that are learnt; the gradient is then JAX's own.
        mask: ``[batch, time]``, true where a step is real; at the others the state stays as it is.
        reverse: From the last step to the first.

    Returns:
        Every step's state ``[batch, time, hidden]``, in the order of time, and the last one computed
        ``[batch, hidden]``.

    Raises:
        TypeError: ``mask`` is floating, the first state is no array, nothing is floating, or ``activation`` is no
            function.
        ValueError: Shapes do not fit together, or ``activation`` changes shape or dtype.

    Reference:
        Elman, Finding structure in time, Cognitive Science 14, 1990.
    """
    states = None if initial is None else (initial,)
    cell = simple_cell(activation)
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
        TypeError: ``mask`` is floating, a first state is no array, or nothing is floating.
        ValueError: Shapes do not fit together.

    Reference:
        Cho et al., Learning phrase representations using RNN encoder–decoder, 2014, arXiv:1406.1078.
    """
    states = None if initial is None else (initial,)
    outputs, (last,) = _layer(GRU, x, kernel, recurrent_kernel, bias, recurrent_bias, states, mask, reverse)
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
        TypeError: ``mask`` is floating, a first state is no array, or nothing is floating.
        ValueError: Shapes do not fit together.

    Reference:
        Hochreiter and Schmidhuber, Long short-term memory, Neural Computation 9, 1997; with the forget gate of Gers,
        Schmidhuber and Cummins, Learning to forget, Neural Computation 12, 2000.
    """
    _check_pair(initial)
    outputs, (h, c) = _layer(LSTM, x, kernel, recurrent_kernel, bias, None, initial, mask, reverse)
    return outputs, (h, c)


def _layer(
    cell: Cell,
    x: Array,
    kernel: Array,
    recurrent: Array,
    bias: Array,
    recurrent_bias: Array | None,
    initial: tuple[Array, ...] | None,
    mask: Array | None,
    reverse: bool,
) -> tuple[Array, tuple[Array, ...]]:
    batch, time, hidden = _check(cell, x, kernel, recurrent, bias, recurrent_bias, initial, mask)
    dtype = jnp.result_type(x, kernel, recurrent, bias)
    if initial is None:
        initial = (jnp.zeros((batch, hidden), dtype),) * cell.parts
    initial = tuple(part.astype(dtype) for part in initial)
    learnt = [] if cell.activation is None else _closed_over(cell.activation, (batch, hidden), dtype)
    if time == 0:
        outputs = jnp.zeros((batch, 0, hidden), dtype)
        return varying_like(outputs, x, kernel, *initial), initial
    seen = None if mask is None else jnp.swapaxes(jnp.asarray(mask, bool), 0, 1)[..., None]
    beside = recurrent_bias is None and x.shape[-1] <= hidden
    shift = bias if beside else recurrent_bias
    row = None if shift is None else shift[None].astype(dtype)
    if beside:
        weights, steps = jnp.concatenate([kernel, recurrent]).astype(dtype), x.astype(dtype)
    else:
        weights, steps = recurrent.astype(dtype), dense(x.astype(dtype), kernel, bias).astype(dtype)
    steps = jnp.swapaxes(steps, 0, 1)
    # On a mesh, what all devices share takes its gradient from all of them.
    given = (steps, weights, row, initial, seen)
    given = jax.tree.map(lambda array: varying_like(array, *jax.tree.leaves((given, learnt))), given)
    # A gradient of our own would not see what the activation closes over.
    recurrence = _scanned if learnt else _recurrence
    outputs, last = recurrence(cell, beside, reverse, *given)
    return jnp.swapaxes(outputs, 0, 1), last


def _check_pair(initial: Any) -> None:
    if initial is None or (isinstance(initial, tuple | list) and len(initial) == 2):
        return
    got = f"{len(initial)} part(s)" if isinstance(initial, tuple | list) else type(initial).__name__
    raise ValueError(f"initial: expected a pair (h, c), got {got}")


def _check(
    cell: Cell,
    x: Array,
    kernel: Array,
    recurrent: Array,
    bias: Array,
    recurrent_bias: Array | None,
    initial: tuple[Array, ...] | None,
    mask: Array | None,
) -> tuple[int, int, int]:
    """The batch, the steps and the width of a state, if everything fits them."""
    if jnp.ndim(x) != 3:
        raise ValueError(f"x: expected sequences of shape [batch, time, inputs], got the shape {jnp.shape(x)}")
    if jnp.ndim(recurrent) != 2:
        raise ValueError(f"recurrent_kernel: expected the shape [hidden, gates · hidden], got {jnp.shape(recurrent)}")
    batch, time, inputs = x.shape
    hidden = recurrent.shape[0]
    wide = cell.gates * hidden
    names = ["initial"] if cell.parts == 1 else [f"initial[{i}]" for i in range(cell.parts)]
    states = dict(zip(names, initial or (), strict=False))
    for name, part in states.items():
        if not hasattr(part, "shape"):
            raise TypeError(f"{name}: expected an array of shape {(batch, hidden)}, got {type(part).__name__}")
    expected = {
        "kernel": (kernel, (inputs, wide)),
        "recurrent_kernel": (recurrent, (hidden, wide)),
        "bias": (bias, (wide,)),
        "recurrent_bias": (recurrent_bias, (wide,)),
        "mask": (mask, (batch, time)),
        **{name: (part, (batch, hidden)) for name, part in states.items()},
    }
    for name, (array, shape) in expected.items():
        if array is not None and jnp.shape(array) != shape:
            raise ValueError(f"{name}: expected the shape {shape}, got {jnp.shape(array)}")
    if mask is not None:
        check_truth("mask", mask)
    if not jnp.issubdtype(jnp.result_type(x, kernel, recurrent, bias), jnp.floating):
        raise TypeError(f"x and the weights: expected floating numbers, got {x.dtype} and {kernel.dtype}")
    return batch, time, hidden


def _closed_over(activation: Callable[[Array], Array], shape: tuple[int, ...], dtype: Any) -> list[Array]:
    """What an activation uses beside its argument and is traced, such as parameters of its own."""
    if not callable(activation):
        raise TypeError(f"activation: expected a function of an array, got {activation!r}")
    traced = jax.make_jaxpr(activation)(jax.ShapeDtypeStruct(shape, dtype))
    kinds = [(value.shape, value.dtype) for value in traced.out_avals]
    if kinds != [(shape, dtype)]:
        found = " and ".join(f"{kind}{list(shape)}" for shape, kind in kinds)
        raise ValueError(f"activation: expected {dtype}{list(shape)} for the same, got {found}")
    return [value for value in traced.consts if isinstance(value, jax.core.Tracer)]


# The scan over time, which comes first in ``x`` and ``mask``. ``x`` is the input if it stands ``beside`` the state, as
# its weights then stand above the state's, and else its products.


def _scanned(
    cell: Cell,
    beside: bool,
    reverse: bool,
    x: Array,
    weights: Array,
    shift: Array | None,
    initial: State,
    mask: Array | None,
) -> tuple[Array, State]:
    def step(state: State, now: tuple[Array, Array | None]) -> tuple[State, Array]:
        x, seen = now
        new, _ = _next(cell, beside, x, weights, shift, state)
        new = _kept(seen, new, state)
        return new, new[0]

    last, outputs = lax.scan(step, initial, (x, mask), reverse=reverse)
    return outputs, last


_recurrence = jax.custom_vjp(_scanned, nondiff_argnums=(0, 1, 2))


def _next(cell: Cell, beside: bool, x: Array, weights: Array, shift: Array | None, state: State) -> tuple[State, Any]:
    product = (jnp.concatenate([x, state[0]], -1) if beside else state[0]) @ weights
    return cell.forward(None if beside else x, product if shift is None else product + shift, state)


def _kept(seen: Array | None, new: State, old: State) -> State:
    """The old state where a step is masked."""
    return new if seen is None else tuple(jnp.where(seen, a, b) for a, b in zip(new, old, strict=True))


def _forward(
    cell: Cell,
    beside: bool,
    reverse: bool,
    x: Array,
    weights: Array,
    shift: Array | None,
    initial: State,
    mask: Array | None,
) -> Any:
    def step(state: State, now: tuple[Array, Array | None]) -> Any:
        x, seen = now
        new, saved = _next(cell, beside, x, weights, shift, state)
        new = _kept(seen, new, state)
        return new, (new[0], saved)

    last, (outputs, saved) = lax.scan(step, initial, (x, mask), reverse=reverse)
    return (outputs, last), (initial[0], x if beside else None, outputs, saved, weights, shift, mask)


def _backward(cell: Cell, beside: bool, reverse: bool, kept: Any, cotangents: Any) -> Any:
    first, x, outputs, saved, weights, shift, mask = kept
    by_outputs, by_last = cotangents
    narrow = weights.shape[0] - outputs.shape[-1]
    transposed = weights[narrow:].T

    def step(by_state: State, now: Any) -> Any:
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
    by_weights = _over_steps(behind, ahead) + first.T @ edge
    by_shift = None if shift is None else sum_of_rows(by_u)[None]
    if not beside:
        return by_z, by_weights, by_shift, by_initial, None
    by_x = by_u @ weights[:narrow].T
    by_weights = jnp.concatenate([_over_steps(x, by_u), by_weights])
    return by_x, by_weights, by_shift, by_initial, None


def _over_steps(a: Array, b: Array) -> Array:
    """``Σ aᵀ b`` over time and batch, which stay axes of their own: a mesh may divide the batch."""
    return jnp.tensordot(a, b, ((0, 1), (0, 1)))


_recurrence.defvjp(_forward, _backward)
