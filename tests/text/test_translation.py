"""The translator by LSTMs: step by step as at once, padding as if it were not there, attention as its formula says."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.parameters import drawn

import stepax as sx
from stepax import text
from stepax.text import LSTMTranslator, greedy

SOURCE = np.array([[4, 5, 6, 2, 8], [5, 6, 0, 0, 0], [7, 2, 4, 0, 0]], np.int32)
TARGET = np.array([[2, 4, 5, 6], [2, 5, 1, 4], [2, 6, 0, 0]], np.int32)
X = {"source": SOURCE, "target": TARGET}
SETTINGS = [{}, {"layers": 2, "bidirectional": True}]


@cache
def program(module, method):
    return jax.jit(lambda params, *given: module.apply({"params": params}, *given, method=method))


def run(model, *given, method="__call__"):
    module, params = model
    return program(module, method)(params, *given)


@cache
def translator(**settings):
    """A module with parameters away from the zeros that some start at."""
    module = LSTMTranslator(9, 7, 8, **settings)
    return module, drawn(module, X)["params"]


@pytest.mark.parametrize("settings", SETTINGS)
def test_token_by_token_is_all_at_once(settings):
    model = translator(**settings)
    whole = run(model, X)
    assert whole.shape == (3, 4, 7)
    state = run(model, SOURCE, method="encode")
    parts = []
    for i in range(4):
        logits, state = run(model, TARGET[:, i : i + 1], state, method="extend")
        parts.append(logits)
    np.testing.assert_allclose(jnp.concatenate(parts, 1), whole, 1e-5, 1e-6)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_as_if_it_were_not_there(settings, side):
    model = translator(**settings)
    sources, targets = ([5, 6, 4], [2, 5, 4]), ([7, 2], [2, 6])
    pad = (lambda row, n: [0] * (n - len(row)) + row) if side == "left" else lambda row, n: row + [0] * (n - len(row))
    x = {
        "source": np.array([pad(sources[0], 5), pad(targets[0], 5)], np.int32),
        "target": np.array([pad(sources[1], 4), pad(targets[1], 4)], np.int32),
    }
    padded = run(model, x)
    for i, (source, target) in enumerate((sources, targets)):
        alone = {"source": np.array([source], np.int32), "target": np.array([target], np.int32)}
        expected = run(model, alone)[0]
        np.testing.assert_allclose(padded[i][x["target"][i] != 0], expected, 1e-5, 1e-6)
    weights = run(model, x, method="attention_weights")
    assert not np.asarray(weights)[np.broadcast_to((x["source"] == 0)[:, None], weights.shape)].any()
    np.testing.assert_allclose(weights.sum(-1), 1, 1e-6)


def test_a_mask_hides_what_is_no_padding():
    model = translator()
    state = run(model, SOURCE, method="encode")
    mask = np.array([[1, 0, 1, 1]] * 3, bool)
    hidden, last = run(model, TARGET, state, mask, method="extend")
    kept, expected = run(model, TARGET[:, [0, 2, 3]], state, mask[:, [0, 2, 3]], method="extend")
    np.testing.assert_allclose(hidden[:, [0, 2, 3]], kept, 1e-5, 1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6), last, expected)


def test_attention_is_luongs():
    """By NumPy, from the outputs of the two LSTMs."""
    model = translator()
    encoder, decoder = model[1]["encoder"], model[1]["decoder"]
    lstm = sx.nn.LSTM(8)
    m, last = lstm.apply({"params": encoder["lstm"]}, encoder["tokens"][SOURCE[:1]])
    h, _ = lstm.apply({"params": decoder["lstm"]}, decoder["tokens"][TARGET[:1]], initial=last)
    m, h = np.asarray(m, np.float64)[0], np.asarray(h, np.float64)[0]
    scores = np.exp(h @ np.asarray(decoder["query"]["kernel"], np.float64) @ m.T)
    weights = scores / scores.sum(1, keepdims=True)
    attended = np.tanh(np.concatenate([weights @ m, h], 1) @ np.asarray(decoder["attended"]["kernel"]))
    logits = attended @ np.asarray(decoder["head"]["kernel"]) + np.asarray(decoder["head"]["bias"])
    one = {name: tokens[:1] for name, tokens in X.items()}
    found = run(model, one, method="attention_weights")[0]
    np.testing.assert_allclose(found, weights, 1e-4, 1e-6)
    np.testing.assert_allclose(run(model, one)[0], logits, 1e-4, 1e-5)


def test_no_later_token_of_the_target_is_seen():
    model = translator(layers=2, bidirectional=True)
    changed = {"source": SOURCE, "target": np.where(np.arange(4) == 2, 3, TARGET).astype(np.int32)}
    a, b = run(model, X), run(model, changed)
    np.testing.assert_array_equal(a[:, :2], b[:, :2])
    assert (np.abs(a - b)[:, 2].max(-1) > 1e-4).all()


def test_rows_do_not_see_each_other():
    model = translator(layers=2, bidirectional=True)
    other = {"source": SOURCE[::-1].copy(), "target": TARGET[::-1].copy()}
    found = run(model, other)[::-1]
    np.testing.assert_allclose(found, run(model, X), 1e-5, 1e-6)


def test_dropout_only_in_training():
    module, params = translator(layers=2, dropout=0.5)
    train = jax.jit(lambda key: module.apply({"params": params}, X, True, rngs={"dropout": key}))
    still = run((module, params), X)
    runs = [train(jax.random.key(i)) for i in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2])
    assert not np.allclose(runs[0], still)


def test_a_source_of_padding_alone_is_finite_with_its_gradient():
    model = translator(layers=2, bidirectional=True)
    x = {"source": np.zeros_like(SOURCE), "target": TARGET}
    value, gradient = jax.value_and_grad(lambda params: run((model[0], params), x).sum())(model[1])
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert not run(model, x, method="attention_weights").any()


def test_it_learns_to_reverse():
    numbers = np.stack(np.meshgrid(*[range(4)] * 3), -1).reshape(-1, 3) + 4
    data = text.pairs(numbers.tolist(), [[2, *row[::-1], 3] for row in numbers.tolist()])
    module = LSTMTranslator(8, 8, 24)
    learner = sx.supervised(module, sx.losses.cross_entropy, optax.adam(2e-2))
    run = sx.fit(learner, data, key=jax.random.key(0), epochs=120, batch_size=None, progress=False)
    assert run.history["loss"][-1] < 0.05
    np.testing.assert_array_equal(greedy(module, run.state.params, data["x"]["source"], 4), data["y"])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"source": 0}, ValueError, "source: expected at least 1, got 0"),
        ({"target": 7.0}, TypeError, "target: expected a whole number"),
        ({"features": 0}, ValueError, "features: expected at least 1, got 0"),
        ({"layers": 0}, ValueError, "layers: expected at least 1, got 0"),
        ({"dropout": 1.0}, ValueError, r"dropout: expected a number in \[0, 1\), got 1"),
        ({"features": 5, "bidirectional": True}, ValueError, "features: expected an even number"),
    ],
)
def test_settings_out_of_range_are_named(settings, error, message):
    module = LSTMTranslator(**({"source": 9, "target": 7, "features": 8} | settings))
    with pytest.raises(error, match=message):
        module.init(jax.random.key(0), X)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (SOURCE, TypeError, 'x: expected a dict with "source" and "target", got ndarray'),
        ({"source": SOURCE}, TypeError, r"got \['source'\]"),
        ({"source": SOURCE[:, :0], "target": TARGET}, ValueError, r"source.*with at least one, got \(3, 0\)"),
        ({"source": SOURCE[0], "target": TARGET}, ValueError, r"source.*expected tokens of shape \[batch, time\]"),
        ({"source": SOURCE[:2], "target": TARGET}, ValueError, "x: 2 sources, but 3 targets"),
        ({"source": SOURCE * 1.0, "target": TARGET}, TypeError, "source.*expected whole numbers, got float64"),
        ({"source": SOURCE + 1, "target": TARGET}, ValueError, r"source.*from 0 to 8 \(the vocabulary\), got 9"),
        ({"source": SOURCE, "target": TARGET - 1}, ValueError, r"target.*from 0 to 6 \(the vocabulary\), got -1"),
    ],
)
def test_wrong_tokens_are_named(x, error, message):
    module, params = translator()
    with pytest.raises(error, match=message):
        module.apply({"params": params}, x)
