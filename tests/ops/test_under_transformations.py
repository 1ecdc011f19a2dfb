"""Every primitive is its stock equal under every transformation: jit, vmap, scan, cond, remat, and in half precision.

What is special of one primitive is tested in its own file. Here all pass the same battery: values, and gradients for
one cotangent, against ``lax``, ``jnp`` or ``jax.nn``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from stepax import ops
from stepax.ops.dense import product
from stepax.ops.embedding import SMALL
from stepax.ops.rows import every_row, scale_rows, sum_of_products, sum_of_rows


class Case(NamedTuple):
    """A primitive, its stock equal, and the shapes of its operands.

    Attributes:
        ours: ``(*operands) -> arrays``.
        stock: The same.
        shapes: One for each operand.
        rows: How many rows the first operand has that the last one, whole numbers, chooses from; 0 if there is no such.
        roundings: How many times in a row a number is rounded on its way through value and gradient in half precision.
    """

    ours: Callable[..., Any]
    stock: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    rows: int = 0
    roundings: int = 1

    def operands(self, lanes: int = 0, dtype: Any = np.float64) -> list[np.ndarray]:
        """Random ones, of ``lanes`` single runs if there are any."""
        random, leading = np.random.default_rng(0), (lanes,) if lanes else ()
        arrays = [random.normal(size=(*leading, *shape)).astype(dtype) for shape in self.shapes]
        if self.rows:
            arrays[-1] = random.integers(self.rows, size=arrays[-1].shape)
        return arrays


# The stock equals.

NUMBERS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC")}


def stock_conv(x, kernel, strides=1, padding="SAME", groups=1):
    axes = x.ndim - 2
    return lax.conv_general_dilated(
        x, kernel, (strides,) * axes, padding, dimension_numbers=NUMBERS[axes], feature_group_count=groups
    )


def windows(x, start, combine, window, strides, padding):
    return lax.reduce_window(x, np.array(start, x.dtype), combine, (1, *window, 1), (1, *strides, 1), padding)


def stock_max_pool(x, window, strides, padding):
    return windows(x, -np.inf, lax.max, window, strides, padding)


def stock_average_pool(x, window, strides, padding):
    sums, counts = (windows(a, 0, lax.add, window, strides, padding) for a in (x, jnp.ones_like(x)))
    return sums / counts


def stock_depth_to_space(x, factor):
    batch, height, width, wide = x.shape
    channels = wide // factor**2
    y = jnp.zeros((batch, factor * height, factor * width, channels), x.dtype)
    for n, (i, j) in enumerate(np.ndindex(factor, factor)):
        y = y.at[:, i::factor, j::factor].set(x[..., n * channels : (n + 1) * channels])
    return y


def stock_space_to_depth(x, factor):
    return jnp.concatenate([x[:, i::factor, j::factor] for i, j in np.ndindex(factor, factor)], -1)


def stock_dense(x, kernel, bias):
    y = jnp.matmul(x, kernel)
    return y + jnp.broadcast_to(bias, y.shape)


def stock_layer(step, x, *rest):
    """A scan over time of a formula for one step, whose state's first part is the output."""
    *weights, states = rest if isinstance(rest[-1], tuple) else (*rest[:-1], rest[-1:])

    def body(state, x):
        new = step(x, state, *weights)
        return new, new[0]

    last, outputs = lax.scan(body, states, jnp.moveaxis(x, 1, 0))
    return jnp.moveaxis(outputs, 0, 1), last


def plus(product, bias):
    return product + jnp.broadcast_to(bias, product.shape)


def rnn_step(x, state, kernel, recurrent, bias):
    return (jnp.tanh(plus(x @ kernel + state[0] @ recurrent, bias)),)


def gru_step(x, state, kernel, recurrent, bias, recurrent_bias):
    z, u = (jnp.split(plus(a, b), 3, -1) for a, b in ((x @ kernel, bias), (state[0] @ recurrent, recurrent_bias)))
    reset, update = jax.nn.sigmoid(z[0] + u[0]), jax.nn.sigmoid(z[1] + u[1])
    return ((1 - update) * jnp.tanh(z[2] + reset * u[2]) + update * state[0],)


def lstm_step(x, state, kernel, recurrent, bias):
    i, f, g, o = jnp.split(plus(x @ kernel + state[0] @ recurrent, bias), 4, -1)
    cell = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(cell), cell


# The primitives.


def conv_case(space, window, channels, features, **settings):
    shapes = (2, *space, channels), (*window, channels // settings.get("groups", 1), features)
    return Case(partial(ops.conv, **settings), partial(stock_conv, **settings), shapes)


def pool_case(ours, stock, window, strides, padding, roundings=1):
    settings = {"window": window, "strides": strides, "padding": padding}
    return Case(partial(ours, **settings), partial(stock, **settings), ((2, 5, 6, 2),), roundings=roundings)


def attention_case(causal):
    # Not jax.nn's own, whose softmax is computed in float32.
    def stock(q, k, v):
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * q.shape[-1] ** -0.5
        hidden = jnp.triu(jnp.ones_like(scores, bool), 1) & causal
        return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(jnp.where(hidden, -jnp.inf, scores)), v)

    # The scaled query, its products, the weights, the sum; backwards the products of a product.
    shape = (2, 5, 3, 4)
    return Case(partial(ops.attention, causal=causal), stock, (shape,) * 3, roundings=6)


BATCH, TIME, HIDDEN = 2, 3, 4


def layer_case(ours, step, gates, biases=1, inputs=2):
    wide = gates * HIDDEN
    shapes = (BATCH, TIME, inputs), (inputs, wide), (HIDDEN, wide), *((wide,),) * biases, (BATCH, HIDDEN)
    stock = partial(stock_layer, step)
    # Gates, state and output of every step.
    return Case(ours, lambda *a: _flat(stock(*a)), shapes, roundings=4 * TIME)


def _flat(results):
    outputs, last = results
    return (outputs, *last)


def lstm(x, kernel, recurrent, bias, h, c):
    outputs, last = ops.lstm(x, kernel, recurrent, bias, (h, c))
    return outputs, *last


def stock_lstm(x, kernel, recurrent, bias, h, c):
    return _flat(stock_layer(lstm_step, x, kernel, recurrent, bias, (h, c)))


LSTM = (BATCH, TIME, 2), (2, 4 * HIDDEN), (HIDDEN, 4 * HIDDEN), (4 * HIDDEN,), (BATCH, HIDDEN), (BATCH, HIDDEN)

CASES = {
    "conv 1-d": conv_case((5,), (3,), 4, 3),
    "conv 2-d": conv_case((4, 3), (3, 2), 4, 3, strides=2),
    "conv 2-d, few channels": conv_case((4, 3), (3, 2), 1, 3, padding="VALID"),
    "depthwise": conv_case((4, 3), (3, 2), 4, 4, groups=4),
    "max pooling": pool_case(ops.max_pool, stock_max_pool, (2, 3), (2, 3), "VALID"),
    "max pooling, overlapping": pool_case(ops.max_pool, stock_max_pool, (3, 3), (2, 1), "SAME"),
    "max pooling, large": pool_case(ops.max_pool, stock_max_pool, (5, 5), (5, 5), "VALID"),
    # Sum and quotient; where windows overlap, the gradient is a sum again.
    "average pooling": pool_case(ops.average_pool, stock_average_pool, (2, 3), (2, 3), "VALID", 2),
    "average pooling, overlapping": pool_case(ops.average_pool, stock_average_pool, (3, 3), (2, 1), "SAME", 3),
    "upsampling": Case(
        partial(ops.upsample, factor=2),
        lambda x: jnp.repeat(jnp.repeat(x, 2, 1), 2, 2),
        ((2, 3, 2, 2),),
        roundings=2,
    ),
    "linear upsampling": Case(
        partial(ops.upsample, factor=2, method="linear"),
        lambda x: jax.image.scale_and_translate(
            x, (2, 6, 4, 2), (1, 2), jnp.full(2, 2.0, x.dtype), jnp.zeros(2, x.dtype), "linear"
        ),
        ((2, 3, 2, 2),),
        roundings=3,
    ),
    "depth to space": Case(
        partial(ops.depth_to_space, factor=2), partial(stock_depth_to_space, factor=2), ((2, 3, 2, 8),)
    ),
    "space to depth": Case(
        partial(ops.space_to_depth, factor=2), partial(stock_space_to_depth, factor=2), ((2, 4, 6, 2),)
    ),
    "product": Case(product, jnp.matmul, ((3, 4), (4, 5))),
    # The product, and the sum with the bias.
    "dense": Case(ops.dense, stock_dense, ((2, 3, 4), (4, 5), (5,)), roundings=2),
    "attention": attention_case(False),
    "causal attention": attention_case(True),
    "embed, small": Case(ops.embed, partial(jnp.take, axis=0), ((7, 3), (2, 4)), rows=7, roundings=2),
    "embed, large": Case(ops.embed, partial(jnp.take, axis=0), ((SMALL + 1, 3), (2, 4)), rows=SMALL + 1, roundings=2),
    "sum of rows": Case(sum_of_rows, lambda x: x.sum((0, 1)), ((40, 2, 3),)),
    "sum of products": Case(sum_of_products, lambda x, y: (x * y).sum((0, 1)), ((40, 2, 3), (40, 2, 3)), roundings=2),
    "every row": Case(
        partial(every_row, leading=(4, 2)), lambda row: jnp.broadcast_to(row, (4, 2, *row.shape)), ((3,),)
    ),
    "scale rows": Case(scale_rows, lambda x, row: x * jnp.broadcast_to(row, x.shape), ((4, 2, 3), (3,)), roundings=2),
    "rnn": layer_case(ops.rnn, rnn_step, 1),
    "gru": layer_case(ops.gru, gru_step, 3, biases=2),
    "lstm": Case(lstm, stock_lstm, LSTM, roundings=4 * TIME),
}


# The battery.


def with_gradients(function, operands):
    """The results and, for one cotangent, the gradients by all operands that have one."""
    real = [i for i, a in enumerate(operands) if jnp.issubdtype(a.dtype, jnp.floating)]

    def of_real(*arrays):
        given = list(operands)
        for i, array in zip(real, arrays, strict=True):
            given[i] = array
        return function(*given)

    y, pull = jax.vjp(of_real, *(operands[i] for i in real))
    return y, pull(jax.tree.map(cotangent, y))


def cotangent(y):
    """Numbers that half precision holds, too."""
    return jnp.asarray(np.round(64 * np.cos(np.arange(y.size))).reshape(y.shape) / 64, y.dtype)


def by_lane(function, axes):
    """A lane's own gradients, and those through all lanes."""

    def run(*operands):
        lanes = jax.vmap(lambda *a: with_gradients(function, a), axes)(*operands)
        return lanes, with_gradients(jax.vmap(function, axes), operands)

    return run


def scanned(function):
    """A lane of the first operand at every step, with the others from outside of the loop."""

    def run(first, *rest):
        return lax.scan(lambda count, x: (count + 1, function(x, *rest)), 0, first)[1]

    return run


def chosen(function):
    """One of two branches, which both need the function, by what is known only when the program runs."""

    def run(*operands):
        def other(*operands):
            return jax.tree.map(jnp.negative, function(*operands))

        return lax.cond(operands[0].ravel()[0] > 0, function, other, *operands)

    return run


def assert_close(ours, stock, tolerance=1e-11):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(stock), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, tolerance, tolerance * (1 + np.abs(b).max()))


def assert_same(case, operands, transformed):
    """One program for both: half the time of two."""
    pair = jax.jit(lambda *a: (transformed(case.ours)(*a), transformed(case.stock)(*a)))(*operands)
    assert_close(*pair)


def lanes_of(case):
    """Lanes of each operand alone, and of all."""
    count = len(case.shapes)
    alone = [tuple(0 if i == j else None for j in range(count)) for i in range(count)]
    return alone if count == 1 else [*alone, (0,) * count]


LANES = [
    pytest.param(name, axes, id=f"{name}-{''.join('-' if axis is None else 'x' for axis in axes)}")
    for name, case in CASES.items()
    for axes in lanes_of(case)
]


@pytest.mark.parametrize(("name", "axes"), LANES)
def test_vmap(name, axes, x64):
    case = CASES[name]
    pairs = zip(case.operands(), case.operands(lanes=3), axes, strict=True)
    operands = [lanes if axis == 0 else one for one, lanes, axis in pairs]
    assert_same(case, operands, partial(by_lane, axes=axes))


def looped(function):
    """A branch at every step of a loop."""
    return lambda *a: with_gradients(scanned(chosen(function)), a)


def computed_again(function):
    """In a loop, too: outside of one a compiler may join the two computations."""
    return lambda *a: with_gradients(scanned(jax.checkpoint(function)), a)


@pytest.mark.parametrize("transformed", [looped, computed_again], ids=["scan and cond", "remat"])
@pytest.mark.parametrize("name", CASES)
def test_control_flow(name, transformed, x64):
    case = CASES[name]
    first, *rest = case.operands()
    # Of both signs: a step for each branch.
    assert_same(case, [np.stack([first, -first]), *rest], transformed)


@pytest.mark.parametrize("name", CASES)
def test_bfloat16(name):
    """Against float32 of the same numbers: a rounding to 8 bits is wrong by 2⁻⁸ of the number, at most."""
    case = CASES[name]
    half = [jnp.asarray(a, jnp.bfloat16 if a.dtype == np.float32 else None) for a in case.operands(dtype=np.float32)]
    wide = [a.astype(jnp.float32) if a.dtype == jnp.bfloat16 else a for a in half]
    ours, stock = (
        jax.jit(lambda *a, f=f: with_gradients(f, a))(*b) for f, b in ((case.ours, half), (case.stock, wide))
    )
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(stock), strict=True):
        assert a.dtype == jnp.bfloat16
        tolerance = case.roundings * 2**-8 * np.abs(b).max()
        np.testing.assert_allclose(a.astype(np.float32), b, 0, tolerance)


@pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
def test_dense_is_pytorchs(leading, torch):
    random = np.random.default_rng(0)
    x, kernel, bias = (random.normal(size=shape).astype(np.float32) for shape in ((*leading, 5), (5, 7), (7,)))
    value, gradients = with_gradients(ops.dense, (x, kernel, bias))
    theirs = [torch.tensor(a, requires_grad=True) for a in (x, kernel.T, bias)]
    y = torch.nn.functional.linear(*theirs)
    y.backward(torch.tensor(np.asarray(cotangent(value))))
    np.testing.assert_allclose(value, y.detach(), 1e-5, 1e-5)
    for ours, reference in zip(gradients, (theirs[0].grad, theirs[1].grad.T, theirs[2].grad), strict=True):
        np.testing.assert_allclose(ours, reference, 1e-5, 1e-5)


@pytest.mark.parametrize("rows", [7, SMALL + 1], ids=["small", "large"])
def test_embed_is_pytorchs(rows, torch):
    random = np.random.default_rng(0)
    table, indices = random.normal(size=(rows, 3)).astype(np.float32), random.integers(rows, size=(4, 5))
    value, (gradient,) = with_gradients(ops.embed, (table, indices))
    theirs = torch.tensor(table, requires_grad=True)
    y = torch.nn.functional.embedding(torch.tensor(indices), theirs)
    y.backward(torch.tensor(np.asarray(cotangent(value))))
    np.testing.assert_array_equal(value, y.detach())
    np.testing.assert_allclose(gradient, theirs.grad, 1e-5, 1e-6)
