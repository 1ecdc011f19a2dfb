"""Looking into a traced program: its equations, those inside of loops, branches and calls too."""

import hashlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

__all__ = ["digest", "equations", "inner"]


def equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation of a program, at any depth, once each.

    Args:
        jaxpr: What ``jax.make_jaxpr(function)(*arguments).jaxpr`` is.
    """
    for equation in jaxpr.eqns:
        yield equation
        for part in inner(equation):
            yield from equations(part)


def digest(program: Any) -> str:
    """SHA-256 of what a traced program computes: operations, shapes, literals and constants, and nothing of names.

    Args:
        program: What ``jax.make_jaxpr`` returns.
    """
    sha = hashlib.sha256()

    def number(value: Any) -> None:
        if jax.dtypes.issubdtype(jax.typeof(value).dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        sha.update(np.ascontiguousarray(value).tobytes())

    def follow(jaxpr: Any) -> None:
        places: dict[Any, int] = {}

        def tell(variables: Any) -> None:
            for variable in variables:
                if hasattr(variable, "val"):
                    number(variable.val)
                else:
                    sha.update(f"{places.setdefault(variable, len(places))}:{variable.aval.str_short()} ".encode())

        tell(jaxpr.invars)
        for equation in jaxpr.eqns:
            sha.update(equation.primitive.name.encode())
            tell(equation.invars)
            tell(equation.outvars)
            for name, value in sorted(equation.params.items()):
                if isinstance(value, bool | int | float | str | np.dtype) or _is_plain(value):
                    sha.update(f"{name}={value} ".encode())
            for part in inner(equation):
                follow(part)
        tell(jaxpr.outvars)

    for constant in program.consts:
        number(constant)
    follow(program.jaxpr)
    return sha.hexdigest()


def _is_plain(value: Any) -> bool:
    """Whether a value's text is the same in every process: numbers in tuples, and tuples of them, named or not."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def inner(equation: Any) -> list[Any]:
    """The programs that an equation calls: the body of a loop, branches, a function."""
    found = []
    for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")):
        jaxpr = getattr(value, "jaxpr", value)
        if hasattr(jaxpr, "eqns"):
            found.append(jaxpr)
    return found
