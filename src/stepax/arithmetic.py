"""The arithmetic of a function, counted in its program: matrix products and convolutions, at every length of a scan."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.interpreters.partial_eval import dce_jaxpr

from stepax.program import inner

__all__ = ["counted", "flops", "flops_by_scope"]

# What JAX calls a GPU's platform is the name of its maker's language.
GPUS = ("cuda", "rocm")


def flops(function: Callable, *arguments: Any, platform: str | None = None) -> int:
    """Floating-point operations of matrix products and convolutions, two for each multiply-and-add.

    What no result depends on does not count, and neither do the zeros of a spread convolution. A loop of unknown
    length counts once; of branches the largest counts, of ``jax.lax.platform_dependent``'s the one of the platform.

    Args:
        function: A function that JAX can trace.
        *arguments: Its arguments, arrays or their shapes.
        platform: Where it is to run: ``"cpu"``, ``"gpu"`` (or ``"cuda"``, ``"rocm"``), ``"tpu"``; where JAX runs
            programs now unless given.

    Returns:
        The number of operations.

    Raises:
        ValueError: The function has no branch for the platform.

    >>> flops(lambda a, b: a @ b, jax.ShapeDtypeStruct((2, 3), "float32"), jax.ShapeDtypeStruct((3, 5), "float32"))
    60
    """
    return counted(jax.make_jaxpr(function)(*arguments).jaxpr, platform)


def flops_by_scope(function: Callable, *arguments: Any, platform: str | None = None) -> dict[str, int]:
    """The operations that :func:`flops` counts, by the scopes in which they were traced.

    Args:
        function: As in ``flops``.
        *arguments: As in ``flops``.
        platform: As in ``flops``.

    Returns:
        The number of operations by scope, as ``jax.named_scope`` and Flax name them: ``"CNN/conv_0"``. Scopes without
        any are left out.

    Raises:
        ValueError: As in ``flops``.
    """
    return dict(_whole(jax.make_jaxpr(function)(*arguments).jaxpr, platform))


def counted(jaxpr: Any, platform: str | None = None) -> int:
    """The operations of a program that is traced already, as :func:`flops` counts them.

    Args:
        jaxpr: What ``jax.make_jaxpr(function)(*arguments).jaxpr`` is.
        platform: As in ``flops``.

    Raises:
        ValueError: As in ``flops``.
    """
    return _whole(jaxpr, platform).total()


def _whole(jaxpr: Any, platform: str | None) -> Counter[str]:
    """By scope, without what no result depends on."""
    return _count(dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[0], platform or jax.default_backend(), "")


def _count(jaxpr: Any, platform: str, scope: str) -> Counter[str]:
    """By scope; the names in a program that is called go on from those around the call."""
    total: Counter[str] = Counter()
    for equation in jaxpr.eqns:
        own = "/".join(filter(None, (scope, str(equation.source_info.name_stack))))
        if count := _of(equation):
            total[own] += count
        total.update(_inside(equation, platform, own))
    return total


def _inside(equation: Any, platform: str, scope: str) -> Counter[str]:
    """What the programs count that an equation calls."""
    parts = [_count(jaxpr, platform, scope) for jaxpr in inner(equation)]
    if equation.primitive.name == "cond":
        platforms = equation.params.get("branches_platforms")
        return max(parts, key=Counter.total) if platforms is None else parts[_branch(platforms, platform)]
    times = equation.params["length"] if equation.primitive.name == "scan" else 1
    return Counter({own: times * sum(part[own] for part in parts) for part in parts for own in part})


def _of(equation: Any) -> int:
    """What an equation itself computes."""
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        depth = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        return 2 * depth * math.prod(equation.outvars[0].aval.shape)
    if name == "stepax_product":
        depth = equation.invars[0].aval.shape[-2:][params["summed"][0]]
        return 2 * depth * math.prod(equation.outvars[0].aval.shape)
    if name in ("conv_general_dilated", "stepax_conv"):
        kernel, output = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
        # What one output sums over: the kernel without its features, which come last or as dimension_numbers say.
        features = kernel[params["dimension_numbers"].rhs_spec[0]] if "dimension_numbers" in params else kernel[-1]
        spread = params["lhs_dilation"] if "lhs_dilation" in params else params["form"].spread
        return 2 * math.prod(kernel) // features * math.prod(output) // math.prod(spread)
    if name == "stepax_conv_kernel_gradient":
        kernel, output = equation.outvars[0].aval.shape, equation.invars[1].aval.shape
        return 2 * math.prod(kernel[:-1]) * math.prod(output)
    return 0


def _branch(platforms: Sequence[Sequence[str] | None], platform: str) -> int:
    """The number of the branch that a platform takes; ``None`` stands for all that have none of their own."""
    names = GPUS if platform == "gpu" else (platform,)
    for i, served in enumerate(platforms):
        if served is None or any(name in served for name in names):
            return i
    known = ", ".join(name for served in platforms for name in served or ())
    raise ValueError(f"platform: the function has no branch for {platform!r}; there are {known}")
