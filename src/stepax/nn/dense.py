"""The dense layer."""

from typing import Any

from flax import linen

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
        """From ``[…, inputs]`` to ``[…, features]``."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", self.bias_init, (self.features,)) if self.use_bias else None
        x, kernel, bias = linen.dtypes.promote_dtype(x, kernel, bias)
        return dense(x, kernel, bias)
