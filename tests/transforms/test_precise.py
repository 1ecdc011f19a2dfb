"""Mixed precision: what is computed in bfloat16, what stays in float32, and how little it changes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import stepax as sx
from stepax.data.scaling import standardization
from stepax.transforms.precise import full_precision, precise

IMAGES = {"x": np.random.default_rng(0).normal(size=(6, 8, 8, 2)).astype(np.float32), "y": np.arange(6, dtype=np.int32)}
TOKENS = {"x": np.arange(12, dtype=np.int32).reshape(2, 6) % 7, "y": np.arange(1, 13, dtype=np.int32).reshape(2, 6) % 7}
SERIES = {"x": np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32), "y": np.arange(4, dtype=np.int32)}


class LastStep(linen.Module):
    body: linen.Module

    @linen.compact
    def __call__(self, x, train=False):
        outputs = self.body(x, train)
        return sx.nn.Dense(6)((outputs[0] if isinstance(outputs, tuple) else outputs)[:, -1])


CASES = {
    "mlp": (sx.nn.MLP((16, 6), dropout=0.1), IMAGES),
    "cnn": (sx.nn.CNN((4,), (8,), 6), IMAGES),
    "batch normalisation": (sx.nn.CNN(((4, 4),), (8,), 6, normalize=True), IMAGES),
    "lstm": (LastStep(sx.nn.LSTM(8)), SERIES),
    "gru": (LastStep(sx.nn.GRU(8)), SERIES),
    "tcn": (LastStep(sx.nn.TCN((4, 4))), SERIES),
    "transformer": (sx.nn.Decoder(7, features=8, layers=2, heads=2, context=6), TOKENS),
}


def made(case):
    model, batch = CASES[case]
    learner = sx.supervised(model, sx.losses.cross_entropy, optax.adam(1e-2))
    return learner, jax.jit(learner.init)(jax.random.key(0), batch), batch


@pytest.mark.parametrize("case", CASES)
def test_all_products_are_in_half_precision_and_the_state_is_not(case):
    learner, state, batch = made(case)
    half = precise(learner)
    assert full_precision(learner, state, batch)
    assert full_precision(half, state, batch) == []
    moved, metrics = jax.jit(half.step)(state, batch)
    assert jax.eval_shape(lambda s: s, moved) == jax.eval_shape(lambda s: s, state)
    assert all(value.dtype == jnp.float32 for value in metrics.values())
    assert jax.jit(half.predict)(state, batch["x"]).dtype == jnp.float32


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_float32_to_the_digits_of_bfloat16(case):
    learner, state, batch = made(case)
    found = []

    def gradient(*arguments):
        grads, *rest = sx.gradient(*arguments)
        found.append(grads)
        return grads, *rest

    for each in (learner, precise(learner)):
        each.step(state, batch, gradient)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(found))
    whole, half = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads)]) for grads in found)
    # Eight bits a number, through a few layers. Batch normalisation of six examples takes differences of near numbers.
    most = 0.25 if case == "batch normalisation" else 0.06
    assert 0 < np.linalg.norm(whole - half) < most * np.linalg.norm(whole)


def test_by_hand():
    """1 + 2⁻⁹ is 1 in bfloat16, so the output is the input's multiple of 1; the parameter itself is not rounded."""
    model = linen.Dense(1, use_bias=False, kernel_init=lambda *_: jnp.full((1, 1), 1 + 2**-9))
    half = precise(sx.supervised(model, sx.losses.mean_squared_error, optax.sgd(2**-10)))
    batch = {"x": np.float32([[4]]), "y": np.float32([3])}
    state = half.init(jax.random.key(0), batch)
    assert half.predict(state, batch["x"]).tolist() == [[4]]
    assert half.evaluate(state, batch, state.key)["loss"] == 1
    # The gradient is 2 (4 − 3) 4 = 8.
    moved, metrics = half.step(state, batch)
    assert metrics["loss"] == 1
    assert moved.params["kernel"] == np.float32(1 + 2**-9 - 8 * 2**-10)


def test_float32_changes_nothing():
    learner, state, batch = made("cnn")
    states = [jax.jit(each.step)(state, batch)[0] for each in (learner, precise(learner, jnp.float32))]
    jax.tree.map(np.testing.assert_array_equal, *(state._replace(key=0) for state in states))


def test_learns_as_in_float32():
    train, test = sx.data.load("digits")
    learner = sx.supervised(
        sx.nn.MLP((64, 10)), sx.losses.cross_entropy, optax.adam(1e-3), metrics={"accuracy": sx.metrics.accuracy}
    )
    found = []
    for each in (learner, precise(learner)):
        run = sx.fit(each, train, key=jax.random.key(0), epochs=10, batch_size=64, progress=False)
        found.append(sx.evaluate(each, run.state, test)["accuracy"])
    assert min(found) > 0.9
    assert abs(found[0] - found[1]) < 0.02


@pytest.mark.parametrize(
    ("compute", "error", "message"),
    [
        (jnp.float16, ValueError, "compute: expected bfloat16 or float32, got float16, whose range"),
        (jnp.int8, ValueError, "compute: expected bfloat16 or float32, got int8"),
        ("half a number", TypeError, "half a number"),
    ],
)
def test_other_dtypes_are_refused(compute, error, message):
    with pytest.raises(error, match=message):
        precise(made("mlp")[0], compute)


def test_what_is_no_learner_is_refused():
    with pytest.raises(TypeError, match="learner: expected a stepax"):
        precise(sx.nn.MLP((2,)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda learner, state, batch: (sx.nn.MLP((2,)), state, batch), r"learner: expected a stepax\.Learner"),
        (lambda learner, state, batch: (learner, state.params, batch), r"state: expected a stepax\.State"),
        (lambda learner, state, batch: (learner, None, batch), r"state: expected a stepax\.State"),
    ],
    ids=["a model", "parameters", "nothing"],
)
def test_full_precision_names_what_is_of_another_kind(change, message):
    with pytest.raises(TypeError, match=message):
        full_precision(*change(*made("mlp")))


def test_a_scaled_model_scales_in_float32():
    random = np.random.default_rng(0)
    x = (2000 + 5 * random.normal(size=(64, 2))).astype(np.float32)
    y = (3000 + 4 * (x[:, 0] - 2000)).astype(np.float32)
    data = {"x": x, "y": y[:, None]}
    model = sx.scaled(sx.nn.MLP((8, 1)), standardization(x), standardization(data["y"]))
    learner = sx.supervised(model, sx.losses.mean_squared_error, optax.adam(1e-2))
    state = jax.jit(learner.init)(jax.random.key(0), data)
    whole, half = (jax.jit(each.predict)(state, x) for each in (learner, precise(learner)))
    # In units of y, whose deviation is 20: bfloat16 has steps of 16 at 3,000.
    assert np.abs(whole - half).max() < 1
    assert full_precision(precise(learner), state, data) == []


def test_frozen_parameters_are_computed_with_in_half_precision_and_kept_in_float32():
    _, state, batch = made("cnn")
    model = sx.transfer(sx.nn.CNN((4,), (8,), 6), state.params, state.variables, train="head")
    part = sx.supervised(model, sx.losses.cross_entropy, optax.adam(1e-2))
    state = jax.jit(part.init)(jax.random.key(1), batch)
    assert full_precision(precise(part), state, batch) == []
    moved, _ = jax.jit(precise(part).step)(state, batch)
    jax.tree.map(np.testing.assert_array_equal, moved.variables, state.variables)
    assert jax.eval_shape(lambda s: s, moved) == jax.eval_shape(lambda s: s, state)
