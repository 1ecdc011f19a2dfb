"""Equations at any depth of a traced program."""

import jax
import jax.numpy as jnp

from stepax.program import equations, inner


def test_equations_of_loops_branches_and_calls_are_found_once():
    def function(x):
        x = jax.jit(jnp.sin)(x)
        x, _ = jax.lax.scan(lambda x, _: (jnp.cos(x), None), x, None, length=3)
        return jax.lax.cond(x > 0, jnp.tan, lambda x: jnp.exp(x), x)

    names = [equation.primitive.name for equation in equations(jax.make_jaxpr(function)(1.0).jaxpr)]
    assert [names.count(name) for name in ("sin", "cos", "tan", "exp", "scan")] == [1] * 5


def test_what_calls_nothing_has_nothing_inside():
    (equation,) = jax.make_jaxpr(jnp.sin)(1.0).jaxpr.eqns
    assert inner(equation) == []
