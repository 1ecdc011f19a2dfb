"""Classifiers of texts do not see padding, and learn."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.parameters import drawn

import stepax as sx
from stepax.text.classification import TextCNN, TextLSTM, TextTransformer, max_over_time, mean_over_time
from stepax.transforms.trim import trim

# Of five words, of one, of two, and of none.
TEXT = np.int32([[4, 2, 9, 2, 7], [3, 0, 0, 0, 0], [5, 6, 0, 0, 0], [0, 0, 0, 0, 0]])
MODELS = {
    "cnn": partial(TextCNN, 11, 3, 6, (2, 3, 5), 4),
    "lstm": partial(TextLSTM, 11, 3, 6, 5, 2),
    "lstm, forward": partial(TextLSTM, 11, 3, 6, 5, bidirectional=False),
    "lstm, mean": partial(TextLSTM, 11, 3, 6, 5, pooling=mean_over_time),
    "lstm, max": partial(TextLSTM, 11, 3, 6, 5, pooling=max_over_time),
    "transformer": partial(TextTransformer, 11, 3, 8, 2, 2, context=16),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_padded_text_is_as_the_text_alone(name, x64):
    module = MODELS[name]()
    variables = drawn(module, TEXT, dtype=float)
    apply = jax.jit(module.apply)
    for row, length in zip(TEXT, (5, 1), strict=False):
        alone = apply(variables, row[None, :length])
        assert alone.shape == (1, 3)
        for pads in [(0, 4), (4, 0)]:
            together = apply(variables, np.pad(row[None, :length], ((0, 1), (pads[0], pads[1] + 5 - length))))
            np.testing.assert_allclose(together[:1], alone, 1e-10, 1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_padding_has_no_gradient_and_texts_of_nothing_else_are_finite(name, x64):
    module = MODELS[name]()
    variables = drawn(module, TEXT, dtype=float)

    @jax.jit
    def gradient(params, tokens):
        return jax.grad(lambda params: (module.apply({"params": params}, tokens) ** 2).sum())(params)

    by_filled, by_text = (gradient(variables["params"], np.pad(TEXT, ((0, 0), (0, more)))) for more in (3, 0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-9, 1e-11), by_filled, by_text)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(by_text))
    tables = [leaf for leaf in jax.tree.leaves(by_filled) if leaf.shape[0] == 11]  # one row for each token
    assert [(table[0] == 0).all() and (table[2:] != 0).any() for table in tables] == [True]


@pytest.mark.parametrize("name", ["cnn", "lstm, max", "transformer"])
def test_learns_which_texts_hold_a_word(name):
    random = np.random.default_rng(0)
    x = random.integers(2, 11, (64, 7)) * (np.arange(7) < random.integers(2, 8, (64, 1)))
    data = {"x": x.astype(np.int32), "y": (x == 5).any(1).astype(np.int32)}
    learner = sx.supervised(
        MODELS[name](dropout=0.1), sx.losses.cross_entropy, optax.adam(2e-2), metrics={"right": sx.metrics.accuracy}
    )
    run = sx.fit(learner, data, key=jax.random.key(0), epochs=30, batch_size=16, progress=False)
    assert max(run.history["right"][-5:]) > 0.95


def test_the_network_is_kims():
    """By hand: windows over words with zeros beyond the ends, ReLU, maxima, one dense layer."""
    module = MODELS["cnn"]()
    variables = drawn(module, TEXT)
    params = variables["params"]
    text = TEXT[0]
    maxima = []
    for i, window in enumerate((2, 3, 5)):
        before = (window - 1) // 2
        vectors = np.pad(params["tokens"]["table"][text], ((before, window - 1 - before), (0, 0)))
        maps = [np.einsum("wc,wcm->m", vectors[t : t + window], params[f"conv_{i}_kernel"]) for t in range(5)]
        maxima.append(np.maximum(np.max(maps, 0) + params["conv_bias"][4 * i : 4 * i + 4], 0))
    expected = np.concatenate(maxima) @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(module.apply(variables, TEXT)[0], expected, 1e-5, 1e-5)


def test_pooling_by_hand(x64):
    x = jnp.asarray([[[1.0, -5.0], [3.0, -2.0], [9.0, 9.0]], [[1.0, 1.0]] * 3])
    mask = jnp.asarray([[True, True, False], [False] * 3])
    assert max_over_time(x, mask).tolist() == [[3, -2], [0, 0]]
    assert mean_over_time(x, mask).tolist() == [[2, -3.5], [0, 0]]
    by_max = jax.grad(lambda x: max_over_time(x, mask).sum())(x)
    assert by_max.tolist() == [[[0, 0], [1, 1], [0, 0]], [[0, 0]] * 3]
    by_mean = jax.grad(lambda x: mean_over_time(x, mask).sum())(x)
    assert by_mean.tolist() == [[[0.5, 0.5], [0.5, 0.5], [0, 0]], [[0, 0]] * 3]


def test_dropout_is_on_in_training_alone():
    for make in (MODELS["cnn"], MODELS["lstm"]):
        module = make(dropout=0.5)
        variables = drawn(module, TEXT)
        first, second = (module.apply(variables, TEXT, True, rngs={"dropout": jax.random.key(seed)}) for seed in (0, 1))
        assert (first != second).any()
        assert (module.apply(variables, TEXT) == module.apply(variables, TEXT)).all()


def test_what_a_trimmed_step_of_the_convolutions_lowers_to():
    """Convolutions in the one layout that is fast within loops and branches, and nothing else that is slow there."""
    learner = trim(sx.supervised(TextCNN(700, 2, 16, maps=16), sx.losses.cross_entropy, optax.sgd(1e-3)), (8, 16))
    batch = {"x": np.ones((4, 16), np.int32), "y": np.zeros(4, np.int32)}
    state = jax.eval_shape(learner.init, jax.random.key(0), batch)

    def chunk(state, batch):
        return jax.lax.fori_loop(0, 3, lambda _, state: learner.step(state, batch)[0], state)

    text = sx.compile.jit(chunk).lower(state, batch).compile().as_text()
    assert " conditional(" in text
    # Forward, by the vectors and by the kernel, for each of three windows, in each of two branches.
    layouts = re.findall(r" convolution\(.*dim_labels=([\w>-]+)", text)
    assert layouts == ["b0f_0io->b0f"] * 18
    for slow in ("select-and-scatter(", "reduce-window(", " sort("):
        assert slow not in text, slow


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (partial(TextCNN, 10, 3, windows=()), ValueError, "windows: expected at least one"),
        (partial(TextCNN, 10, 3, windows=(0,)), ValueError, r"windows\[0\]: expected at least 1, got 0"),
        (partial(TextCNN, 10, 3, maps=0), ValueError, "maps: expected at least 1, got 0"),
        (partial(TextCNN, 10, 3, dropout=1.0), ValueError, r"^dropout: expected a number in \[0, 1\), got 1\.0"),
        (partial(TextCNN, 10, 3, dropout_in=1.0), ValueError, r"^dropout_in: expected a number in \[0, 1\), got 1\.0"),
        (partial(TextLSTM, 10, 3, dropout=1.0), ValueError, r"^dropout: expected a number in \[0, 1\), got 1\.0"),
        (partial(TextCNN, 0, 3), ValueError, "vocabulary: expected at least 1, got 0"),
        (partial(TextCNN, 10, 0), ValueError, "^classes: expected at least 1, got 0"),
        (partial(TextLSTM, 10, 0), ValueError, "^classes: expected at least 1, got 0"),
        (partial(TextTransformer, 10, 0), ValueError, "^classes: expected at least 1, got 0"),
        (partial(TextTransformer, 0, 3), ValueError, "^vocabulary: expected at least 1, got 0"),
        (partial(TextCNN, 10, 3, features=0), ValueError, "^features: expected at least 1, got 0"),
        (partial(TextLSTM, 10, 3, width=0), ValueError, "^width: expected at least 1, got 0"),
        (partial(TextLSTM, 10, 3, features=2.5), TypeError, "features: expected a whole number"),
        (partial(TextLSTM, 10, 3, pooling="max"), TypeError, "pooling: expected a function"),
        (partial(TextLSTM, 10, 3, layers=0), ValueError, "layers: expected at least 1, got 0"),
    ],
)
def test_settings_are_checked(make, error, message):
    with pytest.raises(error, match=message):
        make().init(jax.random.key(0), TEXT)


@pytest.mark.parametrize("name", ["cnn", "lstm", "transformer"])
def test_tokens_are_checked(name):
    module = MODELS[name]()
    with pytest.raises(TypeError, match="tokens: expected whole numbers, got float32"):
        module.init(jax.random.key(0), TEXT.astype(np.float32))
    with pytest.raises(ValueError, match=rf"tokens: expected the shape \[batch, time\], got \({TEXT.shape[1]},\)"):
        module.init(jax.random.key(0), TEXT[0])
