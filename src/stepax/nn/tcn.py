"""The temporal convolutional network."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from stepax.checks import check_count, check_dropout, check_function
from stepax.nn.dropout import Dropout
from stepax.nn.widths import check_widths
from stepax.ops.convolution import conv
from stepax.typing import Array, Key

__all__ = ["TCN", "receptive_field"]


def receptive_field(kernel: int, levels: int) -> int:
    """How many steps, itself included, an output of a :class:`TCN` sees: ``1 + 2 (kernel − 1) (2^levels − 1)``.

    Args:
        kernel: The window of every convolution.
        levels: How many blocks.

    Raises:
        TypeError: A number is not whole.
        ValueError: ``kernel`` is below 1 or ``levels`` negative.

    >>> receptive_field(kernel=3, levels=4)
    61
    """
    check_count("kernel", kernel)
    check_count("levels", levels, 0)
    return 1 + 2 * (kernel - 1) * (2**levels - 1)


class TCN(linen.Module):
    """Residual blocks of two dilated causal convolutions each; the dilation doubles with every block.

    No output sees a later input.

    Attributes:
        features: Channels of the blocks, one number per block.
        kernel: The window of every convolution.
        activation: The non-linearity.
        dropout: The fraction of channels set to zero in training, after every convolution.
        normalize: Whether weights are normalised: each filter is a direction and a length of its own.
        kernel_init: Draws the weights.

    Reference:
        Bai, Kolter and Koltun, An empirical evaluation of generic convolutional and recurrent networks for sequence
        modeling, 2018, arXiv:1803.01271; Salimans and Kingma, Weight normalization, 2016, arXiv:1602.07868.
    """

    features: Sequence[int]
    kernel: int = 3
    activation: Callable[[Array], Array] = jax.nn.relu
    dropout: float = 0.0
    normalize: bool = True
    kernel_init: Any = linen.initializers.he_normal()

    def __call__(self, x: Array, train: bool = False) -> Array:
        """From ``[batch, time, channels]`` to ``[batch, time, features[-1]]``.

        Raises:
            TypeError: ``features`` or ``kernel`` are no whole numbers, or ``activation`` is no function.
            ValueError: There are no features, a number is below 1, ``dropout`` is not in [0, 1), or ``x`` has other
                axes.
        """
        return self._levels(x, train, last=False)

    def last(self, x: Array, train: bool = False) -> Array:
        """The output of the last step alone, ``[batch, features[-1]]``: what ``module(x, train)[:, -1]`` is, for less.

        A block passes on every second step of those it got, since the blocks above look at no other: of ``k`` blocks
        some 3 / (2 k) of the products remain, and none is dilated. Parameters and draws of dropout are those of all
        steps. ``module.apply(variables, x, method="last")``; in a module around it ``body.last(x)``.

        Args:
            x: The sequences, ``[batch, time, channels]``.
            train: Whether dropout is on.

        Raises:
            TypeError: As in a call.
            ValueError: As in a call, or there are no steps.
        """
        if x.ndim == 3 and x.shape[1] == 0:
            raise ValueError(f"x: expected sequences with at least one step, got the shape {jnp.shape(x)}")
        return self._levels(x, train, last=True)[:, -1]

    @linen.compact
    def _levels(self, x: Array, train: bool, last: bool) -> Array:
        """All blocks. If only the ``last`` step is wanted, the steps it sees are all that a block gets."""
        check_dropout(self.dropout)
        check_function("activation", self.activation)
        check_count("kernel", self.kernel)
        features = check_widths("features", self.features)
        if not features:
            raise ValueError("features: expected the channels of one block at least, such as (64,), got none")
        if x.ndim != 3 or x.shape[2] == 0:
            raise ValueError(
                "x: expected sequences of shape [batch, time, channels] with at least one channel, got the shape "
                f"{jnp.shape(x)}"
            )
        if last:
            x = x[:, -receptive_field(self.kernel, len(features)) :]
        for level, width in enumerate(features):
            # The steps that are left lie side by side, where among all steps they are this far apart.
            dilation = 1 if last else 2**level
            h = x
            for i in range(2):
                strides = 2 if last and i == 1 else 1
                h = self._convolution(h, width, self.kernel, dilation, f"conv_{level}_{i}", self.normalize, strides)
                h = self.activation(h)
                name = f"dropout_{level}_{i}"
                h = Dropout(self.dropout, broadcast_dims=(1,), deterministic=not train, name=name)(h)
            if last:
                x = x[:, (x.shape[1] - 1) % 2 :: 2]
            if x.shape[-1] != width:
                x = self._convolution(x, width, 1, 1, f"skip_{level}", False)
            x = self.activation(x + h)
        return x

    def _convolution(
        self, x: Array, width: int, window: int, dilation: int, name: str, normalize: bool, strides: int = 1
    ) -> Array:
        """No output sees a later input; the last window ends with the last step, whatever the strides."""
        shape = window, x.shape[-1], width
        kernel = self.param(f"{name}_kernel", self.kernel_init, shape)
        bias = self.param(f"{name}_bias", linen.initializers.zeros_init(), (width,))
        if normalize:

            def lengths(key: Key) -> Array:
                return _length(kernel)[0, 0]

            scale = self.param(f"{name}_scale", lengths)
            kernel = kernel * (scale[None, None] / _length(kernel))
        before = dilation * (window - 1) - (x.shape[1] - 1) % strides
        return conv(x, kernel, strides=strides, padding=((before, 0),), dilation=dilation) + bias[None, None]


def _length(kernel: Array) -> Array:
    """Every filter's Euclidean length, ``[1, 1, features]``."""
    return jnp.sqrt(jnp.square(kernel).sum((0, 1), keepdims=True))
