"""The convolutional layer."""

from collections.abc import Sequence
from typing import Any

from flax import linen

from stepax.ops.convolution import conv
from stepax.ops.rows import every_row
from stepax.typing import Array

__all__ = ["Conv"]


class Conv(linen.Module):
    """``flax.linen.Conv`` on :func:`stepax.ops.conv`, with the same parameters.

    Attributes:
        features: Channels of the output.
        kernel_size: The window, one number per axis of space (one or two).
        strides: The distance between its places, one number or one per axis.
        padding: ``"SAME"``, ``"VALID"``, ``"CAUSAL"`` (one axis), or a (low, high) pair per axis.
        dilation: The distance between the kernel's elements, one number or one per axis.
        groups: In how many groups channels and features are divided.
        use_bias: Whether a bias is added.
        kernel_init: Draws the weights.
        bias_init: Draws the biases.
    """

    features: int
    kernel_size: Sequence[int]
    strides: int | Sequence[int] = 1
    padding: Any = "SAME"
    dilation: int | Sequence[int] = 1
    groups: int = 1
    use_bias: bool = True
    kernel_init: Any = linen.initializers.lecun_normal()
    bias_init: Any = linen.initializers.zeros_init()

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """From ``[batch, *space, channels]`` to ``[batch, *space after, features]``."""
        if x.shape[-1] % self.groups:
            raise ValueError(f"groups: {self.groups} groups do not divide {x.shape[-1]} channels")
        shape = *self.kernel_size, x.shape[-1] // self.groups, self.features
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", self.bias_init, (self.features,)) if self.use_bias else None
        x, kernel, bias = linen.dtypes.promote_dtype(x, kernel, bias)
        y = conv(x, kernel, strides=self.strides, padding=self.padding, dilation=self.dilation, groups=self.groups)
        return y if bias is None else y + every_row(bias, y.shape[:-1])
