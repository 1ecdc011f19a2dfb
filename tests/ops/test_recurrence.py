"""Whole sequences equal the step-by-step form and PyTorch's layers, in values and gradients."""

import gc
import weakref
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from stepax.ops import gru, lstm, rnn

LAYERS = {"rnn": (rnn, 1, 1), "gru": (gru, 3, 1), "lstm": (lstm, 4, 2)}
BATCH, TIME, HIDDEN = 3, 5, 4
# Narrower than the state, which it then stands beside, and wider, which is projected before the scan.
NARROW, WIDE = 2, 6


def operands(name, dtype=np.float64, inputs=NARROW):
    """``x``, the weights and the first state."""
    random = np.random.default_rng(0)
    _, gates, parts = LAYERS[name]
    wide = gates * HIDDEN
    shapes = [(BATCH, TIME, inputs), (inputs, wide), (HIDDEN, wide), (wide,)] + [(wide,)] * (name == "gru")
    arrays = [random.normal(size=shape).astype(dtype) for shape in shapes]
    states = tuple(random.normal(size=(BATCH, HIDDEN)).astype(dtype) for _ in range(parts))
    return (*arrays, states if parts == 2 else states[0])


def by_steps(name, x, kernel, recurrent, *rest, mask=None, reverse=False):
    """The formulas of the docstrings, one step at a time."""
    *biases, state = rest
    sigmoid = jax.nn.sigmoid

    def step(state, x):
        if name == "rnn":
            return jnp.tanh(x @ kernel + state @ recurrent + biases[0][None])
        if name == "gru":
            z = x @ kernel + biases[0][None]
            u = state @ recurrent + biases[1][None]
            (zr, zu, zn), (ur, uu, un) = jnp.split(z, 3, -1), jnp.split(u, 3, -1)
            r, update = sigmoid(zr + ur), sigmoid(zu + uu)
            return (1 - update) * jnp.tanh(zn + r * un) + update * state
        h, c = state
        i, f, g, o = jnp.split(x @ kernel + h @ recurrent + biases[0][None], 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
        return sigmoid(o) * jnp.tanh(c), c

    outputs = [None] * TIME
    for t in reversed(range(TIME)) if reverse else range(TIME):
        new = step(state, x[:, t])
        if mask is not None:
            new = jax.tree.map(lambda a, b, t=t: jnp.where(mask[:, t, None], a, b), new, state)
        state = new
        outputs[t] = state[0] if name == "lstm" else state
    return jnp.stack(outputs, 1), state


def scalar(results):
    outputs, last = results
    return jnp.sin(outputs).sum() + sum(jnp.cos(part).sum() for part in jax.tree.leaves(last))


def assert_close(ours, theirs, tolerance=1e-12):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, tolerance, tolerance)


MASK = np.arange(TIME) < np.array([[5], [3], [1]])


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
@pytest.mark.parametrize("inputs", [NARROW, WIDE])
@pytest.mark.parametrize("name", LAYERS)
def test_equals_step_by_step(name, inputs, mask, reverse, x64):
    arguments, settings = operands(name, inputs=inputs), {"mask": mask, "reverse": reverse}
    layer = partial(LAYERS[name][0], **settings)
    steps = partial(by_steps, name, **settings)

    def both(form):
        positions = tuple(range(len(arguments)))
        return jax.jit(lambda *a: (form(*a), jax.grad(lambda *a: scalar(form(*a)), positions)(*a)))(*arguments)

    assert_close(both(layer), both(steps))


@pytest.mark.parametrize("inputs", [NARROW, WIDE])
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_finite_differences(name, inputs, x64):
    check_grads(jax.jit(lambda *a: scalar(LAYERS[name][0](*a))), operands(name, inputs=inputs), order=2, modes=["rev"])


@pytest.mark.parametrize("name", LAYERS)
def test_equals_pytorch(name, torch):
    x, kernel, recurrent, *biases, state = operands(name, np.float32)
    theirs = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[name](NARROW, HIDDEN, batch_first=True)
    weights = [kernel.T, recurrent.T, biases[0], biases[1] if name == "gru" else np.zeros_like(biases[0])]
    with torch.no_grad():
        for parameter, weight in zip(theirs.parameters(), weights, strict=True):
            parameter.copy_(torch.tensor(weight))
    tx = torch.tensor(x, requires_grad=True)
    outputs, _ = theirs(tx, jax.tree.map(lambda s: torch.tensor(s)[None], state))
    torch.sin(outputs).sum().backward()

    def loss(*arguments):
        outputs, _ = LAYERS[name][0](*arguments, state)
        return jnp.sin(outputs).sum(), outputs

    arguments = (x, kernel, recurrent, *biases)
    gradients, ours = jax.jit(jax.grad(loss, tuple(range(len(arguments))), has_aux=True))(*arguments)
    np.testing.assert_allclose(ours, outputs.detach(), 1e-5, 1e-6)
    expected = [tx.grad, *(p.grad.numpy().T for p in theirs.parameters())]
    for gradient, reference in zip(gradients, expected, strict=False):
        np.testing.assert_allclose(gradient, reference, 1e-4, 1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_masked_steps_are_as_if_removed(name, x64):
    x, *rest, state = operands(name)
    outputs, last = LAYERS[name][0](x, *rest, state, mask=MASK)
    for row, length in enumerate(MASK.sum(1)):
        first = jax.tree.map(lambda s, row=row: s[row : row + 1], state)
        alone, end = LAYERS[name][0](x[row : row + 1, :length], *rest, first)
        assert_close(outputs[row, :length], alone[0])
        assert_close(jax.tree.map(lambda s, row=row: s[row], last), jax.tree.map(lambda s: s[0], end))


@pytest.mark.parametrize("name", LAYERS)
def test_under_vmap_scan_cond_and_remat(name, x64):
    layer = LAYERS[name][0]
    arguments = operands(name)

    def loss(x, *rest):
        def body(total, _):
            apply = jax.checkpoint(lambda x: scalar(layer(x, *rest)))
            return total + lax.cond(total < 1e9, apply, lambda x: 0.0, x), None

        return lax.scan(body, 0.0, None, length=2)[0]

    gradient = jax.grad(loss)
    lanes = jnp.stack([arguments[0], jnp.sin(arguments[0])])
    results = jax.jit(jax.vmap(lambda x: gradient(x, *arguments[1:])))(lanes)
    for lane, x in zip(results, lanes, strict=True):
        assert_close(lane, 2 * jax.grad(lambda x: scalar(layer(x, *arguments[1:])))(x))


@pytest.mark.parametrize("name", LAYERS)
def test_bfloat16_and_zeros_as_the_first_state(name):
    *arguments, state = operands(name, np.float32)
    zeros = jax.tree.map(np.zeros_like, state)
    outputs, last = LAYERS[name][0](*arguments)
    np.testing.assert_array_equal(outputs, LAYERS[name][0](*arguments, zeros)[0])
    half, half_last = LAYERS[name][0](*(jnp.asarray(a, jnp.bfloat16) for a in arguments))
    assert {a.dtype for a in jax.tree.leaves((half, half_last))} == {jnp.dtype(jnp.bfloat16)}
    np.testing.assert_allclose(half.astype(np.float32), outputs, 0.1, 0.1)
    assert jax.tree.structure(last) == jax.tree.structure(half_last)


def test_any_activation(x64):
    x, kernel, recurrent, bias, _ = operands("rnn")
    outputs, last = rnn(x, kernel, recurrent, bias, activation=jax.nn.relu)
    np.testing.assert_allclose(outputs[:, 0], np.maximum(x[:, 0] @ kernel + bias, 0), 1e-12)
    np.testing.assert_array_equal(outputs[:, -1], last)


@pytest.mark.parametrize(
    ("position", "shape", "message"),
    [
        (0, (3, 5), r"x: expected sequences of shape \[batch, time, inputs\], got the shape \(3, 5\)"),
        (1, (3, 16), r"kernel: expected the shape \(2, 16\), got \(3, 16\)"),
        (2, (4, 12), r"kernel: expected the shape \(2, 16\), got|recurrent_kernel: expected"),
        (3, (4,), r"bias: expected the shape \(16,\), got \(4,\)"),
    ],
)
def test_bad_shapes_name_the_argument(position, shape, message):
    arguments = list(operands("lstm", np.float32))
    arguments[position] = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match=message):
        lstm(*arguments)


def test_bad_states_and_masks_name_the_argument():
    *arguments, (h, c) = operands("lstm", np.float32)
    with pytest.raises(ValueError, match=r"initial\[1\]: expected the shape \(3, 4\), got \(2, 4\)"):
        lstm(*arguments, (h, c[:2]))
    with pytest.raises(ValueError, match=r"mask: expected the shape \(3, 5\), got \(5, 3\)"):
        lstm(*arguments, (h, c), mask=MASK.T)


def parts(state):
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    ("batch", "time", "inputs"), [(3, 0, 2), (3, 0, 6), (0, 5, 2), (0, 5, 6), (0, 0, 2), (3, 5, 0)]
)
def test_what_is_empty(name, batch, time, inputs, reverse, x64):
    """The outputs of no steps, and as last state the first: each with the gradient that JAX gives a scan."""
    _, *weights, state = operands(name, inputs=inputs)
    x, state = np.ones((batch, time, inputs)), jax.tree.map(lambda part: part[:batch], state)

    def steps(x, *weights, state):
        settings = {"reverse": reverse}
        if time and batch:
            return by_steps(name, x, *weights, state, **settings)
        # Nothing is computed: zeros in the shapes of the outputs, and the first state where there are no steps.
        return jnp.zeros((batch, time, HIDDEN)), jax.tree.map(jnp.asarray, state)

    def both(layer, *operands):
        def loss(x, weights, state):
            results = layer(x, *weights, state)
            return scalar(results), results

        return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(*operands)

    expected = both(lambda *a: steps(*a[:-1], state=a[-1]), x, tuple(weights), state)
    layer = partial(LAYERS[name][0], reverse=reverse)
    assert_close(jax.jit(partial(both, layer))(x, tuple(weights), state), expected)
    lanes = jax.tree.map(lambda a: np.stack([a, a]), (x, tuple(weights), state))
    for lane in (0, 1):
        found = jax.jit(jax.vmap(partial(both, layer)))(*lanes)
        assert_close(jax.tree.map(lambda a, lane=lane: a[lane], found), expected)


def learnt_activation(slope):
    return lambda a: jnp.where(a > 0, a, slope * a)


@pytest.mark.parametrize(
    ("slope", "inputs"), [(0.2, NARROW), (np.array([[0.1, 0.2, 0.3, 0.4]]), WIDE)], ids=["a number", "one per unit"]
)
def test_an_activation_may_be_learnt(slope, inputs, x64):
    x, kernel, recurrent, bias, state = operands("rnn", inputs=inputs)

    def loss(layer):
        def run(slope, x, kernel):
            return scalar(layer(x, kernel, recurrent, bias, state, activation=learnt_activation(slope), mask=MASK))

        return jax.value_and_grad(run, (0, 1, 2))

    def stock(x, kernel, recurrent, bias, state, *, activation, mask):
        outputs = []
        for t in range(TIME):
            new = activation(x[:, t] @ kernel + state @ recurrent + bias[None])
            state = jnp.where(mask[:, t, None], new, state)
            outputs.append(state)
        return jnp.stack(outputs, 1), state

    slope = jnp.asarray(slope)
    expected = loss(stock)(slope, x, kernel)
    for run in (lambda f: f, jax.jit):
        assert_close(run(loss(rnn))(slope, x, kernel), expected)
    lanes = jax.jit(jax.vmap(loss(rnn), (0, None, None)))(jnp.stack([slope, slope]), x, kernel)
    assert_close(jax.tree.map(lambda a: a[1], lanes), expected)


def test_an_activation_that_closes_over_what_is_traced_and_not_floating(x64):
    arguments = operands("rnn")

    @jax.jit
    def run(bent, x):
        return jax.grad(lambda x: rnn(x, *arguments[1:], activation=lambda a: jnp.where(bent, a, 2 * a))[1].sum())(x)

    double = jax.grad(lambda x: rnn(x, *arguments[1:], activation=lambda a: 2 * a)[1].sum())(arguments[0])
    np.testing.assert_allclose(run(False, arguments[0]), double, 1e-12)


def test_a_fixed_activation_keeps_the_gradient_made_for_loops_and_nothing_of_it_stays():
    arguments = operands("rnn", np.float32)

    def program(activation):
        return str(jax.make_jaxpr(lambda x: rnn(x, *arguments[1:], activation=activation)[0])(arguments[0]))

    class Activation:
        def __call__(self, a):
            return jnp.tanh(a)

    activation = Activation()
    assert "custom_vjp" in program(activation)
    dead = weakref.ref(activation)
    del activation
    jax.clear_caches()
    gc.collect()
    assert dead() is None


@pytest.mark.parametrize(
    ("activation", "error", "message"),
    [
        ("tanh", TypeError, "activation: expected a function of an array, got 'tanh'"),
        (lambda a: a.sum(), ValueError, r"activation: expected float32\[3, 4\] for the same, got float32\[\]"),
        (lambda a: a > 0, ValueError, r"activation: expected float32\[3, 4\] for the same, got bool\[3, 4\]"),
    ],
)
def test_what_is_no_activation_is_refused(activation, error, message):
    with pytest.raises(error, match=message):
        rnn(*operands("rnn", np.float32), activation=activation)


@pytest.mark.parametrize("initial", [(np.zeros((3, 4)),), (np.zeros((3, 4)),) * 3, np.zeros((2, 3, 4)), 0])
def test_a_first_state_of_an_lstm_is_a_pair(initial):
    *arguments, _ = operands("lstm", np.float32)
    with pytest.raises(ValueError, match=r"initial: expected a pair \(h, c\), got"):
        lstm(*arguments, initial)


@pytest.mark.parametrize(("name", "place"), [("rnn", "initial"), ("gru", "initial"), ("lstm", r"initial\[1\]")])
def test_a_first_state_that_is_no_array_is_refused(name, place):
    *arguments, state = operands(name, np.float32)
    with pytest.raises(TypeError, match=rf"{place}: expected an array of shape \(3, 4\), got tuple"):
        LAYERS[name][0](*arguments, (parts(state)[0], (state,)) if name == "lstm" else (state,))


@pytest.mark.parametrize("name", LAYERS)
def test_masks_of_whole_numbers_and_floating_ones(name):
    *arguments, state = operands(name, np.float32)
    layer = LAYERS[name][0]
    assert_close(layer(*arguments, state, mask=MASK.astype(int)), layer(*arguments, state, mask=MASK))
    with pytest.raises(TypeError, match="mask: expected booleans"):
        layer(*arguments, state, mask=MASK.astype(np.float32))


def test_whole_numbers_alone_are_refused_and_a_vector_of_weights_too():
    with pytest.raises(TypeError, match="x and the weights: expected floating numbers, got int32 and int32"):
        rnn(*(np.ones(np.shape(a), np.int32) for a in operands("rnn")))
    x, kernel, recurrent, bias, _ = operands("rnn", np.float32)
    with pytest.raises(
        ValueError, match=r"recurrent_kernel: expected the shape \[hidden, gates · hidden\], got \(4,\)"
    ):
        rnn(x, kernel, recurrent[0], bias)
