"""Places are told by rows that are added, or by angles of which only differences matter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from stepax.nn import positions
from stepax.nn.positions import check_positions, places_of


def test_a_rotation_done_by_hand(x64):
    # Heads of 4 and a period of 100: numbers 0 and 2 turn by 1 a place, 1 and 3 by 1/10.
    x = np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 1, 4)
    turned = positions.rotary(period=100).rotation(x, np.array([[2]]))
    first, second = np.cos([2, 0.2]), np.sin([2, 0.2])
    expected = [
        1 * first[0] - 3 * second[0],
        2 * first[1] - 4 * second[1],
        1 * second[0] + 3 * first[0],
        2 * second[1] + 4 * first[1],
    ]
    np.testing.assert_allclose(turned.ravel(), expected, 1e-12)


def test_a_rotation_is_the_papers_up_to_the_order_of_numbers(x64):
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 8))
    places = np.random.default_rng(1).integers(0, 100, (2, 5))
    # As complex numbers, of neighbours.
    order = np.arange(8).reshape(2, 4).T.ravel()
    pairs = x[..., order].reshape(2, 5, 3, 4, 2)
    angles = places[:, :, None, None] * 10_000.0 ** (-2 * np.arange(4) / 8)
    turned = (pairs[..., 0] + 1j * pairs[..., 1]) * np.exp(1j * angles)
    expected = np.stack([turned.real, turned.imag], -1).reshape(x.shape)
    np.testing.assert_allclose(positions.rotary().rotation(x, places)[..., order], expected, 1e-10, 1e-12)


def test_products_depend_on_the_difference_of_places_only(x64):
    rotation = positions.rotary().rotation
    q, k = np.random.default_rng(0).normal(size=(2, 1, 6, 1, 8))
    places = np.arange(6)[None]

    def scores(shift):
        return jnp.einsum("bqhd,bkhd->bqk", rotation(q, places + shift), rotation(k, places + shift))

    np.testing.assert_allclose(scores(0), scores(1000), 1e-9, 1e-9)
    assert np.abs(scores(0) - jnp.einsum("bqhd,bkhd->bqk", q, k)).max() > 0.1
    np.testing.assert_allclose(np.linalg.norm(rotation(q, places), axis=-1), np.linalg.norm(q, axis=-1), 1e-12)


def test_far_places_differ_in_half_precision():
    x = jnp.ones((1, 2, 1, 2), jnp.bfloat16)
    turned = positions.rotary().rotation(x, np.array([[4096, 4097]]))
    assert turned.dtype == jnp.bfloat16
    expected = positions.rotary().rotation(jnp.ones((1, 2, 1, 2)), np.array([[4096, 4097]]))
    np.testing.assert_allclose(turned.astype(np.float32), expected, atol=0.02)


def test_waves_done_by_hand(x64):
    table = positions.sinusoidal(period=100).embedding(None, 3, 4)
    expected = [[np.sin(t), np.cos(t), np.sin(t / 10), np.cos(t / 10)] for t in range(3)]
    np.testing.assert_allclose(table, expected, 1e-12)
    assert positions.sinusoidal().embedding(None, 5, 3).shape == (5, 3)


def test_learned_places_are_a_parameter():
    class Model(linen.Module):
        @linen.compact
        def __call__(self):
            return positions.learned(linen.initializers.ones_init()).embedding(self.param, 4, 3)

    table, variables = Model().init_with_output(jax.random.key(0))
    np.testing.assert_array_equal(variables["params"]["places"], np.ones((4, 3)))
    np.testing.assert_array_equal(table, np.ones((4, 3)))


def test_places_are_counted_over_real_steps():
    mask = np.array([[0, 0, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], bool)
    places = places_of(mask)
    np.testing.assert_array_equal(np.asarray(places)[mask], [0, 1, 0, 1])
    assert (np.asarray(places) >= 0).all()


def test_equal_settings_make_equal_positions():
    assert positions.rotary() == positions.rotary()
    assert hash(positions.learned()) == hash(positions.learned())
    init = linen.initializers.normal(1.0)
    assert positions.learned(init) == positions.learned(init=init)
    for kind in (positions.rotary, positions.sinusoidal):
        assert kind() == kind(10_000.0) == kind(period=10_000.0) == kind(10_000) == kind(period=np.float32(10_000))
    assert positions.sinusoidal(10.0) != positions.sinusoidal()


@pytest.mark.parametrize("kind", [positions.sinusoidal, positions.rotary])
def test_a_period_that_is_none_is_named(kind):
    with pytest.raises(ValueError, match=r"period: expected a number above 0, got 0"):
        kind(period=0)


def test_what_tells_no_places_is_named():
    with pytest.raises(ValueError, match="rotation: expected heads of an even width, got 3"):
        positions.rotary().rotation(np.ones((1, 2, 1, 3)), np.zeros((1, 2), int))
    with pytest.raises(TypeError, match=r"positions: expected Positions such as positions\.rotary"):
        check_positions(positions.rotary)
    with pytest.raises(TypeError, match="mask: expected booleans"):
        places_of(np.ones((1, 2), np.float32))
