"""What can be trained: a pure pair ``(init, step)`` with its ``evaluate`` and ``predict``."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from stepax.gradient import gradient, reduce, update
from stepax.model import as_model
from stepax.typing import Array, Gradient, Key, Loss, Metric, Metrics, Objective, Tree

__all__ = ["Learner", "State", "check_lanes", "check_learner", "lanes_of", "new_state", "step_key", "supervised"]

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


def check_lanes(expected: Any, state: State) -> None:
    """Refuse the state of a population for a single learner, and the other way round.

    Args:
        expected: The state that the learner makes, or its shapes.
        state: What was given.

    Raises:
        ValueError: They have different axes of lanes.
    """
    # A learner of a user's own may keep anything in place of its state.
    wanted, given = (tuple(getattr(getattr(tree, "key", None), "shape", ())) for tree in (expected, state))
    if wanted == given:
        return
    own = f"the learner has {lanes_of(wanted)}" if wanted else "the learner is a single one"
    if not given:
        raise ValueError(f"state: this is the state of a single model, and {own}")
    way = "" if wanted else "; take one with stepax.lane(state, k)"
    raise ValueError(f"state: this is the state of {lanes_of(given)}, and {own}{way}")


def lanes_of(shape: tuple[int, ...]) -> str:
    """The axes of lanes of a state's key in words: ``2 lanes``, of a population of populations ``3 × 2 lanes``."""
    return f"{' × '.join(map(str, shape))} lane{'s' if shape != (1,) else ''}"


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
        ValueError: A metric has the name of a column of the history; when first traced, a loss or a metric whose values
            have no batch axis, or further axes that grow with the batch, as ``[batch, 1] - [batch]`` gives them.
    """
    model = as_model(model)
    metrics = {} if metrics is None else metrics
    _check_settings(loss, optimizer, metrics)
    metrics = dict(metrics)

    def objective(train: bool) -> Objective:
        def values(params: Tree, variables: Tree, batch: Any, key: Key | None) -> tuple[Array, tuple[Tree, Metrics]]:
            output, variables = model.apply(params, variables, batch["x"], train=train, key=key)
            named = {name: _per_example(name, metric, output, batch) for name, metric in metrics.items()}
            return _per_example("loss", loss, output, batch), (variables, named)

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


def _per_example(name: str, function: Callable[[Any, Any], Any], output: Any, batch: Any) -> Array:
    """The values of a loss or a metric; refuses by name what was reduced already, and what pairs examples."""
    size = jax.tree.leaves(batch["x"])[0].shape[0]
    values = function(output, batch)
    shape = jnp.shape(values)
    if shape[:1] != (size,):
        got = "a scalar" if shape == () else f"shape {shape}"
        raise ValueError(
            f"{name}: expected one value per example, of shape [{size}, …], got {got}; leave the mean to the learner"
        )
    if _pairs_examples(function, output, batch, shape):
        target = f"a target y of shape {_shapes(batch['y'])}" if "y" in batch else "no target y"
        raise ValueError(
            f"{name}: expected one value per example or per element, got shape {shape} from an output of shape "
            f"{_shapes(output)} and {target}, as broadcasting [batch, 1] against [batch] gives it: one value for each "
            "pair of examples; give both the same shape, or, where pairs are meant, take the mean over the second"
        )
    return values


def _pairs_examples(function: Callable[[Any, Any], Any], output: Any, batch: Any, shape: tuple[int, ...]) -> bool:
    """Whether the values' axes beyond the first are those of no array, and grow with the number of examples."""
    size, rest = shape[0], shape[1:]
    arrays = jax.tree.leaves((output, [batch[name] for name in ("y", "weight") if name in batch]))
    if any(jnp.shape(array)[1:][: len(rest)] == rest for array in arrays):
        return False

    def doubled(leaf: Any) -> Any:
        like = jnp.shape(leaf)
        return jax.ShapeDtypeStruct((2 * size, *like[1:]), leaf.dtype) if like[:1] == (size,) else leaf

    # By size alone one cannot tell: 64 of 65 words are as many as 64 examples.
    try:
        more = jax.eval_shape(function, *jax.tree.map(doubled, (output, batch)))
    except (TypeError, ValueError):
        return size in rest
    return jnp.shape(more)[1:] != rest


def _shapes(tree: Any) -> str:
    return " and ".join(str(jnp.shape(leaf)) for leaf in jax.tree.leaves(tree))
