"""The convolutional layer is Flax's."""

import jax
import numpy as np
import pytest
from flax import linen

import stepax as sx

SEQUENCES = np.random.default_rng(0).normal(size=(2, 7, 4)).astype(np.float32)
IMAGES = np.random.default_rng(0).normal(size=(2, 6, 5, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("x", "kernel", "settings"),
    [
        (SEQUENCES, (3,), {}),
        (SEQUENCES, (2,), {"padding": "CAUSAL", "kernel_dilation": 2}),
        (IMAGES, (3, 2), {"strides": 2, "padding": "VALID"}),
        (IMAGES, (3, 4), {"strides": 2, "padding": "CIRCULAR"}),
        (IMAGES, (2, 3), {"padding": "REFLECT", "kernel_dilation": 2}),
        (IMAGES, (3, 3), {"feature_group_count": 4, "use_bias": False}),
        (IMAGES, (2, 2), {"strides": (1, 2), "padding": ((1, 0), (0, 2)), "feature_group_count": 2}),
    ],
)
def test_same_parameters_and_output_as_flax(x, kernel, settings):
    flax = linen.Conv(8, kernel, bias_init=linen.initializers.normal(), **settings)
    names = {"kernel_dilation": "dilation", "feature_group_count": "groups"}
    renamed = {names.get(name, name): value for name, value in settings.items()}
    ours = sx.nn.Conv(8, kernel, bias_init=linen.initializers.normal(), **renamed)
    params = ours.init(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, params, flax.init(jax.random.key(0), x))
    np.testing.assert_allclose(ours.apply(params, x), flax.apply(params, x), 1e-4, 1e-5)


def test_groups_that_do_not_divide_are_named():
    with pytest.raises(ValueError, match="groups: 3 groups do not divide 4 channels"):
        sx.nn.Conv(6, (3,), groups=3).init(jax.random.key(0), SEQUENCES)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"features": 0}, ValueError, "features: expected at least 1, got 0"),
        ({"features": 1.5}, TypeError, "features: expected a whole number"),
        ({"kernel_size": (3, 3)}, ValueError, r"kernel_size: expected .* axis of space \(1\), got \(3, 3\)"),
        ({"kernel_size": 0}, ValueError, "kernel_size: expected a whole number of at least 1"),
        ({"kernel_size": 1.5}, TypeError, "kernel_size: expected a whole number"),
        ({"groups": 0}, ValueError, "groups: expected at least 1, got 0"),
        ({"strides": 1.5}, TypeError, "strides: expected a whole number"),
        ({"dilation": 0}, ValueError, "dilation: expected a whole number of at least 1"),
        ({"padding": (1, 1)}, ValueError, "padding: expected one of 'SAME', 'VALID', 'CAUSAL', 'CIRCULAR', "),
    ],
    ids=str,
)
def test_settings_that_make_no_layer_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        sx.nn.Conv(**{"features": 4, "kernel_size": (3,), **settings}).init(jax.random.key(0), SEQUENCES)


@pytest.mark.parametrize("x", [SEQUENCES[0], SEQUENCES[..., :0], SEQUENCES[:, None, None]])
def test_an_input_without_space_or_channels_is_refused(x):
    with pytest.raises(ValueError, match=r"x: expected \[batch, \*space, channels\] with one or two axes of space"):
        sx.nn.Conv(4, 3).init(jax.random.key(0), x)


@pytest.mark.parametrize("padding", [1, (1, 2), ((1, 0), 2)])
def test_numbers_of_padding_are_taken_as_by_flax(padding):
    ours, flax = sx.nn.Conv(3, (3, 2), np.int64(2), padding), linen.Conv(3, (3, 2), 2, padding)
    params = ours.init(jax.random.key(0), IMAGES)
    np.testing.assert_allclose(ours.apply(params, IMAGES), flax.apply(params, IMAGES), 1e-4, 1e-5)


def test_one_number_is_the_window_along_every_axis():
    pair = sx.nn.Conv(4, (3, 3))
    params = pair.init(jax.random.key(0), IMAGES)
    np.testing.assert_array_equal(sx.nn.Conv(4, 3).apply(params, IMAGES), pair.apply(params, IMAGES))


@pytest.mark.parametrize(("shape", "features"), [((0, 7, 4), 8), ((2, 0, 4), 8)], ids=str)
def test_what_is_empty_is_so_for_flax_too(shape, features):
    x = np.zeros(shape, np.float32)
    ours, flax = sx.nn.Conv(features, (3,)), linen.Conv(features, (3,))
    params = ours.init(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, params, flax.init(jax.random.key(0), x))
    found, wanted = (jax.value_and_grad(lambda p, m=m: m.apply(p, x).sum())(params) for m in (ours, flax))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), found, wanted)
