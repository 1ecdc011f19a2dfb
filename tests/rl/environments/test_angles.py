"""Angles stay the same, and come within ±π."""

import math

import jax.numpy as jnp
import numpy as np

from stepax.rl.environments.angles import wrapped


def test_wrapped_by_hand():
    turned = wrapped(jnp.float32([0, 3, 4, -4, 7, 2 * math.pi - 3, 20 * math.pi + 1]))
    turn = 2 * math.pi
    np.testing.assert_allclose(turned, [0, 3, 4 - turn, turn - 4, 7 - turn, -3, 1], atol=1e-5)
