"""An exponential moving average of the parameters, used in place of them wherever the learner is measured or used."""

from typing import Any

import jax
import jax.numpy as jnp

from stepax.gradient import gradient as plain
from stepax.learner import Learner, State, check_learner
from stepax.transforms.owned import held, released
from stepax.typing import Array, Gradient, Key, Metrics, Tree

__all__ = ["average", "averaged"]

NAME = "average"


def average(learner: Learner, decay: float | Array = 0.999) -> Learner:
    r"""The same training; ``evaluate`` and ``predict`` take an average of the parameters over the last steps.

    .. math:: \bar\theta_t = \frac{\sum_{i=1}^{t} d^{\,t-i} \theta_i}{\sum_{i=1}^{t} d^{\,t-i}}

    which is an average over about :math:`1 / (1 - d)` steps, without a share of the first parameters; before the first
    step, the parameters themselves. The models' statistics are those of the training.

    Args:
        learner: What to train.
        decay: :math:`d`, in [0, 1); 0 is no average.

    Returns:
        A learner whose state keeps the average under ``"average"`` in ``extra``.

    Raises:
        TypeError: No learner.
        ValueError: ``decay`` is out of range; in ``init``, the learner has an average already.

    Reference:
        Polyak and Juditsky, Acceleration of stochastic approximation by averaging, SIAM Journal on Control and
        Optimization 30, 1992.
    """
    check_learner(learner)
    if not isinstance(decay, jax.Array) and not 0 <= decay < 1:
        raise ValueError(f"decay: expected a number in [0, 1), got {decay}")

    def init(key: Key, batch: Any) -> State:
        state = learner.init(key, batch)
        sums = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, _exact(leaf)) if _is_floating(leaf) else (), state.params
        )
        return held(state, NAME, {"sums": sums, "total": jnp.zeros(state.key.shape)})

    def step(state: State, batch: Any, gradient: Gradient = plain) -> tuple[State, Metrics]:
        inner, own = released(state, NAME)
        inner, metrics = learner.step(inner, batch, gradient=gradient)
        added = {
            "sums": jax.tree.map(
                lambda leaf, total: decay * total + leaf if _is_floating(leaf) else (), inner.params, own["sums"]
            ),
            "total": decay * own["total"] + 1,
        }
        # A step that is not finite has no share: whoever takes it back outside of here leaves the average as it is.
        good = _are_finite(added["sums"], own["total"].ndim)
        kept = jax.tree.map(lambda new, old: jnp.where(_beside(good, new), new, old), added, own)
        return held(inner, NAME, kept), metrics

    def evaluate(state: State, batch: Any, key: Key) -> Metrics:
        return learner.evaluate(_with_average(state), batch, key)

    def predict(state: State, x: Any) -> Any:
        return learner.predict(_with_average(state), x)

    return Learner(init, step, evaluate, predict)


def averaged(state: State) -> Tree:
    """The average of the parameters in the state of an ``average`` learner, as a tree like ``state.params``."""
    return _with_average(state).params


def _with_average(state: State) -> State:
    """The inner learner's state with the average in place of the parameters."""
    inner, own = released(state, NAME)
    total = own["total"]

    def mean(leaf: Any, summed: Any) -> Any:
        if not _is_floating(leaf):
            return leaf
        count = _beside(total, leaf)
        average = summed / jnp.where(count == 0, 1, count).astype(summed.dtype)
        return jnp.where(count == 0, leaf, average.astype(leaf.dtype))

    return inner._replace(params=jax.tree.map(mean, inner.params, own["sums"]))


def _beside(lanes: Array, leaf: Array) -> Array:
    """A value for each lane, or for all, with the axes of an array that has the lanes first."""
    return lanes.reshape(lanes.shape + (1,) * (leaf.ndim - lanes.ndim))


def _are_finite(sums: Tree, lanes: int) -> Array:
    finite = [jnp.isfinite((leaf * 0).sum(tuple(range(lanes, leaf.ndim)))) for leaf in jax.tree.leaves(sums)]
    return jnp.stack(finite).all(0) if finite else jnp.bool_(True)


def _exact(leaf: Any) -> Any:
    # Half precision cannot count: 256 and 1 are 256 in bfloat16.
    return jnp.promote_types(leaf.dtype, jnp.float32)


def _is_floating(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))
