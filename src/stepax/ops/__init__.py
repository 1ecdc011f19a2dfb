"""Primitives that are fast on every platform; they know no Flax."""

from stepax.ops.convolution import conv_general_dilated
from stepax.ops.pooling import average_pool, max_pool

__all__ = ["average_pool", "conv_general_dilated", "max_pool"]
