"""Steps that are not finite are taken back and counted, and a training that makes nothing else ends with a reason."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stepax.checks import check_count
from stepax.gradient import gradient as plain
from stepax.learner import Learner, State, check_learner
from stepax.processes import fetched
from stepax.transforms.owned import held, released
from stepax.typing import Array, Gradient, Key, Metrics, Objective, Tree

__all__ = ["NotFinite", "check_guard", "guard"]

NAME, GRADIENT = "guard", "guard/gradient"
# What is taken back; ``step`` goes on, or the same batch would come for ever, and so does ``extra``.
FIELDS = ("params", "variables", "opt_state")


class NotFinite(ArithmeticError):
    """A training whose steps are not finite, one after another.

    Attributes:
        step: The number of the last of them, counted from 0.
        row: How many there were without a good one between.
        leaf: The path of the first array that was not finite, ``loss`` or such as ``params/dense_0/kernel``.
        state: The state before that step, whose key is ``stepax.step_key(error.state)``.
        position: Of ``fit``: the epoch and the number of the batch in it, both counted from 0.
        batch: Of ``fit``: that batch. ``stepax.replay(learner, error.state, error.batch)`` names the operation.
    """

    def __init__(self, step: int, row: int, leaf: str, state: State) -> None:
        super().__init__(
            f"{row} steps in a row were not finite, the last at step {step}, first of all in {leaf}; a lower learning "
            "rate, clipped gradients, or a look at that batch may help: stepax.replay(learner, error.state, "
            "error.batch) names the operation"
        )
        self.step, self.row, self.leaf, self.state = step, row, leaf, state
        self.position: tuple[int, int] | None = None
        self.batch: Any = None


def guard(learner: Learner, limit: int = 10) -> Learner:
    """The same training, but a step with a loss, parameters or an optimizer's state that are not finite does not count.

    Such a step takes back parameters, statistics and the optimizer's state, also where a gradient was not finite and
    the optimizer let none of it through. Its metrics have weight 0. What is in ``extra`` (a replay, an average) and the
    count of steps go on. Once the limit is reached nothing counts any more, so that it does not matter when ``fit``
    looks.

    Args:
        learner: What to train.
        limit: After so many of them in a row ``fit`` ends with :class:`NotFinite`, between two chunks of steps.

    Returns:
        A learner whose state counts, under ``"guard"`` in ``extra``: ``skipped`` steps in all, those in a ``row``, and
        of the last one its number ``at`` and the index of its first bad ``leaf``.

    Raises:
        TypeError: No learner, or ``limit`` is no whole number.
        ValueError: ``limit`` is below 1; in ``init``, the learner is guarded already.
    """
    check_learner(learner)
    check_count("limit", limit)

    def init(key: Key, batch: Any) -> State:
        state = learner.init(key, batch)
        first = {"skipped": 0, "row": 0, "at": -1, "leaf": -1, "limit": limit}
        own = {name: jnp.full(state.key.shape, value, jnp.int32) for name, value in first.items()}
        return held(state, NAME, own)

    def step(state: State, batch: Any, gradient: Gradient = plain) -> tuple[State, Metrics]:
        before, own = released(state, NAME)
        after, metrics = learner.step(before, batch, gradient=_with_sum(gradient))
        slopes = metrics.pop(GRADIENT, jnp.zeros(state.key.shape))
        lanes = state.key.shape  # of a population; each is judged by itself
        finite = jnp.isfinite(
            jnp.stack([_nothing(leaf, len(lanes)) for _, leaf in _watched(after, metrics["loss"], slopes)])
        )
        over = own["row"] >= own["limit"]
        good = finite.all(0) & ~over

        def choose(new: Array, old: Array) -> Array:
            return jnp.where(good.reshape(lanes + (1,) * (new.ndim - len(lanes))), new, old)

        kept = {field: jax.tree.map(choose, getattr(after, field), getattr(before, field)) for field in FIELDS}
        bad = 1 - good.astype(jnp.int32)
        own = {
            "skipped": own["skipped"] + bad,
            "row": jnp.where(over, own["row"], (own["row"] + 1) * bad),
            "at": jnp.where(good | over, own["at"], state.step),
            "leaf": jnp.where(good | over, own["leaf"], jnp.argmin(finite, 0).astype(jnp.int32)),
            "limit": own["limit"],
        }
        metrics = {**metrics, "weight": jnp.where(good, metrics["weight"], 0)}
        return held(after._replace(**kept), NAME, own), metrics

    def evaluate(state: State, batch: Any, key: Key) -> Metrics:
        return learner.evaluate(released(state, NAME)[0], batch, key)

    def predict(state: State, x: Any) -> Any:
        return learner.predict(released(state, NAME)[0], x)

    return Learner(init, step, evaluate, predict)


def check_guard(state: State) -> None:
    """Ends a training that makes no finite steps; on the host, between two chunks.

    Raises:
        NotFinite: The state is guarded and has reached its limit; in a population, every lane has.
    """
    own = fetched(state.extra.get(NAME))
    if own is None or (own["row"] < own["limit"]).any():
        return
    paths = [path for path, _ in _watched(state, jnp.zeros(()), jnp.zeros(()))]
    first = {name: int(np.ravel(value)[0]) for name, value in own.items()}
    before = state._replace(step=jnp.int32(first["at"]))  # the step that was taken back
    raise NotFinite(first["at"], first["row"], paths[first["leaf"]], before)


def _with_sum(gradient: Gradient) -> Gradient:
    """The same gradient, with 0 among its metrics where all of it is finite, and else NaN, which no mean takes away."""

    def summed(objective: Objective, params: Tree, variables: Tree, batch: Any, key: Key) -> tuple[Tree, Tree, Metrics]:
        grads, variables, metrics = gradient(objective, params, variables, batch, key)
        terms = [_nothing(leaf) for leaf in jax.tree.leaves(grads) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
        return grads, variables, {**metrics, GRADIENT: jnp.asarray(sum(terms), jnp.float32)}

    return summed


def _watched(state: State, loss: Array, slopes: Array) -> list[tuple[str, Array]]:
    """Everything that has to be finite, by path, in one order."""
    fields = {field: getattr(state, field) for field in FIELDS}
    leaves = jax.tree_util.tree_flatten_with_path(fields)[0]
    named = [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]
    floating = [(path, leaf) for path, leaf in named if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return [("loss", loss), *floating, ("gradient", slopes)]  # the last tells least


def _nothing(leaf: Array, lanes: int = 0) -> Array:
    """0 in every lane where all numbers are finite, and NaN where one is not."""
    # A product with zeros: XLA's CPU backend adds up a whole array one number after the other, and compares no faster.
    # The compiler must not know that they are zeros, nor join axes that a mesh divides.
    zeros = jnp.broadcast_to(jax.lax.optimization_barrier(jnp.zeros((), leaf.dtype)), leaf.shape[lanes:])
    return jnp.tensordot(leaf, zeros, leaf.ndim - lanes)
