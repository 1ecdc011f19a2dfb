"""Every primitive inside of ``shard_map`` on two devices: weights that both share take the gradients of both."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json
import jax, jax.numpy as jnp, numpy as np
from stepax import ops
from stepax.ops import convolution_forms, rows

jax.config.update("jax_num_cpu_devices", 2)
mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
random = np.random.default_rng(0)
x = jnp.asarray(random.normal(size=(64, 8, 8, 4)), jnp.float32)
large = jnp.asarray(random.normal(size=(64, 32, 32, 4)), jnp.float32)
larger = jnp.tile(large, (8, 1, 1, 1))
gates = lambda n: (jnp.full((4, 3 * n), .1), jnp.full((3, 3 * n), .2), jnp.ones(3 * n))
sequence = lambda x: x.reshape(len(x), -1, 4)
cases = {
    "conv": (ops.conv, x, jnp.ones((3, 3, 4, 2))),
    "few channels": (lambda x, k: ops.conv(x[..., :1], k), x, jnp.ones((3, 3, 1, 2))),
    "strides": (lambda x, k: ops.conv(x, k, strides=2), x, jnp.ones((3, 3, 4, 2))),
    "depthwise": (lambda x, k: ops.conv(x, k, groups=4), x, jnp.ones((3, 3, 1, 4))),
    "in parts": (ops.conv, large, jnp.ones((3, 3, 4, 16))),
    "few channels in parts": (lambda x, k: ops.conv(x[..., :1], k), large, jnp.ones((3, 3, 1, 16))),
    "dense": (lambda x, w: ops.dense(x, *w), x, (jnp.ones((4, 3)), jnp.ones(3))),
    "rows": (lambda x, w: rows.scale_rows(x, w) + rows.every_row(w, x.shape[:-1]), larger, jnp.ones(4)),
    "rnn": (lambda x, w: ops.rnn(sequence(x), *w)[0], x, gates(1)),
    "lstm": (lambda x, w: ops.lstm(sequence(x), *(jnp.concatenate([a, a[..., :3]], -1) for a in w))[0], x, gates(3)),
    "gru": (lambda x, w: ops.gru(sequence(x), *w, w[2])[0], x, gates(3)),
    "embed": (lambda x, t: ops.embed(t, (jnp.abs(x[:, 0, 0, 0]) * 3).astype(int)), x, jnp.ones((30, 3))),
    "attention": (lambda x, w: ops.attention(*(sequence(x)[:, :, None] * w,) * 3, causal=True), x, jnp.ones(4)),
    "pooling": (lambda x, w: ops.max_pool(x * w, (2, 2)), x, jnp.ones(4)),
}
P, distances = jax.sharding.PartitionSpec, {}
for name, (f, x, w) in cases.items():
    parts = jax.shard_map(f, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    found, wanted = (jax.jit(jax.grad(lambda w: jnp.sin(g(x, w)).sum()))(w) for g in (parts, f))
    leaves = zip(*map(jax.tree.leaves, (found, wanted)), strict=True)
    distances[name] = max(float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in leaves)
print(json.dumps(distances))
"""


@pytest.fixture(scope="module")
def distances():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, "JAX_PLATFORMS": "cpu"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_gradients_by_what_devices_share_are_sums_over_all(distances):
    assert len(distances) == 14
    assert {name: distance for name, distance in distances.items() if distance > 1e-4} == {}
