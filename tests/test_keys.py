"""A flat key draws the bits of the stock key."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stepax as sx
from stepax import keys
from stepax.keys import flat


def data(key):
    return jax.random.key_data(key)


def draws(key):
    """One of everything, over shapes with no, one, few and many axes."""
    first, second, third = jax.random.split(key, 3)
    return {
        "bits": [jax.random.bits(first, shape) for shape in [(), (3,), (2, 1, 3), (0, 4)]],
        "small": jax.random.bits(first, (3, 5), "uint8"),
        "normal": jax.random.normal(second, (2, 2, 3)),
        "uniform": jax.random.uniform(third, (2, 2), minval=-1),
        "bernoulli": jax.random.bernoulli(first, 0.3, (2, 1, 4)),
        "permutation": jax.random.permutation(second, 11),
        "split": [data(jax.random.split(key, shape)) for shape in [(2, 2)]],
        "fold_in": data(jax.random.fold_in(first, 12345)),
    }


@pytest.fixture(scope="module")
def both():
    return jax.jit(lambda key: (draws(key), draws(flat(key))))(jax.random.key(3))


def test_every_draw_has_the_bits_of_the_stock_key(both):
    stock, flattened = both
    assert jax.tree.structure(stock) == jax.tree.structure(flattened)
    for (path, a), b in zip(jax.tree_util.tree_flatten_with_path(stock)[0], jax.tree.leaves(flattened), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))
        assert a.dtype == b.dtype


def test_batches_of_keys_under_vmap():
    many = jax.random.split(jax.random.key(1), 3)
    assert flat(many).shape == (3,)

    def sample(key):
        return jax.random.normal(jax.random.fold_in(key, 2), (2, 3))

    @jax.jit
    def three(keys):
        return [jax.vmap(sample)(keys), jax.vmap(sample)(flat(keys)), jax.vmap(lambda key: sample(flat(key)))(keys)]

    stock, outside, inside = three(many)
    np.testing.assert_array_equal(stock, outside)
    np.testing.assert_array_equal(stock, inside)


def test_a_flat_key_is_another_generator_and_flat_again_changes_nothing():
    key = flat(jax.random.key(0))
    assert key.dtype != jax.random.key(0).dtype
    assert flat(key) is key


def test_other_generators_are_returned_as_they_are():
    key = jax.random.key(0, impl="rbg")
    assert flat(key) is key


def test_without_the_interface_the_key_stays(monkeypatch):
    monkeypatch.setattr(keys, "_flat_threefry", lambda: None)
    key = jax.random.key(0)
    assert flat(key) is key


def test_without_partitionable_threefry_the_key_stays():
    with jax.threefry_partitionable(False):
        key = jax.random.key(0)
        assert flat(key) is key


def test_a_state_never_holds_a_flat_key():
    learner = sx.supervised(
        sx.nn.MLP((3, 1), dropout=0.5, normalize=True), sx.losses.mean_squared_error, optax.noisy_sgd(0.1, key=0)
    )
    batch = {"x": jnp.ones((2, 2)), "y": jnp.ones(2)}
    state = jax.eval_shape(learner.init, jax.random.key(0), batch)
    for leaf in jax.tree.leaves(state) + jax.tree.leaves(jax.eval_shape(learner.step, state, batch)[0]):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            assert leaf.dtype == jax.random.key(0).dtype
