"""A primitive has one value, by whichever program it is computed."""

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive

from stepax.ops.primitive import define


def test_the_cpu_has_its_own_program_and_every_other_platform_the_stock_one():
    double = Primitive("stepax_test_double")
    define(double, lambda x, *, times: x * times, lambda x, *, times: sum([x] * times))
    x = jnp.arange(3.0)
    for result in (double.bind(x, times=4), jax.jit(lambda x: double.bind(x, times=4))(x)):
        assert result.tolist() == [0.0, 4.0, 8.0]
    assert jax.eval_shape(lambda x: double.bind(x, times=2), x) == jax.ShapeDtypeStruct((3,), jnp.float32)
    lowered = jax.jit(lambda x: double.bind(x, times=4)).trace(x)
    programs = {name: lowered.lower(lowering_platforms=(name,)).as_text() for name in ("cpu", "cuda", "tpu")}
    assert "add" in programs["cpu"]
    assert "multiply" not in programs["cpu"]
    assert all("multiply" in programs[name] for name in ("cuda", "tpu"))
