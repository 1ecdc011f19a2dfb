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

    Parameters and inputs are cast where the objective takes them, so that the products of the forward and the backward
    pass are made in ``compute``; gradients come out in float32, and so stay parameters, the optimizer's state and the
    models' statistics. Losses of :mod:`stepax.losses`, softmax and normalisation widen by themselves. Of a batch only
    ``x`` is cast. What a step computes outside of its objectives stays as it is, and so does what follows a layer that
    widens its output, such as ``flax.nnx.BatchNorm``: :func:`full_precision` lists both.

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

    def input_of(batch: Any, variables: Tree) -> Any:
        # A model with a scaling of its own scales before it computes in half precision.
        cast = isinstance(batch, Mapping) and "x" in batch and "scaling" not in variables
        return {**batch, "x": narrow(batch["x"])} if cast else batch

    def statistics(variables: Tree) -> Tree:
        # What ``transfer`` does not train lies among the variables, and is no statistic.
        return {**variables, "frozen": narrow(variables["frozen"])} if "frozen" in variables else variables

    def lowered_state(state: State) -> State:
        return state._replace(params=narrow(state.params), variables=statistics(state.variables))

    def lowered(objective: Objective) -> Objective:
        def values(params: Tree, variables: Tree, batch: Any, key: Key | None) -> tuple[Array, tuple[Tree, Metrics]]:
            narrowed, data = statistics(variables), input_of(batch, variables)
            result, (after, metrics) = objective(narrow(params), narrowed, data, key)
            if "frozen" in variables:
                after = {**after, "frozen": variables["frozen"]}
            return result, (jax.tree.map(lambda old, new: new.astype(old.dtype), variables, after), metrics)

        return values

    def step(state: State, batch: Any, gradient: Gradient = plain) -> tuple[State, Metrics]:
        return learner.step(state, batch, gradient=lambda objective, *rest: gradient(lowered(objective), *rest))

    def evaluate(state: State, batch: Any, key: Key) -> Metrics:
        return learner.evaluate(lowered_state(state), input_of(batch, state.variables), key)

    def predict(state: State, x: Any) -> Any:
        return _cast(learner.predict(lowered_state(state), input_of({"x": x}, state.variables)["x"]), jnp.float32)

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
        Lines such as ``"jvp(MLP)/dense_0: stepax_product of float32[128,784] and float32[784,10]"``; none if all is in
        half precision.

    Raises:
        TypeError: No learner, such as a model, or no state, such as parameters.
    """
    check_learner(learner, state)
    if state is None:
        raise TypeError("state: expected a stepax.State, such as run.state, got None")
    jaxpr = jax.make_jaxpr(lambda state, batch: learner.step(state, batch))(state, batch).jaxpr
    return [
        f"{equation.source_info.name_stack}: {equation.primitive.name} of "
        + " and ".join(variable.aval.str_short() for variable in equation.invars)
        for equation in equations(jaxpr)
        if equation.primitive.name in PRODUCTS
        and any(jnp.dtype(variable.aval.dtype).itemsize >= 4 for variable in equation.invars)
    ]
