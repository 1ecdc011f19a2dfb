"""The LSTM reads token by token what it reads at once, and sees no later token."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stepax as sx
from stepax.text.language_model import LSTMLanguageModel, bits_per_character, perplexity

TOKENS = np.random.default_rng(0).integers(0, 7, size=(3, 6)).astype(np.int32)


def model(layers=2, dropout=0.0):
    module = LSTMLanguageModel(7, 5, layers, dropout)
    params = module.init(jax.random.key(0), TOKENS)["params"]
    keys = iter(jax.random.split(jax.random.key(1), 100))
    return module, jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(next(keys), leaf.shape), params)


def extend(module, params, tokens, state, mask=None):
    return module.apply({"params": params}, tokens, state, mask, method="extend")


@pytest.mark.parametrize("cuts", [(1, 1, 1, 1, 1, 1), (4, 2), (6,)])
@pytest.mark.parametrize("layers", [1, 2])
def test_step_by_step_equals_the_whole(cuts, layers):
    module, params = model(layers)
    state, found, first = module.start(3), [], 0
    for cut in cuts:
        logits, state = extend(module, params, TOKENS[:, first : first + cut], state)
        found.append(logits)
        first += cut
    whole = module.apply({"params": params}, TOKENS)
    assert whole.shape == (3, 6, 7)
    np.testing.assert_allclose(np.concatenate(found, axis=1), whole, 1e-5, 1e-5)


def test_no_later_token_is_seen():
    module, params = model()
    changed = TOKENS.copy()
    changed[:, 3] = (changed[:, 3] + 1) % 7
    before, after = (module.apply({"params": params}, tokens) for tokens in (TOKENS, changed))
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] != after[:, 3:]).any(axis=(0, 2)).all()


def test_a_mask_equals_removal():
    module, params = model()
    mask = np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 0, 1, 0, 1, 1]], bool)
    logits, state = extend(module, params, TOKENS, module.start(3), mask)
    np.testing.assert_allclose(module.apply({"params": params}, TOKENS, mask=mask), logits, 1e-5, 1e-6)
    for row in range(3):
        alone, last = extend(module, params, TOKENS[row : row + 1, mask[row]], module.start(1))
        np.testing.assert_allclose(logits[row, mask[row]], alone[0], 1e-5, 1e-5)
        jax.tree.map(lambda a, b, row=row: np.testing.assert_allclose(a[row], b[0], 1e-5, 1e-5), state, last)


def test_a_state_keeps_its_form():
    module, params = model()
    state = module.start(3)
    for dtype in (jnp.float32, jnp.bfloat16):
        cast = jax.tree.map(lambda leaf, dtype=dtype: leaf.astype(dtype), params)
        new = jax.eval_shape(lambda p: extend(module, p, TOKENS, state)[1], cast)
        assert jax.tree.structure(new) == jax.tree.structure(state)
        assert jax.tree.map(lambda a: (a.shape, a.dtype), new) == jax.tree.map(lambda a: (a.shape, a.dtype), state)


def test_step_by_step_equals_the_whole_in_double_precision(x64):
    module, params = model()
    params = jax.tree.map(lambda leaf: leaf.astype(np.float64), params)
    state = module.start(3)
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {np.dtype(np.float64)}
    found = []
    for i in range(6):
        logits, state = extend(module, params, TOKENS[:, i : i + 1], state)
        found.append(logits)
    np.testing.assert_allclose(np.concatenate(found, 1), module.apply({"params": params}, TOKENS), 1e-10, 1e-10)


def test_no_texts():
    module, params = model()
    logits, _ = extend(module, params, TOKENS[:0], module.start(0))
    assert logits.shape == (0, 6, 7)
    with pytest.raises(ValueError, match="batch: expected at least 0, got -1"):
        module.start(-1)


def test_it_learns():
    module = LSTMLanguageModel(7, 16, 1, dropout=0.1)
    x = (np.arange(6) + np.arange(7)[:, None]).astype(np.int32) % 7
    learner = sx.supervised(module, sx.losses.cross_entropy, optax.adam(0.02))
    run = sx.fit(learner, {"x": x, "y": (x + 1) % 7}, key=jax.random.key(0), epochs=60, batch_size=7)
    losses = run.history["loss"]
    assert losses[-1] < 0.1 < losses[0]


def test_dropout_is_on_in_training_only():
    module, params = model(dropout=0.5)
    quiet = module.apply({"params": params}, TOKENS)
    np.testing.assert_array_equal(quiet, model()[0].apply({"params": params}, TOKENS))
    loud = [module.apply({"params": params}, TOKENS, True, rngs={"dropout": jax.random.key(i)}) for i in (0, 1)]
    assert (loud[0] != loud[1]).any()
    assert (loud[0] != quiet).any()


def test_units():
    """A fair die of 64 sides: 6 bits."""
    loss = math.log(64)
    assert perplexity(loss) == pytest.approx(64)
    assert bits_per_character(loss) == pytest.approx(6)
    assert bits_per_character(loss, characters=4) == pytest.approx(1.5)
    np.testing.assert_allclose(perplexity(jnp.array([0.0, loss])), [1, 64], 1e-6)
    np.testing.assert_allclose(bits_per_character(jnp.array([0.0, loss])), [0, 6], 1e-6)
    with pytest.raises(ValueError, match="characters: expected more than 0 characters for each token, got 0"):
        bits_per_character(1.0, 0)


@pytest.mark.parametrize(
    ("settings", "tokens", "error", "message"),
    [
        ({"vocabulary": 0}, TOKENS, ValueError, "vocabulary: expected at least 1"),
        ({"layers": 0}, TOKENS, ValueError, "layers: expected at least 1"),
        ({"features": 1.5}, TOKENS, TypeError, "features: expected a whole number"),
        ({"dropout": 1.0}, TOKENS, ValueError, "dropout: expected a number in"),
        ({}, TOKENS[0], ValueError, r"tokens: expected the shape \[batch, time\], got \(6,\)"),
        ({}, TOKENS.astype(np.float32), TypeError, "tokens: expected whole numbers, got float32"),
    ],
)
def test_bad_input(settings, tokens, error, message):
    module = LSTMLanguageModel(**{"vocabulary": 7, "features": 4, "layers": 1, **settings})
    with pytest.raises(error, match=message):
        module.init(jax.random.key(0), tokens)
