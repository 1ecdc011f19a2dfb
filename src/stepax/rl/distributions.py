"""Distributions of actions: trees of arrays with a batch in front, so that a network can return them."""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from stepax.typing import Array, Key

__all__ = ["Categorical", "Distribution", "Normal"]

LOG_TWO_PI = 1.8378770664093453


class Distribution(Protocol):
    """What a policy answers: one distribution for each observation."""

    def sample(self, key: Key) -> Array:
        """One action each."""

    def mode(self) -> Array:
        """The likeliest action of each."""

    def log_probability(self, action: Array) -> Array:
        """The logarithm of an action's probability, or of its density, ``[batch]``."""

    def entropy(self) -> Array:
        """In nats, ``[batch]``."""


class Categorical(NamedTuple):
    """One of ``n`` actions.

    Attributes:
        logits: ``[batch, n]``, of any sum.
    """

    logits: Array

    def sample(self, key: Key) -> Array:
        """Actions ``[batch]``, int32."""
        return jax.random.categorical(key, self.logits).astype(jnp.int32)

    def mode(self) -> Array:
        """Actions ``[batch]``, int32; the first of equally likely ones."""
        return self.logits.argmax(-1).astype(jnp.int32)

    def log_probability(self, action: Array) -> Array:
        """Of actions ``[batch]``: ``[batch]``."""
        # A product with ones and zeros: the gradient of a gather is a scatter, which XLA does one by one on a CPU.
        chosen = jax.nn.one_hot(action, self.logits.shape[-1], dtype=self.logits.dtype, axis=0)
        return (self._logs() * chosen).sum(0)

    def entropy(self) -> Array:
        """``[batch]``."""
        logs = self._logs()
        return -(jnp.exp(logs) * logs).sum(0)

    def _logs(self) -> Array:
        """Logarithms of all probabilities, ``[n, batch]``: what is added are whole rows then, and not pairs."""
        return jax.nn.log_softmax(self.logits.T, axis=0)


class Normal(NamedTuple):
    """Several real numbers, each normal and independent of the others.

    Attributes:
        mean: ``[batch, n]``.
        log_std: The logarithms of the standard deviations, ``[batch, n]``.
    """

    mean: Array
    log_std: Array

    def sample(self, key: Key) -> Array:
        """Actions ``[batch, n]``."""
        return self.mean + jnp.exp(self.log_std) * jax.random.normal(key, self.mean.shape, self.mean.dtype)

    def mode(self) -> Array:
        """The means, ``[batch, n]``."""
        return self.mean

    def log_probability(self, action: Array) -> Array:
        """Of actions ``[batch, n]``: ``[batch]``."""
        z = (action - self.mean) * jnp.exp(-self.log_std)
        return -(0.5 * z**2 + self.log_std + 0.5 * LOG_TWO_PI).sum(-1)

    def entropy(self) -> Array:
        """``[batch]``."""
        return (self.log_std + 0.5 * (1 + LOG_TWO_PI)).sum(-1)
