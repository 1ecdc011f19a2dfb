"""What ``jax.checkpoint`` keeps: the results of products, ours among them."""

from typing import Any

import jax

from stepax.ops.convolution import conv_p, kernel_gradient_p
from stepax.ops.dense import product_p

__all__ = ["products_saveable"]

PRODUCTS = (conv_p, kernel_gradient_p, product_p)


def products_saveable(primitive: Any, *arguments: Any, **settings: Any) -> bool:
    """``jax.checkpoint_policies.dots_saveable`` for a network that also uses :mod:`stepax.ops`.

    With it, the backward pass finds the results of all matrix products and convolutions, and computes the rest again.

    Args:
        primitive: What is computed, as JAX asks.
        arguments: Its operands, as JAX describes them.
        settings: Its parameters.

    Returns:
        Whether the result is kept.

    >>> import jax.numpy as jnp
    >>> layer = jax.checkpoint(lambda w: jnp.sin(jnp.ones((2, 3)) @ w), policy=products_saveable)
    """
    return primitive in PRODUCTS or bool(jax.checkpoint_policies.dots_saveable(primitive, *arguments, **settings))
