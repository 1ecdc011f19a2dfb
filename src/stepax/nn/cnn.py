"""The convolutional network for images."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import linen

from stepax.checks import check_dropout
from stepax.nn.convolution import Conv
from stepax.nn.dense import Dense
from stepax.nn.normalization import BatchNorm
from stepax.ops.pooling import max_pool
from stepax.typing import Array

__all__ = ["CNN"]


class CNN(linen.Module):
    r"""Convolutions with a non-linearity, pooling between them, then dense layers.

    Each entry of ``features`` is one stage: a number is one convolution, a sequence of numbers several; pooling follows
    every stage.

    Attributes:
        features: Channels of the convolutions, by stage: ``(32, 64)``, or ``((32, 32), (64, 64))`` for two convolutions
            before each pooling.
        dense: Widths of the dense layers before the output.
        classes: The output's width: one logit per class (1 for a single number).
        kernel: The window of every convolution.
        strides: The distance between its places.
        padding: ``"SAME"``, ``"VALID"``, or a (low, high) pair per axis.
        pool: ``(x, window) -> y``, such as :func:`stepax.ops.max_pool` or :func:`stepax.ops.average_pool`; ``None`` for
            no pooling.
        window: The pooling window, also its stride.
        activation: The non-linearity.
        normalize: Whether each convolution and hidden dense layer is batch-normalised before its activation.
        dropout: The fraction of values set to zero in training, in [0, 1): after every stage (whole channels, halved)
            and after hidden dense layers.

    Reference:
        LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition, Proceedings of the
        IEEE 86, 1998.
    """

    features: Sequence[int | Sequence[int]] = (32, 64)
    dense: Sequence[int] = (256,)
    classes: int = 10
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    padding: Any = "SAME"
    pool: Callable[[Array, tuple[int, int]], Array] | None = max_pool
    window: tuple[int, int] = (2, 2)
    activation: Callable[[Array], Array] = jax.nn.relu
    normalize: bool = False
    dropout: float = 0.0

    @linen.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """From images ``[batch, height, width, channels]`` to ``[batch, classes]``."""
        check_dropout(self.dropout)
        if x.ndim != 4:
            raise ValueError(f"x: expected images of shape [batch, height, width, channels], got the shape {x.shape}")
        for stage, widths in enumerate(self.features):
            for i, width in enumerate([widths] if isinstance(widths, int) else widths):
                x = self._convolution(x, width, f"{stage}" if isinstance(widths, int) else f"{stage}_{i}", train)
            if self.pool is not None:
                x = self.pool(x, self.window)
            if self.dropout:
                x = linen.Dropout(
                    self.dropout / 2, broadcast_dims=(1, 2), deterministic=not train, name=f"dropout_{stage}"
                )(x)
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.dense):
            x = Dense(width, use_bias=not self.normalize, name=f"dense_{i}")(x)
            x = self._activated(x, f"dense_norm_{i}", train)
            if self.dropout:
                x = linen.Dropout(self.dropout, deterministic=not train, name=f"dense_dropout_{i}")(x)
        return Dense(self.classes, name="head")(x)

    def _convolution(self, x: Array, width: int, name: str, train: bool) -> Array:
        convolution = Conv(
            width, self.kernel, self.strides, self.padding, use_bias=not self.normalize, name=f"conv_{name}"
        )
        return self._activated(convolution(x), f"norm_{name}", train)

    def _activated(self, x: Array, name: str, train: bool) -> Array:
        if self.normalize:
            x = BatchNorm(name=name)(x, train)
        return self.activation(x)
