"""The encoder sees everything that is there, and learns."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.nn.test_block import drawn

import stepax as sx
from stepax.nn import positions

X = np.random.default_rng(0).normal(size=(2, 6, 8)).astype(np.float32)
TOKENS = np.random.default_rng(0).integers(0, 11, size=(2, 6))
# On the left, on the right, and between.
MASK = np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 1, 0, 1, 1, 0]], bool)


def test_the_encoder_sees_everything(x64):
    model = sx.nn.Encoder(None, 8, 1, 2, 6)
    variables = drawn(model, X[:1], dtype=np.float64)
    seen = np.abs(jax.jacrev(lambda x: model.apply(variables, x))(X[:1].astype(float))).sum((0, 2, 3, 5))
    assert (seen > 0).all()


def test_a_masked_vector_is_as_if_removed(x64):
    model = sx.nn.Encoder(None, 8, 2, 2, 6)
    x = np.random.default_rng(0).normal(size=(3, 6, 5))
    variables = drawn(model, x, dtype=np.float64)

    def loss(variables):
        output = model.apply(variables, np.where(MASK[..., None], x, np.nan), mask=MASK)
        return jnp.where(MASK[..., None], jnp.sin(output), 0).sum(), output

    gradients, output = jax.jit(jax.grad(loss, has_aux=True))(variables)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    for row in range(3):
        alone = jax.jit(model.apply)(variables, x[row : row + 1, MASK[row]])
        np.testing.assert_allclose(output[row, MASK[row]], alone[0], 1e-9, 1e-11)


def test_vectors_and_tokens_are_learnt():
    for model, x in (
        (sx.nn.Encoder(None, 8, 1, 2, 6, 0.1, positions=positions.rotary()), X),
        (sx.nn.Encoder(11, 8, 1, 2, 6, stack=sx.nn.scanned()), TOKENS),
    ):
        learner = sx.supervised(model, sx.losses.mean_squared_error, optax.adam(0.03))
        batch = {"x": x, "y": X}
        state = jax.jit(learner.init)(jax.random.key(0), batch)
        first = learner.evaluate(state, batch, jax.random.key(1))["loss"]
        step = jax.jit(learner.step)
        for _ in range(30):
            state, _ = step(state, batch)
        assert learner.evaluate(state, batch, jax.random.key(1))["loss"] < 0.7 * first


@pytest.mark.parametrize("kind", [positions.learned, positions.sinusoidal, positions.rotary])
@pytest.mark.parametrize("masked", [False, True])
def test_half_precision_stays_half(kind, masked):
    model = sx.nn.Encoder(11, 8, 2, 2, 6, positions=kind(), embedding_init=jax.nn.initializers.normal(1.0))
    variables = model.init(jax.random.key(0), TOKENS)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
    mask = {"mask": np.arange(6) < np.array([[4], [6]])} if masked else {}
    y = model.apply(half, TOKENS, **mask)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(np.float32), model.apply(variables, TOKENS, **mask), atol=0.2)


def test_vectors_of_tokens_are_drawn_as_told():
    model = sx.nn.Encoder(64, 64, 0, embedding_init=jax.nn.initializers.normal(1.0), use_bias=False)
    params = model.init(jax.random.key(0), np.zeros((1, 4), int))["params"]
    np.testing.assert_allclose(params["tokens"].std(), 1, 0.05)
    assert set(params["norm"]) == {"scale"}


@pytest.mark.parametrize(
    ("module", "x", "error", "message"),
    [
        (sx.nn.Encoder(11, context=5), TOKENS, ValueError, r"x: expected \[batch, time\] with at most 5 steps"),
        (sx.nn.Encoder(11), X, ValueError, r"x: expected \[batch, time\] with at most 128 steps \(the context\), got"),
        (sx.nn.Encoder(None), TOKENS, ValueError, r"x: expected \[batch, time, inputs\] with at most"),
    ],
)
def test_what_makes_no_encoder_is_named(module, x, error, message):
    with pytest.raises(error, match=message):
        module.init(jax.random.key(0), x)
