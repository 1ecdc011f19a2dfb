"""Equations at any depth of a traced program."""

import jax
import jax.numpy as jnp
import numpy as np

from stepax.program import digest, equations, inner


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


def traced(function, *arguments):
    return digest(jax.make_jaxpr(function)(*arguments))


def test_a_digest_is_of_what_is_computed_and_not_of_names():
    x, large = jnp.ones(3), np.arange(100.0)

    def scaled(factor):
        return lambda x: jax.lax.fori_loop(0, 3, lambda i, y: jax.nn.relu(y * factor), x)

    def other_name(y):
        return jax.lax.fori_loop(0, 3, lambda i, z: jax.nn.relu(z * 2.0), y)

    assert traced(scaled(2.0), x) == traced(scaled(2.0), x) == traced(other_name, x)
    different = {
        traced(scaled(2.0), x),
        traced(scaled(3.0), x),
        traced(scaled(2.0), jnp.ones(4)),
        traced(lambda x: x + 2.0, x),
        traced(lambda x: x.sum() + large.sum(), x),
        traced(lambda x: x[:, None] + large[None], x),
        traced(lambda x: x[:, None] + (large[None] + 1), x),
        traced(lambda x: jnp.cumsum(x), x),
        traced(lambda x: jnp.cumsum(x, axis=0)[::-1], x),
    }
    assert len(different) == 9
