"""A primitive of ours, from what it computes by ``lax`` and what is fastest on a CPU."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import mlir

__all__ = ["bind", "default_precision", "define", "varying_like"]


def default_precision() -> Any:
    """What ``jax.default_matmul_precision`` says now: a primitive is lowered when the context is over."""
    config: Any = jax.config
    return config.jax_default_matmul_precision


def bind(primitive: Primitive, *operands: Any, **static: Any) -> Any:
    """Applies a primitive to operands that vary over the same axes of a mesh, as JAX's own functions do.

    Inside of ``jax.shard_map`` an operand that all devices share, such as weights, is made to vary where another one
    does: the transpose of that is the sum over devices, without which its gradient would be one device's share.
    """
    return primitive.bind(*(varying_like(operand, *operands) for operand in operands), **static)


def varying_like(array: Any, *others: Any) -> Any:
    """The array, varying over every axis of a mesh over which one of the others does."""
    missing = frozenset().union(*map(_varying, others)) - _varying(array)
    return jax.lax.pcast(array, tuple(missing), to="varying") if missing else array


def _varying(operand: Any) -> frozenset[Any]:
    """The axes of a mesh over which the devices' values may differ; versions of JAX name it differently."""
    kind = jax.typeof(operand)
    return kind.manual_axis_type.varying if hasattr(kind, "manual_axis_type") else getattr(kind, "vma", frozenset())


def define(primitive: Primitive, stock: Callable, on_cpu: Callable, on_mesh: Callable | None = None) -> None:
    """Tells JAX a primitive's shapes, its value outside of jit (where nothing is in a loop), and its programs.

    Args:
        primitive: What is defined.
        stock: Its value by ``lax``.
        on_cpu: As it is fastest on a CPU.
        on_mesh: As it is on several CPU devices among which XLA divides the program: without parts of the batch, which
            would cut across the devices' shares; ``None``: ``stock``.
    """
    primitive.def_impl(stock)
    primitive.def_abstract_eval(lambda *avals, **static: jax.make_jaxpr(partial(stock, **static))(*avals).out_avals[0])
    mlir.register_lowering(primitive, mlir.lower_fun(stock, multiple_results=False))
    alone, divided = (mlir.lower_fun(f, multiple_results=False) for f in (on_cpu, on_mesh or stock))

    def lowered(context: Any, *operands: Any, **static: Any) -> Any:
        return (divided if _is_divided(context) else alone)(context, *operands, **static)

    mlir.register_lowering(primitive, lowered, platform="cpu")


def _is_divided(context: Any) -> bool:
    """Whether XLA divides the program among devices; inside of ``jax.shard_map`` each has a program of its own."""
    around = context.module_context.axis_context
    if hasattr(around, "num_devices"):
        return around.num_devices not in (None, 1)
    if not hasattr(around, "mesh"):
        return False
    return any(size > 1 for axis, size in around.mesh.shape.items() if axis not in around.manual_axes)
