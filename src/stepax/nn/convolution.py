"""The convolutional layer."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen

from stepax.checks import check_count
from stepax.ops.convolution import conv
from stepax.ops.rows import every_row
from stepax.ops.sizes import each
from stepax.typing import Array

__all__ = ["Conv"]


class Conv(linen.Module):
    """``flax.linen.Conv`` on :func:`stepax.ops.conv`, with the same parameters.

    Attributes:
        features: Channels of the output.
        kernel_size: The window, one number or one per axis of space (one or two; a number means one axis to Flax).
        strides: The distance between its places, one number or one per axis.
        padding: ``"SAME"``, ``"VALID"``, ``"CAUSAL"`` (one axis), ``"CIRCULAR"``, ``"REFLECT"``, a number for all ends,
            or one number or (low, high) pair per axis.
        dilation: The distance between the kernel's elements, one number or one per axis.
        groups: In how many groups channels and features are divided.
        use_bias: Whether a bias is added.
        kernel_init: Draws the weights.
        bias_init: Draws the biases.
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] = 1
    padding: Any = "SAME"
    dilation: int | Sequence[int] = 1
    groups: int = 1
    use_bias: bool = True
    kernel_init: Any = linen.initializers.lecun_normal()
    bias_init: Any = linen.initializers.zeros_init()

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """From ``[batch, *space, channels]`` to ``[batch, *space after, features]``.

        Raises:
            TypeError: Features, window, strides, padding, dilation or groups are no whole numbers.
            ValueError: They are too small or too many, or do not fit ``x`` and each other.
        """
        check_count("features", self.features)
        # Weights of no channels cannot be drawn; the convolution alone, ops.conv, takes them.
        if x.ndim not in (3, 4) or x.shape[-1] == 0:
            raise ValueError(
                "x: expected [batch, *space, channels] with one or two axes of space and at least one channel, got "
                f"the shape {jnp.shape(x)}"
            )
        window, groups, channels = each("kernel_size", self.kernel_size, x.ndim - 2), self.groups, x.shape[-1]
        check_count("groups", groups)
        if channels % groups or self.features % groups:
            raise ValueError(f"groups: {groups} groups do not divide {channels} channels and {self.features} features")
        shape = *window, channels // groups, self.features
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", self.bias_init, (self.features,)) if self.use_bias else None
        x, kernel, bias = linen.dtypes.promote_dtype(x, kernel, bias)
        y = conv(x, kernel, strides=self.strides, padding=self.padding, dilation=self.dilation, groups=groups)
        return y if bias is None else y + every_row(bias, y.shape[:-1])
