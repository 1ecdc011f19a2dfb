import dataclasses

import numpy as np
import pytest

from stepax.data import Dataset


def example():
    rows = {"x": np.zeros((3, 2), np.float32), "y": np.zeros(3, np.int32)}
    return Dataset(rows, {"x": rows["x"][:1], "y": rows["y"][:1]}, "toy", "classification", ("a", "b"))


def test_it_unpacks_as_train_and_test():
    dataset = example()
    train, test = dataset
    assert train is dataset.train
    assert test is dataset.test


def test_it_is_frozen_and_compares_by_identity():
    dataset = example()
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.name = "other"
    # Comparing fields would ask a whole array for its truth.
    assert dataset == dataset
    assert dataset != example()


def test_it_prints_shapes_only():
    assert repr(example()) == "Dataset('toy': classification of 2 classes, train x [3, 2] y [3], test x [1, 2] y [1])"
