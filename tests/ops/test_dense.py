"""``x W + b`` in values, derivatives and messages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from stepax.ops import dense


@pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
def test_equals_the_formula(leading, x64):
    random = np.random.default_rng(0)
    x, kernel, bias = random.normal(size=(*leading, 5)), random.normal(size=(5, 7)), random.normal(size=7)
    np.testing.assert_allclose(dense(x, kernel, bias), x @ kernel + bias, 1e-12)
    np.testing.assert_allclose(dense(x, kernel), x @ kernel, 1e-12)
    check_grads(lambda *a: jnp.sin(dense(*a)), (x, kernel, bias), order=2, modes=["fwd", "rev"])


def test_the_biases_gradient_is_the_sum_over_all_leading_axes(x64):
    g = np.random.default_rng(0).normal(size=(62, 3, 4))
    x = jnp.ones((62, 3, 2))
    gradient = jax.grad(lambda b: (dense(x, jnp.ones((2, 4)), b) * g).sum())(jnp.zeros(4))
    np.testing.assert_allclose(gradient, g.sum((0, 1)), 1e-12)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            ((2, 3), (4, 5), (5,)),
            r"kernel: expected .* for x of shape \(2, 3\), got \(4, 5\)",
        ),
        (((2, 3), (3,), (5,)), "kernel: expected"),
        (((2, 3), (3, 5), (3,)), r"bias: expected the shape \(5,\), got \(3,\)"),
    ],
)
def test_bad_shapes_name_the_argument(shapes, message):
    with pytest.raises(ValueError, match=message):
        dense(*(jnp.zeros(shape) for shape in shapes))
