"""Activation functions: those of ``jax.nn`` under one roof, and maxout."""

import jax.numpy as jnp
from jax.nn import elu, leaky_relu, relu, sigmoid, softmax, tanh

from stepax.checks import check_count
from stepax.typing import Array

__all__ = ["elu", "leaky_relu", "maxout", "relu", "sigmoid", "softmax", "tanh"]


def maxout(x: Array, pieces: int = 2) -> Array:
    r"""Maxout: the largest of every group of ``pieces`` neighbouring features, :math:`h_i = \max_{j < p} x_{ip + j}`.

    A linear layer before it learns the pieces, so that the unit is any convex, piecewise linear function of its input.

    Args:
        x: ``[…, width]``, with a width that ``pieces`` divides.
        pieces: The features in a group.

    Returns:
        ``[…, width / pieces]``.

    Raises:
        TypeError: ``pieces`` is no whole number.
        ValueError: ``pieces`` is not positive, or does not divide the width.

    Reference:
        Goodfellow, Warde-Farley, Mirza, Courville and Bengio, "Maxout Networks", 2013, arXiv:1302.4389.

    >>> import jax.numpy as jnp
    >>> print(maxout(jnp.array([1.0, 3.0, -2.0, -5.0])))
    [ 3. -2.]
    """
    check_count("pieces", pieces)
    if x.ndim == 0 or x.shape[-1] % pieces:
        raise ValueError(f"x: expected a last axis that pieces={pieces} divides, got the shape {jnp.shape(x)}")
    return x.reshape(*x.shape[:-1], x.shape[-1] // pieces, pieces).max(axis=-1)
