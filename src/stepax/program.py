"""Looking into a traced program: its equations, those inside of loops, branches and calls too."""

from collections.abc import Iterator
from typing import Any

import jax

__all__ = ["equations", "inner"]


def equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation of a program, at any depth, once each.

    Args:
        jaxpr: What ``jax.make_jaxpr(function)(*arguments).jaxpr`` is.
    """
    for equation in jaxpr.eqns:
        yield equation
        for part in inner(equation):
            yield from equations(part)


def inner(equation: Any) -> list[Any]:
    """The programs that an equation calls: the body of a loop, branches, a function."""
    found = []
    for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")):
        jaxpr = getattr(value, "jaxpr", value)
        if hasattr(jaxpr, "eqns"):
            found.append(jaxpr)
    return found
