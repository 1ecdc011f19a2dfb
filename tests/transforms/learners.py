"""Small learners, with what is awkward about them, for the tests of transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen

import stepax as sx


def mlp(widths=(7, 3), dropout=0.0, optimizer=None):
    model = sx.nn.MLP((*widths[:-1], 3), dropout=dropout)
    return sx.supervised(model, sx.losses.cross_entropy, optimizer or optax.sgd(0.1))


def cnn(optimizer=None):
    """With batch normalisation: variables that a step changes."""
    model = sx.nn.CNN((4,), (8,), 3, normalize=True)
    return sx.supervised(model, sx.losses.cross_entropy, optimizer or optax.adam(1e-2))


def normalized(optimizer=None):
    """Batch normalisation in an MLP, which compiles sooner."""
    model = sx.nn.MLP((5, 3), normalize=True)
    return sx.supervised(model, sx.losses.cross_entropy, optimizer or optax.sgd(0.1))


def two_networks(optimizer=None):
    """A generative adversarial network on points: two networks, each with its own gradient and optimizer."""
    optimizer = optimizer or optax.sgd(0.05)
    networks = {
        "generator": sx.from_linen(sx.nn.MLP((4, 5))),
        "discriminator": sx.from_linen(sx.nn.MLP((4, 1))),
    }

    def init(key, batch):
        keys = jax.random.split(key, 3)
        points = jnp.zeros((1, 5), batch["x"].dtype)
        params = {name: net.init(k, points)[0] for (name, net), k in zip(networks.items(), keys[1:], strict=True)}
        return sx.new_state(keys[0], params, {}, jax.tree.map(optimizer.init, params, is_leaf=lambda p: "head" in p))

    def judged(params, points):
        return networks["discriminator"].apply(params, {}, points, train=False, key=None)[0][:, 0]

    def made(params, batch, key):
        noise = jax.random.normal(key, batch["x"].shape, batch["x"].dtype)
        return networks["generator"].apply(params, {}, noise, train=False, key=None)[0]

    def step(state, batch, gradient=sx.gradient):
        keys, params, opt_state = jax.random.split(sx.step_key(state), 4), dict(state.params), dict(state.opt_state)

        def discriminator(own, variables, batch, key):
            fake = made(params["generator"], batch, key)
            values = jax.nn.softplus(-judged(own, batch["x"])) + jax.nn.softplus(judged(own, fake))
            return values, (variables, {})

        def generator(own, variables, batch, key):
            return jax.nn.softplus(-judged(params["discriminator"], made(own, batch, key))), (variables, {})

        measured = {}
        for i, (name, objective) in enumerate([("discriminator", discriminator), ("generator", generator)]):
            grads, _, metrics = gradient(objective, params[name], {}, batch, keys[i])
            params[name], opt_state[name], _ = sx.update(optimizer, grads, opt_state[name], params[name])
            measured |= {**metrics, f"{name}_loss": metrics["loss"]}
        return state._replace(params=params, opt_state=opt_state, step=state.step + 1), measured

    def evaluate(state, batch, key):
        fake = jax.nn.softplus(-judged(state.params["discriminator"], made(state.params["generator"], batch, key)))
        return sx.reduce(fake, {}, batch)

    def predict(state, x):
        return judged(state.params["discriminator"], x)

    return sx.Learner(init, step, evaluate, predict)


def self_taught(optimizer=None):
    """Makes its own data: points, and which octant they lie in, from the step's key; batches are ``None``."""
    inner = sx.supervised(sx.nn.MLP((6, 8)), sx.losses.cross_entropy, optimizer or optax.sgd(0.1))

    def points(key, like=jnp.float32):
        x = jax.random.normal(key, (6, 3), like)
        return {"x": x, "y": ((x > 0) * jnp.array([[1, 2, 4]])).sum(-1)}

    def init(key, batch):
        first, second = jax.random.split(key)
        return inner.init(first, points(second))

    def step(state, batch, gradient=sx.gradient):
        own = points(jax.random.fold_in(sx.step_key(state), 1), jax.tree.leaves(state.params)[0].dtype)
        return inner.step(state, own, gradient)

    def evaluate(state, batch, key):
        return inner.evaluate(state, points(key), key)

    return sx.Learner(init, step, evaluate, inner.predict)


class Bag(linen.Module):
    """The mean of a text's vectors, padding left out."""

    @linen.compact
    def __call__(self, tokens):
        real = (tokens != 0)[..., None]
        vectors = sx.ops.embed(self.param("table", linen.initializers.normal(1.0), (9, 4)), tokens)
        return sx.nn.Dense(3, name="head")(jnp.where(real, vectors, 0).sum(1) / jnp.maximum(real.sum(1), 1))


def reader(optimizer=None):
    """A classifier of texts, whose ``x`` are tokens."""
    return sx.supervised(Bag(), sx.losses.cross_entropy, optimizer or optax.sgd(0.1))


def texts_of(*lengths, time=8, seed=0):
    """Texts of such lengths, filled up with padding."""
    tokens = np.random.default_rng(seed).integers(1, 9, (len(lengths), time))
    real = np.arange(time) < np.reshape(lengths, (-1, 1))
    return {"x": (tokens * real).astype(np.int32), "y": np.arange(len(lengths), dtype=np.int32) % 3}


def batch_of(rows, shape=(5,), seed=0):
    random = np.random.default_rng(seed)
    return {"x": random.normal(size=(rows, *shape)).astype(np.float32), "y": np.arange(rows, dtype=np.int32) % 3}


def in_default_precision(tree):
    """In float64 where that is on."""
    dtype = jnp.result_type(float)
    return jax.tree.map(lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


def start(learner, data, seed=0):
    return in_default_precision(jax.jit(learner.init)(jax.random.key(seed), data))


def close(first, second, tolerance):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for (path, a), b in zip(jax.tree_util.tree_flatten_with_path(first)[0], jax.tree.leaves(second), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(a, b, tolerance, tolerance, err_msg=jax.tree_util.keystr(path))
