import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.preprocessing import StandardScaler

from stepax.data import Scaling, load, min_max, standardization

TABLES = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=6), elements=st.floats(-1e6, 1e6)
)


def test_numbers_by_hand():
    x = np.array([[1, 10], [3, 10], [5, 10]], np.float32)
    scaling = standardization(x)
    np.testing.assert_allclose(scaling.mean, [3, 10])
    np.testing.assert_allclose(scaling.scale, [np.sqrt(8 / 3), 1])
    np.testing.assert_allclose(scaling.apply(x)[:, 1], 0)
    low = min_max(x)
    assert (low.mean.tolist(), low.scale.tolist()) == ([1, 10], [4, 1])
    np.testing.assert_array_equal(low.apply(x), [[0, 0], [0.5, 0], [1, 0]])


def test_it_is_scikit_learns_scaler():
    train, _ = load("wine")
    reference = StandardScaler().fit(train["x"].astype(np.float64))
    scaling = standardization(train["x"])
    np.testing.assert_allclose(scaling.mean, reference.mean_, rtol=1e-6)
    np.testing.assert_allclose(scaling.scale, reference.scale_, rtol=1e-6)


def test_blocks_of_rows_change_nothing():
    x = np.random.default_rng(0).normal(1e4, 1, (10_000, 3)).astype(np.float32)
    np.testing.assert_allclose(standardization(x).scale, x.std(axis=0, dtype=np.float64), rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(TABLES, st.sampled_from([standardization, min_max]))
def test_invert_undoes_apply(x, fit):
    scaling = fit(x)
    assert scaling.mean.shape == scaling.scale.shape == x.shape[1:]
    assert (scaling.scale > 0).all()
    np.testing.assert_allclose(scaling.invert(scaling.apply(x)), x, rtol=1e-9, atol=1e-9 * (1 + np.abs(x).max()))


@settings(max_examples=60, deadline=None)
@given(TABLES)
def test_min_max_goes_to_the_unit_interval(x):
    scaled = min_max(x).apply(x)
    assert scaled.min() == 0
    assert scaled.max() <= 1


@pytest.mark.parametrize("value", [0.1, 1e8 + 1, -7.3])
def test_a_constant_column_gets_scale_one(value):
    # The mean of 1,000 equal numbers is not exactly that number, so the deviation is not exactly 0.
    x = np.full((1000, 1), value)
    assert standardization(x).scale.tolist() == [1]
    assert min_max(x).scale.tolist() == [1]


def test_dtypes():
    assert standardization(np.arange(6).reshape(3, 2)).mean.dtype == np.float32
    assert standardization(np.arange(6.0).reshape(3, 2)).scale.dtype == np.float64
    assert isinstance(standardization(np.arange(3.0)).scale, np.ndarray)


def test_it_works_under_jit_on_any_leading_axes_without_rank_promotion():
    scaling = Scaling(jnp.array([1.0, 2.0]), jnp.array([2.0, 4.0]))
    x = jnp.arange(24.0).reshape(3, 4, 2)
    applied = jax.jit(lambda scaling, x: scaling.apply(x))(scaling, x)
    np.testing.assert_allclose(applied, (np.asarray(x) - [1, 2]) / [2, 4], rtol=1e-6)
    np.testing.assert_allclose(scaling.invert(applied), x, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(scaling.apply(x[0, 0]), applied[0, 0])


def test_bad_rows_are_refused():
    with pytest.raises(ValueError, match="x holds NaN or inf in 1 of 2 rows"):
        standardization(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="x is empty"):
        min_max(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="x: expected rows of one shape, got a list of several"):
        standardization([[1.0], [2.0, 3.0]])
