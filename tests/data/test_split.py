import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from stepax.data.split import split


def labelled(counts):
    y = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    return {"x": np.arange(len(y), dtype=np.float32)[:, None], "y": y}


def test_it_is_scikit_learns_split():
    rows = labelled([50, 30, 20])
    train, test = split(rows, 0.2, ("a", "b", "c"))
    x_train, x_test, y_train, y_test = train_test_split(
        rows["x"], rows["y"], test_size=0.2, stratify=rows["y"], random_state=0
    )
    for mine, theirs in [(train["x"], x_train), (test["x"], x_test), (train["y"], y_train), (test["y"], y_test)]:
        np.testing.assert_array_equal(mine, theirs)
    assert np.bincount(test["y"]).tolist() == [10, 6, 4]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(4, 30), min_size=2, max_size=4), st.floats(0.3, 0.6))
def test_every_row_is_in_exactly_one_part_and_every_class_in_both(counts, fraction):
    rows = labelled(counts)
    train, test = split(rows, fraction, tuple("abcd"[: len(counts)]))
    assert sorted(np.concatenate([train["x"], test["x"]])[:, 0].tolist()) == rows["x"][:, 0].tolist()
    for part in (train, test):
        np.testing.assert_array_equal(rows["y"][part["x"][:, 0].astype(int)], part["y"])
        assert set(part["y"].tolist()) == set(range(len(counts)))


def test_targets_are_split_without_strata():
    rows = {"x": np.zeros((10, 1)), "y": np.linspace(0, 1, 10)}
    train, test = split(rows, 0.25, None)
    assert (len(train["y"]), len(test["y"])) == (7, 3)


def test_a_fraction_of_zero_keeps_every_row_in_order():
    rows = labelled([1, 1])
    train, test = split(rows, 0, ("a", "b"))
    np.testing.assert_array_equal(train["x"], rows["x"])
    assert test["x"].shape == (0, 1)
    assert test["y"].dtype == np.int32


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(ValueError, match=r"test_fraction is .*: expected a number from 0 to below 1"):
        split(labelled([5, 5]), fraction, ("a", "b"))


def test_too_few_rows_are_refused_with_the_numbers():
    with pytest.raises(
        ValueError, match="divides 4 rows into 3 for training and 1 for testing: expected at least 2 in each"
    ):
        split(labelled([2, 2]), 0.2, ("a", "b"))
    with pytest.raises(ValueError, match="divides 1 rows into 0 for training"):
        split({"x": np.zeros((1, 1)), "y": np.zeros(1)}, 0.5, None)


def test_a_class_with_one_row_is_named():
    with pytest.raises(ValueError, match="class 'rare' has fewer than 2 rows"):
        split(labelled([30, 1]), 0.2, ("common", "rare"))
