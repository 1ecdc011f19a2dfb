"""Flat and unrolled keys draw the bits of the stock key."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stepax as sx
from stepax import keys
from stepax.keys import flat, unrolled


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


FORMS = pytest.mark.parametrize("form", [flat, unrolled])


@pytest.fixture(scope="module")
def stock():
    return jax.jit(draws)(jax.random.key(3))


@FORMS
def test_every_draw_has_the_bits_of_the_stock_key(form, stock):
    made = jax.jit(lambda key: draws(form(key)))(jax.random.key(3))
    assert jax.tree.structure(stock) == jax.tree.structure(made)
    for (path, a), b in zip(jax.tree_util.tree_flatten_with_path(stock)[0], jax.tree.leaves(made), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))
        assert a.dtype == b.dtype


@FORMS
def test_wide_numbers_have_the_bits_of_the_stock_key(form, x64):
    key = jax.random.key(4)
    for draw in (lambda key: jax.random.normal(key, (3,)), lambda key: jax.random.bits(key, (2, 2), "uint64")):
        np.testing.assert_array_equal(draw(form(key)), draw(key))


@FORMS
def test_batches_of_keys_under_vmap(form):
    many = jax.random.split(jax.random.key(1), 3)
    assert form(many).shape == (3,)

    def sample(key):
        return jax.random.normal(jax.random.fold_in(key, 2), (2, 3))

    @jax.jit
    def three(keys):
        return [jax.vmap(sample)(keys), jax.vmap(sample)(form(keys)), jax.vmap(lambda key: sample(form(key)))(keys)]

    plain, outside, inside = three(many)
    np.testing.assert_array_equal(plain, outside)
    np.testing.assert_array_equal(plain, inside)


@FORMS
def test_it_is_another_generator_and_again_changes_nothing(form):
    key = form(jax.random.key(0))
    assert key.dtype != jax.random.key(0).dtype
    assert form(key) is key


@FORMS
def test_other_generators_are_returned_as_they_are(form):
    key = jax.random.key(0, impl="rbg")
    assert form(key) is key


@FORMS
def test_without_the_interface_the_key_stays(form, monkeypatch):
    monkeypatch.setattr(keys, "_generator", lambda *given, **functions: None)
    for made in (keys._flat_threefry, keys._unrolled_threefry):
        made.cache_clear()
    key = jax.random.key(0)
    try:
        assert form(key) is key
    finally:
        for made in (keys._flat_threefry, keys._unrolled_threefry):
            made.cache_clear()


@FORMS
def test_without_partitionable_threefry_the_key_stays(form):
    with jax.threefry_partitionable(False):
        key = jax.random.key(0)
        assert form(key) is key


def test_an_unrolled_key_draws_without_a_loop():
    """For that it is there: JAX's own draws are a loop on a CPU."""

    def text(form):
        def draw(key):
            first, second = jax.random.split(form(key))
            return jax.random.normal(first, (8,)), jax.random.bernoulli(jax.random.fold_in(second, 3))

        return jax.jit(draw).lower(jax.random.key(0)).as_text()

    assert "stablehlo.while" in text(lambda key: key)
    assert "stablehlo.while" not in text(unrolled)


def test_a_state_never_holds_a_flat_key():
    learner = sx.supervised(
        sx.nn.MLP((3, 1), dropout=0.5, normalize=True), sx.losses.mean_squared_error, optax.noisy_sgd(0.1, key=0)
    )
    batch = {"x": jnp.ones((2, 2)), "y": jnp.ones(2)}
    state = jax.eval_shape(learner.init, jax.random.key(0), batch)
    for leaf in jax.tree.leaves(state) + jax.tree.leaves(jax.eval_shape(learner.step, state, batch)[0]):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            assert leaf.dtype == jax.random.key(0).dtype
