"""A trimmed step against the whole one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen
from tests.transforms.learners import close, start, texts_of

import stepax as sx
from stepax.bucketing import bucketed
from stepax.stream_labels import class_count
from stepax.text.classification import TextCNN, TextLSTM, TextTransformer
from stepax.transforms.population import population
from stepax.transforms.trim import trim

LENGTHS = (2, 5, 8)
MODELS = {
    "cnn": TextCNN(9, 3, 4, (2, 3), 3, dropout=0.5),
    "lstm": TextLSTM(9, 3, 4, 3, dropout=0.0),
    "transformer": TextTransformer(9, 3, 4, 1, 2, dropout=0.0),
}


def learner_of(name):
    # Adam divides rounding by rounding.
    return sx.supervised(MODELS[name], sx.losses.cross_entropy, optax.sgd(0.1), metrics={"right": sx.metrics.accuracy})


def widths(learner, seen):
    """The learner, which notes how wide each batch is where a branch really runs."""

    def step(state, batch, gradient=sx.gradient):
        jax.debug.callback(lambda _, width=batch["x"].shape[-1]: seen.append(width), state.step)
        return learner.step(state, batch, gradient=gradient)

    return learner._replace(step=step)


@pytest.mark.parametrize("name", MODELS)
def test_changes_nothing_but_the_time(name, x64):
    learner, data = learner_of(name), texts_of(8, 7, 1)
    trimmed, state = trim(learner, LENGTHS), start(learner, data)
    close(jax.jit(trimmed.init)(jax.random.key(0), data), jax.jit(learner.init)(jax.random.key(0), data), 0)

    def all_of(learner):
        def use(state, data):
            return (
                learner.step(state, data),
                learner.evaluate(state, data, jax.random.key(1)),
                learner.predict(state, data["x"]),
            )

        return jax.jit(use)

    ours, whole = all_of(trimmed), all_of(learner)
    for reach in (0, 1, 2, 3, 5, 6, 8):
        data = {**texts_of(reach, max(reach - 1, 0), min(reach, 1)), "weight": np.float32([1, 2, 0])}
        close(ours(state, data), whole(state, data), 1e-12)


def test_the_least_length_that_holds_the_batch_is_run():
    seen, data = [], texts_of(1, 8)
    learner = trim(widths(learner_of("cnn"), seen), LENGTHS)
    state, step = learner.init(jax.random.key(0), data), jax.jit(learner.step)
    for reach in (0, 2, 3, 5, 6, 8):
        jax.block_until_ready(step(state, texts_of(1, reach)))
    jax.effects_barrier()
    assert seen == [2, 2, 5, 5, 8, 8]


def test_data_may_be_shorter_than_lengths():
    seen, data = [], texts_of(4, 3, time=4)
    learner = trim(widths(learner_of("cnn"), seen), LENGTHS)
    jax.jit(learner.step)(learner.init(jax.random.key(0), data), data)
    jax.effects_barrier()
    assert seen == [4]


class PlaceByPlace(linen.Module):
    """An output for every place, as a model that marks words has."""

    @linen.compact
    def __call__(self, x):
        return linen.Embed(9, 3)(x["tokens"]) + x["scale"][:, None, :]


def marked(*lengths):
    data, random = texts_of(*lengths), np.random.default_rng(0)
    real = (data["x"] != 0).astype(np.float32)
    x = {"tokens": data["x"], "scale": random.normal(size=(len(lengths), 3)).astype(np.float32)}
    return {"x": x, "y": data["x"] % 3, "weight": real}


def test_targets_for_each_place_are_cut_too_and_outputs_are_filled_up(x64):
    data = marked(3, 1)
    learner = sx.supervised(PlaceByPlace(), sx.losses.cross_entropy, optax.sgd(0.1))
    trimmed, state = trim(learner, LENGTHS), start(learner, data)
    close(jax.jit(trimmed.step)(state, data), jax.jit(learner.step)(state, data), 1e-12)
    ours, whole = (jax.jit(each.predict)(state, data["x"]) for each in (trimmed, learner))
    assert ours.shape == whole.shape == (2, 8, 3)
    np.testing.assert_allclose(ours[:, :5], whole[:, :5])
    assert (ours[:, 5:] == 0).all()


def test_places_that_count_are_not_cut_off(x64):
    data = marked(3, 1)
    data["weight"][1, 6] = 1.0
    learner = sx.supervised(PlaceByPlace(), sx.losses.cross_entropy, optax.sgd(0.1))
    state = start(learner, data)
    close(jax.jit(trim(learner, LENGTHS).step)(state, data), jax.jit(learner.step)(state, data), 1e-12)


def test_lanes_share_a_branch_also_with_data_of_their_own(x64):
    seen, parts = [], [texts_of(1, 2), texts_of(4, 3, seed=1)]
    data = jax.tree.map(lambda *leaves: np.stack(leaves), *parts)
    inner = learner_of("cnn")
    plain = population(inner, 2, lanes_of_data=True)
    state = start(plain, data)
    expected = jax.jit(plain.step)(state, data)
    for learner in (population(trim(widths(inner, seen), LENGTHS), 2, lanes_of_data=True), trim(plain, LENGTHS)):
        close(jax.jit(learner.step)(state, data), expected, 1e-12)
        text = str(jax.make_jaxpr(learner.step)(state, data))
        assert "cond[" in text  # no selection among the results of all
    jax.effects_barrier()
    assert set(seen) == {5}


def test_gradients_may_be_taken_through_a_step(x64):
    learner, data = trim(learner_of("cnn"), LENGTHS), texts_of(2, 3)
    state = start(learner, data)

    def after(params):
        return learner.step(state._replace(params=params), data)[1]["loss"]

    grads = jax.jit(jax.grad(after))(state.params)
    assert np.isfinite(optax.tree.norm(grads))
    assert optax.tree.norm(grads) > 0


def test_trains_on_bucketed_batches_as_without():
    data = texts_of(*np.random.default_rng(0).integers(1, 9, 30))
    learner = learner_of("cnn")

    def run(learner):
        source = bucketed(data, 4, jax.random.key(0), LENGTHS)
        return sx.fit(
            learner, source, key=jax.random.key(1), epochs=2, batch_size=None, validation=data, progress=False
        )

    ours, whole = run(trim(learner, LENGTHS)), run(learner)
    for name in ("loss", "right", "validation/loss"):
        np.testing.assert_allclose(ours.history[name], whole.history[name], 1e-4)


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ((), ValueError, "lengths: expected at least one"),
        ((8, 8), ValueError, "lengths: expected at least one, each larger than the one before, got \\(8, 8\\)"),
        ((0, 8), ValueError, "lengths: expected at least 1, got 0"),
        (8, TypeError, "lengths: expected whole numbers such as"),
        ((8.0,), TypeError, "lengths: expected a whole number"),
    ],
)
def test_lengths_that_cannot_be_are_refused(lengths, error, message):
    with pytest.raises(error, match=message):
        trim(learner_of("cnn"), lengths)


@pytest.mark.parametrize("function", ["step", "evaluate", "predict"])
def test_longer_data_are_refused(function):
    learner, data = trim(learner_of("cnn"), (2, 7)), texts_of(1, 1)
    state = learner.init(jax.random.key(0), data)
    arguments = {"step": (data,), "evaluate": (data, jax.random.key(0)), "predict": (data["x"],)}
    with pytest.raises(ValueError, match="x has 8 places along its axis of time, and the last of the lengths is 7"):
        getattr(learner, function)(state, *arguments[function])


def test_what_has_no_tokens_is_refused():
    learner, data = trim(learner_of("cnn"), (8,)), texts_of(1, 1)
    state = learner.init(jax.random.key(0), data)
    with pytest.raises(ValueError, match=r"batch: expected tokens under the name 'x'.* got NoneType"):
        learner.step(state, None)
    with pytest.raises(TypeError, match=r"x: expected tokens, whole numbers of shape \[batch, time\].* got float32"):
        learner.step(state, {"x": jnp.ones((2, 3))})
    with pytest.raises(TypeError, match=r"learner: expected a stepax\.Learner"):
        trim(MODELS["cnn"], (8,))


def test_a_target_for_each_place_without_weight_is_refused():
    data = marked(3, 1)
    del data["weight"]
    learner = sx.supervised(PlaceByPlace(), sx.losses.cross_entropy, optax.sgd(0.1))
    with pytest.raises(ValueError, match="weight: expected the shape \\[batch, time\\] beside a y of shape \\(2, 8\\)"):
        trim(learner, LENGTHS).step(start(learner, data), data)


def test_wrong_labels_are_an_error_before_any_compile():
    data = texts_of(*np.random.default_rng(0).integers(1, 9, 16))
    learner = trim(learner_of("cnn"), LENGTHS)
    wrong = {**data, "y": data["y"] + 1}
    with pytest.raises(ValueError, match="labels"):
        sx.fit(learner, wrong, key=jax.random.key(0), epochs=1, batch_size=4, progress=False)
    state = start(learner, data)
    for compute in (lambda: learner.step(state, wrong), lambda: learner.evaluate(state, wrong, jax.random.key(0))):
        with pytest.raises(ValueError, match="labels"):
            compute()
    with pytest.raises(ValueError, match="labels"):  # only x is traced
        jax.jit(lambda x: learner.evaluate(state, {**wrong, "x": x}, jax.random.key(0)))(data["x"])


@pytest.mark.parametrize("library", [np, jnp], ids=["numpy", "jax"])
def test_wrong_labels_of_places_are_an_error_too(library):
    data = marked(3, 1)
    learner = trim(sx.supervised(PlaceByPlace(), sx.losses.cross_entropy, optax.sgd(0.1)), LENGTHS)
    state = start(learner, data)
    expected = jax.jit(learner.step)(state, data)[1]["loss"]
    data["y"] = library.asarray(data["y"])
    part = {"x": data["x"], "weight": data["weight"]}
    found = jax.jit(lambda part: learner.step(state, {**part, "y": data["y"]}))(part)[1]["loss"]
    np.testing.assert_allclose(found, expected, 1e-5)
    data["y"] = library.asarray(np.where(np.arange(8) == 7, 3, np.asarray(data["y"])))
    with pytest.raises(ValueError, match="labels"):
        jax.jit(lambda part: learner.step(state, {**part, "y": data["y"]}))(part)


def test_a_streams_classes_are_known():
    data, key = texts_of(3, 1), jax.random.key(0)
    inner = learner_of("cnn")
    for learner in (trim(inner, LENGTHS), population(trim(inner, LENGTHS), 2), trim(population(inner, 2), LENGTHS)):
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), data)
        assert class_count(learner, learner.init(key, data), like) == 3
    places = marked(3, 1)
    learner = trim(sx.supervised(PlaceByPlace(), sx.losses.cross_entropy, optax.sgd(0.1)), LENGTHS)
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), places)
    assert class_count(learner, learner.init(key, places), like) == 3
