"""A primitive of ours, from what it computes by ``lax`` and what is fastest on a CPU."""

from collections.abc import Callable
from functools import partial

import jax
from jax.extend.core import Primitive
from jax.interpreters import mlir

__all__ = ["define"]


def define(primitive: Primitive, stock: Callable, on_cpu: Callable) -> None:
    """Tells JAX a primitive's shapes, its value outside of jit (where nothing is in a loop), and its programs."""
    primitive.def_impl(stock)
    primitive.def_abstract_eval(lambda *avals, **static: jax.make_jaxpr(partial(stock, **static))(*avals).out_avals[0])
    mlir.register_lowering(primitive, mlir.lower_fun(stock, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(on_cpu, multiple_results=False), platform="cpu")
