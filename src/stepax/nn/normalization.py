"""Batch normalisation."""

import math

import jax.numpy as jnp
from flax import linen
from jax import lax

from stepax.ops.rows import every_row, scale_rows, sum_of_products, sum_of_rows
from stepax.typing import Array

__all__ = ["BatchNorm"]


class BatchNorm(linen.Module):
    """Each channel to mean 0 and variance 1 over the batch, then to a learnt scale and mean.

    ``flax.linen.BatchNorm`` with the same parameters and statistics, on sums that are fast on every platform; its
    averages move faster, and its call takes ``train``.

    Attributes:
        momentum: How much of the running statistics stays at each step.
        epsilon: Added to the variance.
        use_running_average: Which statistics are used, whatever the call says; ``None``: as it says.

    Reference:
        Ioffe and Szegedy, Batch normalization, 2015, arXiv:1502.03167.
    """

    # Averages over some ten steps, as in PyTorch: a run of a few hundred must end with statistics of its own.
    momentum: float = 0.9
    epsilon: float = 1e-5
    use_running_average: bool | None = None

    @linen.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """From ``[batch, …, channels]`` to the same; statistics are the batch's if ``train``, else the running ones.

        Raises:
            ValueError: ``momentum`` is not in [0, 1], ``epsilon`` is negative, or ``x`` is a scalar.
        """
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum: expected a number in [0, 1], got {self.momentum}")
        if not self.epsilon >= 0:
            raise ValueError(f"epsilon: expected a number of at least 0, got {self.epsilon}")
        if x.ndim == 0:
            raise ValueError("x: expected the shape [batch, …, channels], got a scalar")
        width = x.shape[-1]
        means = self.variable("batch_stats", "mean", jnp.zeros, (width,), jnp.float32)
        variances = self.variable("batch_stats", "var", jnp.ones, (width,), jnp.float32)
        scale = self.param("scale", linen.initializers.ones_init(), (width,))
        bias = self.param("bias", linen.initializers.zeros_init(), (width,))
        leading = x.shape[:-1]
        count = math.prod(leading)
        # Half precision is too coarse for the statistics.
        exact = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        running = not train if self.use_running_average is None else self.use_running_average
        if not running:
            mean = sum_of_rows(exact) / count
            variance = jnp.maximum(sum_of_products(exact, exact) / count - mean * mean, 0)
            if not self.is_initializing():
                for average, new in ((means, mean), (variances, variance)):
                    moved = self.momentum * average.value + (1 - self.momentum) * new
                    average.value = moved.astype(average.value.dtype)
        else:
            mean, variance = means.value, variances.value
        factor = scale * lax.rsqrt(variance + self.epsilon)
        y = scale_rows(exact, factor) + every_row(bias - mean * factor, leading)
        return y.astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.floating) else y
