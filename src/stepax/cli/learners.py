"""From a plan to a learner."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import stepax as sx
from stepax.cli import losses, models, optimizers, text_models
from stepax.cli.plan import Plan, known
from stepax.data import Scaling, standardization
from stepax.learner import Learner, State
from stepax.typing import Array, Batch, Loss, Metric

__all__ = ["Built", "build", "input_scaling", "like", "target_scaling"]


class Built(NamedTuple):
    """A learner, and the Linen module inside it."""

    module: Any
    learner: Learner


def input_scaling(plan: Plan, x: np.ndarray) -> Scaling | None:
    """The standardization of inputs, fitted on training rows.

    Args:
        plan: The plan, which may want none.
        x: The rows to learn from, ``[n, …]``.

    Returns:
        The scaling of one input; for images one number per channel, at every pixel.
    """
    if not plan.network.standardize:
        return None
    if x.ndim != 4:
        return standardization(x)
    by_channel = standardization(x.reshape(-1, x.shape[-1]))
    return Scaling(*(np.broadcast_to(values, x.shape[1:]) for values in by_channel))


def build(plan: Plan, inputs: Scaling | None = None) -> Built:
    """The learner of a plan.

    Args:
        plan: The plan.
        inputs: The standardization of inputs. Without one, a plan that wants it gets one that changes nothing, to be
            overwritten when a saved state is restored.
    """
    network, course = plan.network, plan.course
    module = _module(plan)
    if network.model == models.PERCEPTRON:
        return Built(module, sx.nn.rosenblatt(module, course.rate))
    if network.standardize and inputs is None:
        shape = plan.subject.shape
        inputs = Scaling(np.zeros(shape, np.float32), np.ones(shape, np.float32))
    outputs = target_scaling(plan)
    model = sx.scaled(module, inputs, outputs) if inputs or outputs else module
    schedule = optimizers.schedule(course.schedule or "constant", course.rate, course.steps, course.warmup)
    rule = optimizers.optimizer(course.optimizer or "sgd", schedule, course.options)
    loss = losses.loss_for(network.loss or "", plan.subject.kind)
    return Built(module, sx.supervised(model, _in_deviations(loss, outputs), rule, metrics=_metrics(plan)))


def _module(plan: Plan) -> Any:
    subject, network = plan.subject, plan.network
    if subject.form == "rows":
        return models.module(network.model, network.outputs, network.options)
    sizes = text_models.Sizes(network.outputs, known(subject), subject.shape[0])
    return text_models.module(subject.form, network.model, sizes, network.options)


def target_scaling(plan: Plan) -> Scaling | None:
    """The standardization of the targets of a regression, or ``None``."""
    if plan.network.target_scaling is None:
        return None
    return Scaling(*(np.asarray(values, np.float32) for values in plan.network.target_scaling))


def _in_deviations(loss: Loss, scaling: Scaling | None) -> Loss:
    """The loss of standardized outputs and targets, so that neither it nor a learning rate depends on a unit."""
    if scaling is None:
        return loss

    def scaled_loss(output: Array, batch: Batch) -> Array:
        assert batch is not None
        y = scaling.apply(jnp.asarray(batch["y"], output.dtype))
        return loss(scaling.apply(output), {**batch, "y": y})

    return scaled_loss


def _metrics(plan: Plan) -> dict[str, Metric]:
    if plan.subject.kind == "tokens":
        return {}
    if plan.subject.kind == "numbers":
        return {"mean_absolute_error": sx.metrics.absolute_error}
    return {"accuracy": sx.metrics.binary_accuracy if plan.subject.kind == "labels" else sx.metrics.accuracy}


def like(plan: Plan, built: Built) -> State:
    """The structure, shapes and dtypes of the plan's state."""
    x = jax.ShapeDtypeStruct((1, *plan.subject.shape), jnp.float32 if plan.subject.form == "rows" else jnp.int32)
    return jax.eval_shape(lambda key, x: built.learner.init(key, {"x": x}), jax.random.key(0), x)
