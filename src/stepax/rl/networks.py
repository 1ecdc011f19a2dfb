"""Networks of agents: policies, values, and both as one module."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from stepax import nn
from stepax.rl.distributions import Categorical, Distribution, Normal
from stepax.typing import Array

__all__ = ["ActionValues", "ActorCritic", "CategoricalPolicy", "Dueling", "NormalPolicy", "Value"]


def orthogonal(scale: float) -> Callable[..., Array]:
    """Draws kernels whose columns (or rows) are orthogonal, of length ``scale``; one after the other under vmap."""
    draw = linen.initializers.orthogonal(scale)

    def init(key: Any, shape: Any, dtype: Any = jnp.float32) -> Array:
        # LAPACK's batches wait for threads of the pool that they run in: several at once, as the kernels of many agents
        # are, wait for ever where there are only two.
        return jax.custom_batching.sequential_vmap(lambda key: draw(key, shape, dtype))(key)

    return init


class _Body(linen.Module):
    """Dense layers with a small last one, so that a policy begins near to indifference."""

    features: Sequence[int]
    outputs: int
    activation: Callable[[Array], Array]
    last: float

    @linen.compact
    def __call__(self, x: Array) -> Array:
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.features):
            x = self.activation(nn.Dense(width, kernel_init=orthogonal(2**0.5), name=f"dense_{i}")(x))
        return nn.Dense(self.outputs, kernel_init=orthogonal(self.last), name="out")(x)


class CategoricalPolicy(linen.Module):
    """One of several actions.

    Attributes:
        actions: How many there are.
        features: The widths of the hidden layers.
        activation: Between layers.
    """

    actions: int
    features: Sequence[int] = (64, 64)
    activation: Callable[[Array], Array] = jnp.tanh

    @linen.compact
    def __call__(self, x: Array) -> Categorical:
        """From observations ``[batch, …]`` to a distribution over the actions for each."""
        return Categorical(_Body(self.features, self.actions, self.activation, 0.01, name="body")(x))


class NormalPolicy(linen.Module):
    """Real numbers whose spread is learnt, and is the same everywhere.

    Attributes:
        actions: How many numbers an action has.
        features: The widths of the hidden layers.
        activation: Between layers.
        log_std: The logarithm of the standard deviation before training.
    """

    actions: int
    features: Sequence[int] = (64, 64)
    activation: Callable[[Array], Array] = jnp.tanh
    log_std: float = 0.0

    @linen.compact
    def __call__(self, x: Array) -> Normal:
        """From observations ``[batch, …]`` to a distribution for each."""
        mean = _Body(self.features, self.actions, self.activation, 0.01, name="body")(x)
        log_std = self.param("log_std", linen.initializers.constant(self.log_std), (self.actions,))
        return Normal(mean, jnp.broadcast_to(log_std[None], mean.shape))


class Value(linen.Module):
    """The value of an observation.

    Attributes:
        features: The widths of the hidden layers.
        activation: Between layers.
    """

    features: Sequence[int] = (64, 64)
    activation: Callable[[Array], Array] = jnp.tanh

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """From observations ``[batch, …]`` to ``[batch]``."""
        return _Body(self.features, 1, self.activation, 1.0, name="body")(x)[:, 0]


class ActionValues(linen.Module):
    """The values of all actions.

    Attributes:
        actions: How many there are.
        features: The widths of the hidden layers.
        activation: Between layers.
    """

    actions: int
    features: Sequence[int] = (64, 64)
    activation: Callable[[Array], Array] = jax.nn.relu

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """From observations ``[batch, …]`` to ``[batch, actions]``."""
        return _Body(self.features, self.actions, self.activation, 1.0, name="body")(x)


class Dueling(linen.Module):
    """The values of all actions as that of the observation and the advantages of each, which have the mean 0.

    Attributes:
        actions: How many there are.
        features: The widths of the hidden layers, of which value and advantages share all but the last.
        activation: Between layers.

    Reference:
        Wang et al., Dueling network architectures for deep reinforcement learning, ICML 2016.
    """

    actions: int
    features: Sequence[int] = (64, 64)
    activation: Callable[[Array], Array] = jax.nn.relu

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """From observations ``[batch, …]`` to ``[batch, actions]``."""
        if not self.features:
            raise ValueError("features: expected at least one width, before value and advantages, got none")
        *shared, last = self.features
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(shared):
            x = self.activation(nn.Dense(width, kernel_init=orthogonal(2**0.5), name=f"dense_{i}")(x))
        value = _Body((last,), 1, self.activation, 1.0, name="value")(x)
        advantage = _Body((last,), self.actions, self.activation, 1.0, name="advantage")(x)
        return value + advantage - advantage.mean(-1, keepdims=True)


class ActorCritic(linen.Module):
    """A policy and a value, which share nothing.

    Attributes:
        actor: From observations to a :class:`Distribution`.
        critic: From observations to values, ``[batch]``.
    """

    actor: Any
    critic: Any

    def __call__(self, x: Array) -> tuple[Distribution, Array]:
        """From observations ``[batch, …]`` to distributions of actions and values ``[batch]``."""
        return self.actor(x), self.critic(x)
