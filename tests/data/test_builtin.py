import numpy as np
import pytest

from stepax.data import load


@pytest.mark.parametrize(
    ("name", "train", "test", "classes"),
    [
        ("digits", (1437, 8, 8, 1), (360, 8, 8, 1), 10),
        ("iris", (120, 4), (30, 4), 3),
        ("wine", (142, 13), (36, 13), 3),
        ("breast_cancer", (455, 30), (114, 30), 2),
    ],
)
def test_shapes_and_strata(name, train, test, classes):
    dataset = load(name)
    assert (dataset.train["x"].shape, dataset.test["x"].shape) == (train, test)
    assert (dataset.train["x"].dtype, dataset.train["y"].dtype) == (np.float32, np.int32)
    assert (dataset.name, dataset.task, len(dataset.classes)) == (name, "classification", classes)
    shares = [np.bincount(part["y"], minlength=classes) / len(part["y"]) for part in dataset]
    np.testing.assert_allclose(*shares, atol=0.02)


def test_digits_are_images_in_the_unit_interval():
    train, test = load("digits")
    x = np.concatenate([train["x"], test["x"]])
    # 4.884 of 16 is the mean brightness that scikit-learn's own files have.
    assert (x.min(), x.max()) == (0, 1)
    assert x.mean(dtype=np.float64) == pytest.approx(4.88416 / 16, abs=1e-5)


def test_columns_and_classes_have_their_names():
    iris = load("iris")
    assert iris.features[0] == "sepal length (cm)"
    assert iris.classes == ("setosa", "versicolor", "virginica")
    # R. A. Fisher, 1936: the means of the four measurements over all 150 flowers.
    means = np.concatenate([part["x"] for part in iris]).mean(axis=0)
    np.testing.assert_allclose(means, [5.8433, 3.0573, 3.7580, 1.1993], atol=1e-4)


def test_diabetes_is_in_raw_units():
    diabetes = load("diabetes")
    assert (diabetes.task, diabetes.classes) == ("regression", None)
    y = np.concatenate([part["y"] for part in diabetes])
    assert (y.dtype, y.shape, y.min(), y.max()) == (np.float32, (442,), 25, 346)
    age = np.concatenate([part["x"] for part in diabetes])[:, diabetes.features.index("age")]
    assert (age.min(), age.max()) == (19, 79)


def test_the_split_is_fixed_and_follows_the_fraction():
    first, second = load("iris"), load("iris")
    np.testing.assert_array_equal(first.test["x"], second.test["x"])
    assert len(load("iris", test_fraction=0.5).test["y"]) == 75


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("and", lambda a, b: a and b),
        ("or", lambda a, b: a or b),
        ("xor", lambda a, b: a ^ b),
        ("nand", lambda a, b: 1 - (a and b)),
    ],
)
def test_gates(name, answer):
    dataset = load(name)
    expected = [answer(int(a), int(b)) for a, b in dataset.train["x"]]
    assert sorted(map(tuple, dataset.train["x"].tolist())) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert dataset.train["y"].tolist() == dataset.test["y"].tolist() == expected
    assert (dataset.train["y"].dtype, dataset.train["x"].dtype) == (np.int32, np.float32)
    everything = load("gates")
    assert everything.train["y"][:, everything.classes.index(name)].tolist() == expected


def test_the_parts_of_a_gate_share_no_memory():
    train, test = load("xor")
    train["y"][:] = 0
    assert test["y"].tolist() == [0, 1, 1, 0]
