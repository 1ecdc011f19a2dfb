"""The threshold unit and the rule that first taught it."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from stepax.checks import check_count
from stepax.gradient import reduce
from stepax.learner import Learner, State, new_state
from stepax.model import from_linen
from stepax.targets import host_values
from stepax.typing import Array, Gradient, Key, Metrics, Tree

__all__ = ["Perceptron", "rosenblatt"]


class Perceptron(linen.Module):
    r"""Threshold units: :math:`y = [x W + b > 0]`.

    The step has no useful gradient: :func:`rosenblatt` trains it. ``weight`` and ``bias`` start at zero, as in the
    convergence theorem.

    Attributes:
        features: The number of units.

    Reference:
        Rosenblatt, The perceptron, Psychological Review 65, 1958.
    """

    features: int = 1

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """From ``[batch, …]`` (flattened) to 0 or 1, ``[batch, features]``, all in float32 at least.

        Raises:
            TypeError: ``features`` is no whole number.
            ValueError: ``features`` is below 1, or ``x`` a scalar.
        """
        check_count("features", self.features)
        if x.ndim == 0:
            raise ValueError("x: expected the shape [batch, …], got a scalar")
        x = x.reshape(x.shape[0], math.prod(x.shape[1:])).astype(jnp.promote_types(x.dtype, jnp.float32))
        kernel = self.param("kernel", linen.initializers.zeros_init(), (x.shape[-1], self.features), x.dtype)
        bias = self.param("bias", linen.initializers.zeros_init(), (self.features,), x.dtype)
        return (x @ kernel + bias[None] > 0).astype(x.dtype)


def rosenblatt(model: Perceptron, rate: float = 1.0) -> Learner:
    r"""Rosenblatt's rule: an error moves the weights, :math:`w \leftarrow w + \eta (y - \hat y) x`.

    Examples are taken one after the other, also within a batch, so that Novikoff's bound holds: on data of radius R
    that a unit separates with margin γ, it makes at most (R/γ)² mistakes.

    Args:
        model: The threshold units.
        rate: The step η; from zero weights it scales the weights and changes no answer.

    Returns:
        A learner over batches with ``x`` and ``y`` (0 or 1: ``[batch]`` for one unit, ``[batch, features]``). Its
        ``loss`` is the share of wrong answers: in a step, each given before the example was learnt. It takes no
        gradient; of a ``weight`` it asks only whether it is 0.

    Raises:
        TypeError: ``model`` is no :class:`Perceptron`.

    Reference:
        Novikoff, On convergence proofs on perceptrons, 1962.
    """
    if not isinstance(model, Perceptron):
        raise TypeError(f"model: expected a stepax.nn.Perceptron, got {type(model).__name__}")
    unit = from_linen(model)

    def init(key: Key, batch: Any) -> State:
        params_key, steps_key = jax.random.split(key)
        return new_state(steps_key, unit.init(params_key, batch["x"])[0], {}, ())

    def step(state: State, batch: Any, gradient: Gradient | None = None) -> tuple[State, Metrics]:
        del gradient

        def learn(params: Tree, example: tuple[Array, Array, Array]) -> tuple[Tree, Array]:
            x, y, weight = example
            error = jnp.where(weight == 0, 0, y - answers(params, x[None])[0])
            moved = {"kernel": params["kernel"] + rate * jnp.outer(x, error), "bias": params["bias"] + rate * error}
            return moved, jnp.abs(error)

        x = (
            batch["x"]
            .reshape(batch["x"].shape[0], math.prod(batch["x"].shape[1:]))
            .astype(state.params["kernel"].dtype)
        )
        weight = batch.get("weight", jnp.ones(x.shape[0]))
        params, wrong = jax.lax.scan(learn, state.params, (x, _targets(batch, model.features).astype(x.dtype), weight))
        return state._replace(params=params, step=state.step + 1), reduce(wrong, {}, batch)

    def evaluate(state: State, batch: Any, key: Key) -> Metrics:
        del key
        return reduce(jnp.abs(predict(state, batch["x"]) - _targets(batch, model.features)), {}, batch)

    def predict(state: State, x: Array) -> Any:
        return answers(state.params, x)

    def answers(params: Tree, x: Array) -> Array:
        return unit.apply(params, {}, x, train=False, key=None)[0]

    return Learner(init, step, evaluate, predict)


def _targets(batch: Any, features: int) -> Array:
    y = batch["y"]
    if y.shape == (y.shape[0],) and features == 1:
        y = y[:, None]
    if y.shape[1:] != (features,):
        raise ValueError(
            f"y: expected 0 or 1 for each of {features} units, of shape [batch, {features}], got the shape {y.shape}"
        )
    values = host_values(y)
    if values is not None and not np.isin(values, (0, 1)).all():
        raise ValueError(f"y: expected 0 or 1, got {', '.join(map(str, np.unique(values)[:5]))}")
    return y
