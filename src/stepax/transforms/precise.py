"""Mixed precision: a model computes in bfloat16, while parameters, statistics and updates stay in float32."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from stepax.gradient import gradient as plain
from stepax.learner import Learner, State, check_learner
from stepax.program import equations
from stepax.typing import Array, Gradient, Key, Metrics, Objective, Tree

__all__ = ["full_precision", "precise"]

# Each takes two operands and is most of what a training computes.
PRODUCTS = (
    "dot_general",
    "conv_general_dilated",
    "stepax_product",
    "stepax_conv",
    "stepax_conv_kernel_gradient",
)


def precise(learner: Learner, compute: Any = jnp.bfloat16) -> Learner:
    """The same learner with its model computed in another precision.

    Parameters and inputs are cast where the objective takes them, so that every product of the forward and the backward
    pass is made in ``compute``; gradients come out in float32, and so stay parameters, the optimizer's state and the
    models' statistics. Losses of :mod:`stepax.losses`, softmax and normalisation widen by themselves. Of a batch only
    ``x`` is cast; what a step computes outside of its objectives stays as it is, and :func:`full_precision` lists it.

    Worth it where products in bfloat16 are faster: on GPUs and TPUs, and on few CPUs (``stepax bench`` measures both).

    Args:
        learner: What to train.
        compute: ``bfloat16``, or ``float32`` for no change of precision.

    Returns:
        A learner with the same state. Its predictions are float32.

    Raises:
        TypeError: No learner, or ``compute`` is no dtype.
        ValueError: Another dtype; float16 among them, whose range is too small for gradients.

    Reference:
        Micikevicius et al., Mixed precision training, 2018, arXiv:1710.03740; Kalamkar et al., A study of bfloat16 for
        deep learning training, 2019, arXiv:1905.12322.
    """
    check_learner(learner)
    dtype = jnp.dtype(compute)
    if dtype not in (jnp.bfloat16, jnp.float32):
        why = ", whose range is too small for gradients" if dtype == jnp.float16 else ""
        raise ValueError(f"compute: expected bfloat16 or float32, got {dtype}{why}")

    def narrow(tree: Tree) -> Tree:
        return _cast(tree, dtype)

    def input_of(batch: Any) -> Any:
        return {**batch, "x": narrow(batch["x"])} if isinstance(batch, Mapping) and "x" in batch else batch

    def lowered(objective: Objective) -> Objective:
        def values(params: Tree, variables: Tree, batch: Any, key: Key | None) -> tuple[Array, tuple[Tree, Metrics]]:
            result, (after, metrics) = objective(narrow(params), variables, input_of(batch), key)
            return result, (jax.tree.map(lambda old, new: new.astype(old.dtype), variables, after), metrics)

        return values

    def step(state: State, batch: Any, gradient: Gradient = plain) -> tuple[State, Metrics]:
        return learner.step(state, batch, gradient=lambda objective, *rest: gradient(lowered(objective), *rest))

    def evaluate(state: State, batch: Any, key: Key) -> Metrics:
        return learner.evaluate(state._replace(params=narrow(state.params)), input_of(batch), key)

    def predict(state: State, x: Any) -> Any:
        return _cast(learner.predict(state._replace(params=narrow(state.params)), narrow(x)), jnp.float32)

    return learner._replace(step=step, evaluate=evaluate, predict=predict)


def _cast(tree: Tree, dtype: Any) -> Tree:
    """Floating arrays in another dtype; all others as they are."""
    return jax.tree.map(
        lambda leaf: leaf.astype(dtype) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else leaf,
        jax.tree.map(jnp.asarray, tree),
    )


def full_precision(learner: Learner, state: State, batch: Any) -> list[str]:
    """The products in a training step that are made in float32 or wider, one line each: what ``precise`` did not reach.

    Nothing is computed.

    Args:
        learner: What is trained, such as ``precise(learner)``.
        state: Its state, or the shapes of one.
        batch: A batch, or its shapes.

    Returns:
        Lines such as ``"dense_0: dot_general of float32[128,784] and float32[784,10]"``; none if all is in half
        precision.
    """
    jaxpr = jax.make_jaxpr(lambda state, batch: learner.step(state, batch))(state, batch).jaxpr
    return [
        f"{equation.source_info.name_stack}: {equation.primitive.name} of "
        + " and ".join(variable.aval.str_short() for variable in equation.invars)
        for equation in equations(jaxpr)
        if equation.primitive.name in PRODUCTS
        and all(jnp.dtype(variable.aval.dtype).itemsize >= 4 for variable in equation.invars)
    ]
