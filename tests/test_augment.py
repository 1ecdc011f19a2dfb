"""Augmentation: numbers by hand, NumPy's answers, what never changes, and keys that nobody else uses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stepax as sx
from stepax.augment import NUMBER, augmented, crop, cutout, flip, mixup

KEY = jax.random.key(0)


def images(n=6, dtype=np.float32):
    x = np.random.default_rng(0).integers(1, 100, (n, 5, 4, 3)).astype(dtype)
    return {"x": x, "y": np.arange(n, dtype=np.int32) % 3, "weight": np.ones(n, np.float32)}


FUNCTIONS = [partial(crop, padding=2), flip, partial(cutout, size=2), partial(mixup, classes=3)]
NAMES = ["crop", "flip", "cutout", "mixup"]


@pytest.mark.parametrize("function", FUNCTIONS, ids=NAMES)
def test_shapes_stay_draws_repeat_and_jit_and_vmap_change_nothing(function):
    batch = images()
    once = function(KEY, batch)
    assert once["x"].shape == batch["x"].shape
    assert set(once) == set(batch)
    np.testing.assert_array_equal(once["weight"], batch["weight"])
    assert not np.array_equal(once["x"], batch["x"])
    np.testing.assert_array_equal(function(KEY, batch)["x"], once["x"])
    np.testing.assert_allclose(jax.jit(function)(KEY, batch)["x"], once["x"], rtol=1e-6)
    keys = jax.random.split(jax.random.key(1), 3)
    lanes = jax.vmap(function, (0, None))(keys, batch)
    for lane, key in enumerate(keys):
        np.testing.assert_allclose(lanes["x"][lane], function(key, batch)["x"], rtol=1e-6)
    assert not np.array_equal(lanes["x"][0], lanes["x"][1])


@pytest.mark.parametrize("function", FUNCTIONS[:3], ids=NAMES[:3])
def test_bytes_stay_bytes(function):
    batch = images(dtype=np.uint8)
    assert function(KEY, batch)["x"].dtype == np.uint8


def test_crop_by_hand():
    # One image of one column; padded with a row of zeros above and below there are three places.
    x = np.float32([[[[1]], [[2]]]])
    found = {tuple(np.ravel(crop(jax.random.key(i), {"x": x}, padding=1)["x"]).tolist()) for i in range(60)}
    rows = {(0, 1), (1, 2), (2, 0)}
    assert found == rows | {(0, 0)}  # the column may be shifted out


def test_crop_is_a_window_of_the_padded_image():
    batch = images(40)
    found = np.asarray(crop(KEY, batch, padding=2)["x"])
    padded = np.pad(batch["x"], ((0, 0), (2, 2), (2, 2), (0, 0)))
    windows = {(r, c): padded[:, r : r + 5, c : c + 4] for r in range(5) for c in range(5)}
    places = [[place for place, window in windows.items() if (window[i] == found[i]).all()] for i in range(40)]
    assert all(places)
    assert len({place[0] for place in places}) > 10
    np.testing.assert_array_equal(crop(KEY, batch, padding=0)["x"], batch["x"])


def test_flip_is_numpys_and_twice_is_nothing():
    batch = images(40)
    found = np.asarray(flip(KEY, batch)["x"])
    mirrored = np.array([not (a == b).all() for a, b in zip(found, batch["x"], strict=True)])
    assert 10 < mirrored.sum() < 30
    np.testing.assert_array_equal(found[mirrored], batch["x"][mirrored][:, :, ::-1])
    np.testing.assert_array_equal(flip(KEY, {"x": found})["x"], batch["x"])


def test_flip_by_hand():
    found = {
        tuple(np.ravel(flip(jax.random.key(i), {"x": np.float32([[[[1], [2]]]])})["x"]).tolist()) for i in range(20)
    }
    assert found == {(1, 2), (2, 1)}


@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_cutout_blanks_a_square_around_a_pixel(size):
    batch = images(60)
    blank = np.asarray(cutout(KEY, batch, size=size)["x"]) == 0
    assert (blank == blank[..., :1]).all()
    expected = set()
    for row in range(5):
        for column in range(4):
            mask = np.zeros((5, 4), bool)
            top, left = row - size // 2, column - size // 2
            mask[max(0, top) : max(0, top + size), max(0, left) : max(0, left + size)] = True
            expected.add(mask.tobytes())
    found = {mask.tobytes() for mask in np.ascontiguousarray(blank[..., 0])}
    assert found <= expected
    assert len(found) > len(expected) / 2
    kept = ~blank
    np.testing.assert_array_equal(np.asarray(cutout(KEY, batch, size=size)["x"])[kept], batch["x"][kept])


def test_cutout_fills_with_what_is_asked_for():
    x = np.asarray(cutout(KEY, images(), size=1, fill=-7)["x"])
    assert ((x == -7).sum((1, 2, 3)) == 3).all()


def test_mixup_is_the_formula():
    batch = images(8)
    mixed = jax.device_get(mixup(KEY, batch, alpha=1.0, classes=3))
    one_hot = np.eye(3, dtype=np.float32)[batch["y"]]
    share_key, partner_key = jax.random.split(KEY)
    first, second = np.asarray(jax.random.loggamma(share_key, 1.0, (2,)), np.float64)
    lam = np.exp(first) / (np.exp(first) + np.exp(second))
    partners = np.asarray(jax.random.permutation(partner_key, 8))
    np.testing.assert_allclose(mixed["x"], lam * batch["x"] + (1 - lam) * batch["x"][partners], rtol=1e-5)
    np.testing.assert_allclose(mixed["y"], lam * one_hot + (1 - lam) * one_hot[partners], rtol=1e-5)
    np.testing.assert_allclose(mixed["y"].sum(1), 1, rtol=1e-6)
    assert sorted(partners) == list(range(8))
    assert 0.01 < lam < 0.99


def test_mixup_keeps_means_and_of_equal_examples_nothing_changes():
    batch = images(8)
    mixed = mixup(KEY, batch, classes=3)
    np.testing.assert_allclose(mixed["x"].mean(0), batch["x"].mean(0), rtol=1e-5)
    equal = {"x": np.ones((4, 2), np.float32), "y": np.full(4, 2.5, np.float32)}
    same = mixup(KEY, equal)
    np.testing.assert_allclose(same["x"], equal["x"], rtol=1e-6)
    np.testing.assert_allclose(same["y"], equal["y"], rtol=1e-6)


def test_mixup_with_a_share_of_one_is_the_identity(monkeypatch):
    monkeypatch.setattr(jax.random, "loggamma", lambda key, alpha, shape: jnp.float32([np.inf, 0]))
    mixed = mixup(KEY, images(), classes=3)
    np.testing.assert_array_equal(mixed["x"], images()["x"])
    np.testing.assert_array_equal(mixed["y"], np.eye(3)[images()["y"]])


def test_the_share_of_mixup_is_beta():
    pair = {"x": np.float32([[0], [1]]), "y": np.float32([0, 1])}
    shares = jax.vmap(lambda key: mixup(key, pair, alpha=2.0)["y"][1])(jax.random.split(KEY, 4000))
    # The partner is the other one or the same, so that λ is seen where it is not 1.
    seen = np.asarray(shares)[np.asarray(shares) < 1]
    assert abs(seen.mean() - 0.5) < 0.02
    assert abs(seen.var() - 1 / 20) < 0.005  # αβ / ((α + β)² (α + β + 1))


def test_cross_entropy_takes_mixed_labels():
    mixed = mixup(KEY, images(), classes=3)
    logits = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    expected = -(np.asarray(mixed["y"]) * jax.nn.log_softmax(logits)).sum(1)
    np.testing.assert_allclose(sx.losses.cross_entropy(logits, mixed), expected, rtol=1e-5)


def learner(**settings):
    network = sx.nn.MLP((8, 3), **settings)
    return sx.supervised(network, sx.losses.cross_entropy, optax.adam(0.01))


def test_training_sees_what_was_changed_and_measuring_does_not():
    plain, batch = learner(), images()
    double = augmented(plain, lambda key, batch: {**batch, "x": 2 * batch["x"]})
    state = plain.init(KEY, batch)
    after, _ = double.step(state, batch)
    expected, _ = plain.step(state, {**batch, "x": 2 * batch["x"]})
    jax.tree.map(np.testing.assert_array_equal, after.params, expected.params)
    assert (double.evaluate, double.predict) == (plain.evaluate, plain.predict)


def test_every_step_and_every_function_has_a_key_that_nobody_else_uses():
    keys = []

    def note(key, batch):
        keys.append(tuple(jax.random.key_data(key).tolist()))
        return batch

    noted = augmented(learner(dropout=0.5), note, note)
    state = noted.init(KEY, images())
    dropout = []
    for _ in range(3):
        step_key = sx.step_key(state)
        dropout += [tuple(jax.random.key_data(step_key).tolist())]
        dropout += [tuple(jax.random.key_data(jax.random.fold_in(step_key, part)).tolist()) for part in range(8)]
        state, _ = noted.step(state, images())
    assert len(set(keys)) == 6
    assert not set(keys) & set(dropout)
    assert NUMBER != 2**32 - 1  # which is that of ``evaluate``


def test_dropout_draws_what_it_draws_without_augmentation():
    batch = images()
    state = learner(dropout=0.5).init(KEY, batch)
    first, _ = learner(dropout=0.5).step(state, batch)
    second, _ = augmented(learner(dropout=0.5), lambda key, batch: batch).step(state, batch)
    jax.tree.map(np.testing.assert_array_equal, first.params, second.params)


def test_a_training_with_all_of_them_runs_and_goes_on_to_the_same_bits():
    built = augmented(learner(), *FUNCTIONS)
    source = sx.shuffled(images(), 4, KEY)
    state = jax.jit(built.init)(KEY, source.take(source.order(0), 0))

    def after(state, count, **cut):
        for now, _ in sx.epochs(built, source, state, **cut):
            if now.step == count:
                return jax.tree.map(jnp.copy, now)
        return None

    whole = after(state, 6)
    halves = after(after(state, 3, chunk=1), 6, chunk=1)
    jax.tree.map(np.testing.assert_array_equal, halves.params, whole.params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(whole.params))


def test_lanes_of_a_vmapped_step_augment_by_themselves():
    built = augmented(learner(), flip)
    states = jax.vmap(built.init, (0, None))(jax.random.split(KEY, 2), images())
    after, _ = jax.vmap(built.step, (0, None))(states, images())
    for lane in (0, 1):
        single, _ = built.step(jax.tree.map(lambda leaf, lane=lane: leaf[lane], states), images())
        for a, b in zip(jax.tree.leaves(after.params), jax.tree.leaves(single.params), strict=True):
            np.testing.assert_allclose(a[lane], b, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: crop(KEY, images(), padding=-1), ValueError, "padding: expected at least 0, got -1"),
        (lambda: crop(KEY, images(), padding=1.5), TypeError, "padding: expected a whole number"),
        (lambda: cutout(KEY, images(), size=0), ValueError, "size: expected at least 1, got 0"),
        (
            lambda: flip(KEY, {"x": np.zeros((2, 3))}),
            ValueError,
            r'batch\["x"\]: expected images .* got shape \[2, 3\]',
        ),
        (lambda: flip(KEY, {"y": 1}), ValueError, r"batch: expected a dict with 'x', got one with \['y'\]"),
        (lambda: flip(KEY, None), ValueError, "batch: expected a dict with 'x', got NoneType"),
        (lambda: mixup(KEY, images(), classes=3, alpha=0), ValueError, "alpha: expected a positive number, got 0"),
        (lambda: mixup(KEY, images()), ValueError, "classes: expected how many classes there are for a y of int32"),
        (
            lambda: mixup(KEY, {"x": np.ones(2), "y": np.ones(2)}, classes=2),
            ValueError,
            "classes: expected None for a y",
        ),
        (lambda: mixup(KEY, {"x": np.ones(2)}), ValueError, r"batch: expected a dict with 'y', got one with \['x'\]"),
        (lambda: augmented(sx.nn.MLP((2,)), flip), TypeError, "learner: expected a stepax.Learner"),
        (lambda: augmented(learner()), ValueError, "functions: expected at least one function"),
        (lambda: augmented(learner(), 3), TypeError, "functions: expected functions .* got 3"),
    ],
)
def test_what_makes_no_sense_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_population_belongs_outside():
    built = augmented(learner(), flip)
    states = jax.vmap(built.init, (0, None))(jax.random.split(KEY, 2), images())
    with pytest.raises(ValueError, match=r"write population\(augmented\(…\), size\)"):
        built.step(states._replace(step=jnp.int32(0)), images())
