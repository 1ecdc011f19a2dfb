"""Primitives that are fast on every platform; they know no Flax."""

from stepax.ops.attention import attention, attention_weights
from stepax.ops.convolution import conv, conv_general_dilated
from stepax.ops.dense import dense
from stepax.ops.embedding import embed
from stepax.ops.pooling import average_pool, max_pool
from stepax.ops.recurrence import gru, lstm, rnn
from stepax.ops.saveable import products_saveable
from stepax.ops.upsampling import depth_to_space, space_to_depth, upsample

__all__ = [
    "attention",
    "attention_weights",
    "average_pool",
    "conv",
    "conv_general_dilated",
    "dense",
    "depth_to_space",
    "embed",
    "gru",
    "lstm",
    "max_pool",
    "products_saveable",
    "rnn",
    "space_to_depth",
    "upsample",
]
