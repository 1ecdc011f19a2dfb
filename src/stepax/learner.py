"""What can be trained: a pure pair ``(init, step)`` with its ``evaluate`` and ``predict``."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from stepax.gradient import gradient, reduce, update
from stepax.model import as_model
from stepax.typing import Array, Gradient, Key, Loss, Metric, Metrics, Objective, Tree

__all__ = ["Learner", "State", "check_learner", "new_state", "step_key", "supervised"]

# Columns of a history, which a metric of the same name would overwrite.
RESERVED = ("epoch", "learning_rate", "loss", "seconds", "step", "weight")


class State(NamedTuple):
    """Everything that a step changes: arrays only, in trees.

    Attributes:
        params: What gradients change.
        variables: The models' own statistics.
        opt_state: The optimizer's state.
        extra: A dict by owner, for what a method or a transformation keeps beside.
        step: How many steps have been made, int32.
        key: The root of the steps' keys; never rewritten.
    """

    params: Tree
    variables: Tree
    opt_state: Tree
    extra: dict[str, Tree]
    step: Array
    key: Key


class Learner(NamedTuple):
    """Four pure functions, not jitted: they work under jit, vmap, scan, cond and eval_shape.

    Attributes:
        init: ``(key, batch) -> State``. The batch shows shapes; its values do not matter.
        step: ``(state, batch, gradient=stepax.gradient) -> (State, Metrics)``. Keeps tree, shapes and dtypes, and takes
            every gradient through its argument.
        evaluate: ``(state, batch, key) -> Metrics``: weighted means with their ``weight``. Never changes the state.
        predict: ``(state, x) -> output``.
    """

    init: Callable[[Key, Any], State]
    step: Callable[..., tuple[State, Metrics]]
    evaluate: Callable[[State, Any, Key], Metrics]
    predict: Callable[[State, Any], Any]


def check_learner(learner: Any, state: Any = None) -> None:
    """Refuse what is no learner, such as a model, or no state, such as parameters.

    Raises:
        TypeError: ``learner`` is no ``Learner``, or ``state`` is neither a ``State`` nor ``None``.
    """
    if not isinstance(learner, Learner):
        raise TypeError(
            "learner: expected a stepax.Learner, as stepax.supervised(model, loss, optimizer) makes it, "
            f"got {type(learner).__name__}"
        )
    if not isinstance(state, State | None):
        raise TypeError(f"state: expected a stepax.State, such as run.state, got {type(state).__name__}")


def new_state(key: Key, params: Tree, variables: Tree, opt_state: Tree, extra: dict[str, Tree] | None = None) -> State:
    """The state before the first step.

    Args:
        key: The root of the steps' keys, used for nothing else.
        params: What gradients change.
        variables: The models' own statistics.
        opt_state: The optimizer's state.
        extra: What the method keeps beside, by owner.
    """
    return State(params, variables, opt_state, extra or {}, jnp.zeros((), jnp.int32), key)


def step_key(state: State) -> Key:
    """The key of the step to come: a function of the root and of the step's number."""
    return jax.random.fold_in(state.key, state.step)


def supervised(
    model: Any, loss: Loss, optimizer: optax.GradientTransformation, *, metrics: Mapping[str, Metric] | None = None
) -> Learner:
    """Learns ``y`` from ``x`` by the gradient of a loss.

    Args:
        model: A Linen module or a :class:`stepax.Model`.
        loss: ``(output, batch) -> values [batch, …]``, such as those of :mod:`stepax.losses`.
        optimizer: An Optax optimizer.
        metrics: More functions of the loss's form, reported by name.

    Returns:
        The learner. Its batches are dicts with ``x``, what the loss reads (``y``), and optionally ``weight``.

    Raises:
        TypeError: The model is neither a module nor a model; the optimizer, a loss or the metrics are not what they
            should be. In the first step, an optimizer that asks for more than the gradient (``optax.lbfgs``).
        ValueError: A metric has the name of a column of the history; when first traced, a loss whose values have no
            batch axis.
    """
    model = as_model(model)
    metrics = {} if metrics is None else metrics
    _check_settings(loss, optimizer, metrics)
    metrics = dict(metrics)

    def objective(train: bool) -> Objective:
        def values(params: Tree, variables: Tree, batch: Any, key: Key | None) -> tuple[Array, tuple[Tree, Metrics]]:
            output, variables = model.apply(params, variables, batch["x"], train=train, key=key)
            named = {name: _per_example(name, metric(output, batch), batch) for name, metric in metrics.items()}
            return _per_example("loss", loss(output, batch), batch), (variables, named)

        return values

    def init(key: Key, batch: Any) -> State:
        params_key, steps_key = jax.random.split(key)
        params, variables = model.init(params_key, batch["x"])
        return new_state(steps_key, params, variables, optimizer.init(params))

    def step(state: State, batch: Any, gradient: Gradient = gradient) -> tuple[State, Metrics]:
        grads, variables, measured = gradient(objective(True), state.params, state.variables, batch, step_key(state))
        params, opt_state, rate = update(optimizer, grads, state.opt_state, state.params)
        return state._replace(params=params, variables=variables, opt_state=opt_state, step=state.step + 1), {
            **measured,
            **rate,
        }

    def evaluate(state: State, batch: Any, key: Key) -> Metrics:
        values, (_, measured) = objective(False)(state.params, state.variables, batch, key)
        return reduce(values, measured, batch)

    def predict(state: State, x: Any) -> Any:
        return model.apply(state.params, state.variables, x, train=False, key=None)[0]

    return Learner(init, step, evaluate, predict)


def _check_settings(loss: Any, optimizer: Any, metrics: Any) -> None:
    if not isinstance(metrics, Mapping):
        raise TypeError(
            f'metrics: expected a dict such as {{"accuracy": stepax.metrics.accuracy}}, got {type(metrics).__name__}'
        )
    if taken := sorted(set(RESERVED) & set(metrics)):
        raise ValueError(f"metrics: the name {taken[0]!r} is reserved, as are {', '.join(map(repr, RESERVED))}")
    for name, function in {"loss": loss, **{f"metrics[{name!r}]": metric for name, metric in metrics.items()}}.items():
        if not callable(function):
            raise TypeError(f"{name}: expected a function (output, batch) -> values, got {function!r}")
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(f"optimizer: expected an Optax optimizer such as optax.adam(1e-3), got {optimizer!r}")


def _per_example(name: str, values: Any, batch: Any) -> Array:
    """Refuses what was reduced already, by name."""
    size = jax.tree.leaves(batch["x"])[0].shape[0]
    shape = jnp.shape(values)
    if shape[:1] != (size,):
        got = "a scalar" if shape == () else f"shape {shape}"
        raise ValueError(
            f"{name}: expected one value per example, of shape [{size}, …], got {got}; leave the mean to the learner"
        )
    return values
