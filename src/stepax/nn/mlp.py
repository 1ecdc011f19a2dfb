"""The multi-layer perceptron."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import linen

from stepax.checks import check_dropout, check_function
from stepax.nn.dense import Dense
from stepax.nn.dropout import Dropout
from stepax.nn.normalization import BatchNorm
from stepax.nn.widths import check_widths
from stepax.typing import Array

__all__ = ["MLP"]


class MLP(linen.Module):
    r"""Dense layers with a non-linearity between them: :math:`h_{l+1} = \phi(h_l W_l + b_l)`, the last one linear.

    Attributes:
        features: Every layer's width, from the first hidden layer to the output: 784-128-64-10 is ``MLP((128, 64,
            10))`` on 784 inputs.
        activation: The non-linearity :math:`\phi`. One that narrows its input, such as maxout, may be used.
        dropout: The fraction of each hidden layer's values set to zero in training, in [0, 1).
        normalize: Whether each hidden layer is batch-normalised before its activation.
        kernel_init: Draws the weights.
        bias_init: Draws the biases.

    Reference:
        Rumelhart, Hinton and Williams, Learning representations by back-propagating errors, Nature 323, 1986.
    """

    features: Sequence[int]
    activation: Callable[[Array], Array] = jax.nn.relu
    dropout: float = 0.0
    normalize: bool = False
    kernel_init: Any = linen.initializers.lecun_normal()
    bias_init: Any = linen.initializers.zeros_init()

    @linen.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """From ``[batch, …]`` (flattened) to ``[batch, features[-1]]``.

        Raises:
            TypeError: ``features`` are no whole numbers, or ``activation`` is no function.
            ValueError: There are none, one is below 1, ``dropout`` is not in [0, 1), or ``x`` is a scalar.
        """
        check_dropout(self.dropout)
        check_function("activation", self.activation)
        features = check_widths("features", self.features)
        if not features:
            raise ValueError("features: expected the output's width at least, such as (10,), got none")
        if x.ndim == 0:
            raise ValueError("x: expected the shape [batch, …], got a scalar")
        x = x.reshape(x.shape[0], math.prod(x.shape[1:]))
        *hidden, last = features
        for i, width in enumerate(hidden):
            x = Dense(width, kernel_init=self.kernel_init, bias_init=self.bias_init, name=f"dense_{i}")(x)
            if self.normalize:
                x = BatchNorm(name=f"norm_{i}")(x, train)
            x = self.activation(x)
            x = Dropout(self.dropout, deterministic=not train, name=f"dropout_{i}")(x)
        return Dense(last, kernel_init=self.kernel_init, bias_init=self.bias_init, name="head")(x)
