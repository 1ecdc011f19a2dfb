"""The dense layer."""

from typing import Any

import jax.numpy as jnp
from flax import linen

from stepax.checks import check_count
from stepax.ops.dense import dense
from stepax.typing import Array

__all__ = ["Dense"]


class Dense(linen.Module):
    """``x W + b`` over the last axis: ``flax.linen.Dense`` on :func:`stepax.ops.dense`, with the same parameters.

    Attributes:
        features: The output's width.
        use_bias: Whether there is a ``b``.
        kernel_init: Draws the weights.
        bias_init: Draws the biases.
    """

    features: int
    use_bias: bool = True
    kernel_init: Any = linen.initializers.lecun_normal()
    bias_init: Any = linen.initializers.zeros_init()

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """From ``[…, inputs]`` to ``[…, features]``.

        Raises:
            TypeError: ``features`` is no whole number.
            ValueError: ``features`` is below 1, or ``x`` has no inputs.
        """
        check_count("features", self.features)
        # Weights of no inputs cannot be drawn; the product alone, ops.dense, takes them.
        if x.ndim == 0 or x.shape[-1] == 0:
            raise ValueError(f"x: expected the shape […, inputs] with at least one input, got {jnp.shape(x)}")
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", self.bias_init, (self.features,)) if self.use_bias else None
        x, kernel, bias = linen.dtypes.promote_dtype(x, kernel, bias)
        return dense(x, kernel, bias)
