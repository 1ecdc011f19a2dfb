"""Dropout whose rate may be a traced number, as in a sweep."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from stepax.typing import Array

__all__ = ["Dropout"]


class Dropout(linen.Module):
    """Sets a share of values to zero in training, and scales the others up so that the mean stays.

    The draws are those of ``flax.linen.Dropout``, which takes plain numbers only.

    Attributes:
        rate: The share, in [0, 1): a number, or a traced scalar.
        broadcast_dims: Axes along which values stay or go together.
        deterministic: Whether to leave the values as they are, as in inference.

    Reference:
        Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, JMLR 15, 2014.
    """

    rate: Any
    broadcast_dims: tuple[int, ...] = ()
    deterministic: bool = False

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Values of any shape; the result has the same."""
        if self.deterministic or not _is_on(self.rate):
            return x
        shape = [1 if axis in self.broadcast_dims else size for axis, size in enumerate(x.shape)]
        kept = jax.random.bernoulli(self.make_rng("dropout"), 1.0 - self.rate, shape)
        return jnp.where(kept, x / jnp.asarray(1.0 - self.rate, x.dtype), jnp.zeros_like(x))


def _is_on(rate: Any) -> bool:
    """Whether there is anything to drop; of a traced rate nobody knows."""
    return isinstance(rate, jax.core.Tracer) or rate > 0
