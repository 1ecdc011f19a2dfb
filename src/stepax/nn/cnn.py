"""The convolutional network for images."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
from flax import linen

from stepax.checks import check_count, check_dropout, check_function
from stepax.nn.convolution import Conv
from stepax.nn.dense import Dense
from stepax.nn.dropout import Dropout
from stepax.nn.normalization import BatchNorm
from stepax.nn.widths import check_widths
from stepax.ops.pooling import max_pool
from stepax.ops.sizes import each
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
        kernel: The window of every convolution, one number or one per axis.
        strides: The distance between its places, one number or one per axis.
        padding: ``"SAME"``, ``"VALID"``, ``"CIRCULAR"``, ``"REFLECT"``, a number for all ends, or one number or (low,
            high) pair per axis.
        pool: ``(x, window) -> y``, such as :func:`stepax.ops.max_pool` or :func:`stepax.ops.average_pool`; ``None`` for
            no pooling.
        window: The pooling window, also its stride, one number or one per axis.
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
    kernel: int | tuple[int, int] = (3, 3)
    strides: int | tuple[int, int] = (1, 1)
    padding: Any = "SAME"
    pool: Callable[[Array, tuple[int, int]], Array] | None = max_pool
    window: int | tuple[int, int] = (2, 2)
    activation: Callable[[Array], Array] = jax.nn.relu
    normalize: bool = False
    dropout: float = 0.0

    @linen.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """From images ``[batch, height, width, channels]`` to ``[batch, classes]``.

        Raises:
            TypeError: A width, a window or strides are no whole numbers, or ``activation`` is no function.
            ValueError: They are too small or do not fit the images, or ``dropout`` is not in [0, 1).
        """
        check_dropout(self.dropout)
        check_function("activation", self.activation)
        check_count("classes", self.classes)
        dense, kernel = check_widths("dense", self.dense), each("kernel", self.kernel, 2)
        if x.ndim != 4:
            raise ValueError(f"x: expected images of shape [batch, height, width, channels], got the shape {x.shape}")
        for stage, convolutions in enumerate(self._stages()):
            for name, width in convolutions:
                x = Conv(width, kernel, self.strides, self.padding, use_bias=not self.normalize, name=f"conv_{name}")(x)
                x = self._normalized(x, f"norm_{name}", train)
                x = self._pooled(x, self.pool) if self.pool and name == convolutions[-1][0] else self.activation(x)
            x = Dropout(self.dropout / 2, broadcast_dims=(1, 2), deterministic=not train, name=f"dropout_{stage}")(x)
        x = x.reshape(x.shape[0], math.prod(x.shape[1:]))
        for i, width in enumerate(dense):
            x = Dense(width, use_bias=not self.normalize, name=f"dense_{i}")(x)
            x = self.activation(self._normalized(x, f"dense_norm_{i}", train))
            x = Dropout(self.dropout, deterministic=not train, name=f"dense_dropout_{i}")(x)
        return Dense(self.classes, name="head")(x)

    def _stages(self) -> list[list[tuple[str, int]]]:
        """The convolutions before each pooling, each with its name and width."""
        features: Any = self.features
        if isinstance(features, str) or not isinstance(features, Iterable):
            raise TypeError(f"features: expected a sequence such as (32, 64), got {features!r}")
        stages = []
        for stage, widths in enumerate(features):
            if isinstance(widths, Iterable):
                several = check_widths(f"features[{stage}]", widths)
                stages.append([(f"{stage}_{i}", width) for i, width in enumerate(several)])
            else:
                check_count(f"features[{stage}]", widths)
                stages.append([(f"{stage}", widths)])
        return stages

    def _normalized(self, x: Array, name: str, train: bool) -> Array:
        return BatchNorm(name=name)(x, train) if self.normalize else x

    def _pooled(self, x: Array, pool: Callable[[Array, tuple[int, int]], Array]) -> Array:
        """The pooled activations; of what rises with its argument, those of the largest arguments alone."""
        window: Any = each("window", self.window, 2)
        if pool is max_pool and self.activation in RISING:
            return self.activation(pool(x, window))
        return pool(self.activation(x), window)
