"""Running means and variances of what an agent sees and earns.

Reference:
    Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing sample variances, 1979.
    Engstrom et al., Implementation matters in deep policy gradients, ICLR 2020.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from stepax.model import Model, as_model
from stepax.typing import Array, Key, Tree

__all__ = ["Moments", "Returns", "earned", "normalized", "same_eyes", "scaled_rewards", "seen"]

EPSILON, LIMIT = 1e-8, 10.0
NAME = "observations"


class Moments(NamedTuple):
    """Number, mean and variance of all that was seen.

    Attributes:
        number: How many, a scalar; begins at a ten-thousandth, so that the first values decide.
        mean: The shape of one value.
        variance: Likewise.
    """

    number: Array
    mean: Array
    variance: Array


def normalized(model: Any) -> Model:
    """A model that sees observations with mean 0 and variance 1, cut at ±10.

    By all that an agent has seen, with one number for each place of an observation; the agent tells it after each
    rollout, so that all examples of a rollout are seen with the same eyes. The moments are among the model's variables.

    Args:
        model: A Linen module or a :class:`stepax.Model`.

    Returns:
        The model.
    """
    inner = as_model(model)

    def init(key: Key, x: Array) -> tuple[Tree, Tree]:
        params, variables = inner.init(key, x)
        return params, {"model": variables, NAME: _nothing(x.shape[1:])}

    def apply(params: Tree, variables: Tree, x: Array, *, train: bool, key: Key | None) -> tuple[Any, Tree]:
        of = variables[NAME]
        x = jnp.clip((x - of.mean[None]) / jnp.sqrt(of.variance + EPSILON)[None], -LIMIT, LIMIT)
        output, inside = inner.apply(params, variables["model"], x, train=train, key=key)
        return output, {**variables, "model": inside}

    return Model(init, apply)


def seen(variables: Tree, observations: Array, weight: Array | None = None) -> Tree:
    """The variables with more observations ``[…, *shape]``; those of a model that is not normalised as they are.

    Args:
        variables: Of the model.
        observations: What was seen.
        weight: ``[…]``, 1 where an observation is real and 0 where it is none; ``None``: all are.
    """
    if NAME not in variables:
        return variables
    return {**variables, NAME: _more(variables[NAME], observations, weight)}


def same_eyes(variables: Tree, others: Tree) -> Tree:
    """Another network's variables, which sees observations as this one does; as they are where none is normalised."""
    return {**others, NAME: variables[NAME]} if NAME in variables else others


class Returns(NamedTuple):
    """What rewards are scaled by.

    Attributes:
        current: The discounted sum of each lane's rewards so far in its episode, ``[lanes]``.
        of: The moments of all such sums.
    """

    current: Array
    of: Moments


def earned(lanes: int) -> Returns:
    """Nothing yet."""
    return Returns(jnp.zeros(lanes), _nothing(()))


def scaled_rewards(before: Returns, trajectory: Any, discount: Any) -> tuple[Returns, Array]:
    """A rollout's rewards ``[time, lanes]`` over the standard deviation of discounted sums, cut at ±10."""

    def add(total: Array, made: tuple[Array, Array]) -> tuple[Array, Array]:
        reward, ended = made
        total = discount * total + reward
        return jnp.where(ended, 0, total), total

    rewards = trajectory["reward"]
    current, totals = lax.scan(add, before.current, (rewards, trajectory["terminated"] | trajectory["truncated"]))
    of = _more(before.of, totals)
    return Returns(current, of), jnp.clip(rewards / jnp.sqrt(of.variance + EPSILON), -LIMIT, LIMIT)


def _nothing(shape: tuple[int, ...]) -> Moments:
    return Moments(jnp.float32(1e-4), jnp.zeros(shape), jnp.ones(shape))


def _more(before: Moments, values: Array, weight: Array | None = None) -> Moments:
    """With more values, ``[…, *shape]``."""
    values = values.reshape(-1, *before.mean.shape)
    real = jnp.ones(len(values)) if weight is None else weight.reshape(-1)
    share = (real / real.sum()).reshape(-1, *[1] * before.mean.ndim)
    mean = (values * share).sum(0)
    variance = ((values - mean[None]) ** 2 * share).sum(0)
    more, delta = real.sum(), mean - before.mean
    total = before.number + more
    square = before.variance * before.number + variance * more + delta**2 * before.number * more / total
    return Moments(total, before.mean + delta * more / total, square / total)
