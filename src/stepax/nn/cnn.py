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

# Activations that never fall as their argument rises.
RISING = (jax.nn.relu, jax.nn.leaky_relu, jax.nn.elu, jax.nn.sigmoid, jax.nn.softplus, jax.nn.tanh)


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
            names = [f"{stage}"] if isinstance(widths, int) else [f"{stage}_{i}" for i in range(len(widths))]
            for name, width in zip(names, [widths] if isinstance(widths, int) else widths, strict=True):
                x = Conv(
                    width, self.kernel, self.strides, self.padding, use_bias=not self.normalize, name=f"conv_{name}"
                )(x)
                x = self._normalized(x, f"norm_{name}", train)
                x = self._pooled(x, self.pool) if self.pool and name == names[-1] else self.activation(x)
            if self.dropout:
                x = linen.Dropout(
                    self.dropout / 2, broadcast_dims=(1, 2), deterministic=not train, name=f"dropout_{stage}"
                )(x)
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.dense):
            x = Dense(width, use_bias=not self.normalize, name=f"dense_{i}")(x)
            x = self.activation(self._normalized(x, f"dense_norm_{i}", train))
            if self.dropout:
                x = linen.Dropout(self.dropout, deterministic=not train, name=f"dense_dropout_{i}")(x)
        return Dense(self.classes, name="head")(x)

    def _normalized(self, x: Array, name: str, train: bool) -> Array:
        return BatchNorm(name=name)(x, train) if self.normalize else x

    def _pooled(self, x: Array, pool: Callable[[Array, tuple[int, int]], Array]) -> Array:
        """The pooled activations; of what rises with its argument, those of the largest arguments alone."""
        if pool is max_pool and self.activation in RISING:
            return self.activation(pool(x, self.window))
        return pool(self.activation(x), self.window)
