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
