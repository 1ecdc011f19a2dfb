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


def test_a_program_that_xla_divides_among_cpu_devices_takes_the_form_for_a_mesh():
    form_p = Primitive("stepax_test_form")
    define(form_p, lambda x: x, lambda x: x + 1, lambda x: x + 2)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.P("data"))
    x = jnp.zeros(8)
    assert form_p.bind(x).tolist() == [0] * 8
    assert jax.jit(form_p.bind)(x).tolist() == [1] * 8
    assert jax.jit(form_p.bind)(jax.device_put(x, rows)).tolist() == [2] * 8
    local = jax.shard_map(form_p.bind, mesh=mesh, in_specs=jax.P("data"), out_specs=jax.P("data"))
    assert jax.jit(local)(x).tolist() == [1] * 8
    grid = jax.make_mesh((4, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    part = jax.shard_map(form_p.bind, mesh=grid, in_specs=jax.P("data"), out_specs=jax.P("data"), axis_names={"data"})
    assert jax.jit(part)(x).tolist() == [2] * 8
