"""Small learners, with what is awkward about them, for the tests of transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import stepax as sx


def mlp(widths=(7, 3), dropout=0.0, optimizer=None):
    model = sx.nn.MLP((*widths[:-1], 3), dropout=dropout)
    return sx.supervised(model, sx.losses.cross_entropy, optimizer or optax.sgd(0.1))


def cnn(optimizer=None):
    """With batch normalisation: variables that a step changes."""
    model = sx.nn.CNN((4,), (8,), 3, normalize=True)
    return sx.supervised(model, sx.losses.cross_entropy, optimizer or optax.adam(1e-2))


def batch_of(rows, shape=(5,), seed=0):
    random = np.random.default_rng(seed)
    return {"x": random.normal(size=(rows, *shape)).astype(np.float32), "y": np.arange(rows, dtype=np.int32) % 3}


def start(learner, data, seed=0):
    """In float64 where that is on."""
    state = jax.jit(learner.init)(jax.random.key(seed), data)
    dtype = jnp.result_type(float)
    return jax.tree.map(lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, state)


def close(first, second, tolerance):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for (path, a), b in zip(jax.tree_util.tree_flatten_with_path(first)[0], jax.tree.leaves(second), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(a, b, tolerance, tolerance, err_msg=jax.tree_util.keystr(path))
