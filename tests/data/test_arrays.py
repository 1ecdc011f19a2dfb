import pickle
import zipfile

import numpy as np
import pytest

from stepax.data import load


@pytest.fixture
def archive(tmp_path):
    """Writes arrays to an archive."""

    def write(**arrays):
        path = tmp_path / "arrays.npz"
        np.savez(path, **arrays)
        return path

    return write


X, Y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2


@pytest.mark.parametrize("names", [("x", "y"), ("X", "y"), ("x_train", "y_train"), ("X_train", "Y_train")])
def test_it_is_split_by_class_where_it_has_no_test_rows(archive, names):
    dataset = load(archive(**dict(zip(names, (X, Y), strict=True))))
    assert (dataset.name, dataset.task, dataset.classes, dataset.features) == (
        "arrays",
        "classification",
        ("0", "1"),
        None,
    )
    assert (dataset.train["x"].dtype, dataset.train["y"].dtype) == (np.float32, np.int32)
    assert [np.bincount(part["y"]).tolist() for part in dataset] == [[8, 8], [2, 2]]
    for part in dataset:
        np.testing.assert_array_equal(part["x"][:, 0] / 2 % 2, part["y"])


def test_its_own_split_is_kept_and_labels_mean_the_same_in_both_parts(archive):
    path = archive(x_train=X, y_train=np.repeat([5, 9], 10), x_test=X[:3], y_test=np.array([9, 7, 9]))
    train, test = dataset = load(path)
    assert dataset.classes == ("5", "7", "9")
    assert train["y"].tolist() == [0] * 10 + [2] * 10
    assert test["y"].tolist() == [2, 1, 2]
    np.testing.assert_array_equal(test["x"], X[:3])
    with pytest.raises(ValueError, match=r"holds its own test rows: test_fraction=0.3 does not apply"):
        load(path, test_fraction=0.3)


def test_bytes_of_the_shape_of_images_become_images(archive):
    grey = np.full((10, 3, 4), 255, np.uint8)
    dataset = load(archive(x=grey, y=np.zeros(10, int)))
    assert dataset.train["x"].shape == (8, 3, 4, 1)
    assert dataset.train["x"].max() == 1
    colour = load(archive(x=np.full((10, 3, 4, 3), 51, np.uint8), y=np.zeros(10, int)))
    np.testing.assert_allclose(colour.train["x"], 0.2)
    assert colour.train["x"].shape == (8, 3, 4, 3)
    assert load(archive(x=np.full((10, 3), 255, np.uint8), y=np.zeros(10, int))).train["x"].max() == 255


def test_kinds_of_targets(archive):
    assert load(archive(x=X, y=np.linspace(0, 1, 20))).task == "regression"
    assert load(archive(x=X, y=Y), task="regression").train["y"].dtype == np.float32
    assert load(archive(x=X, y=np.array(["b", "a"] * 10))).classes == ("a", "b")
    tokens = load(archive(x=X, y=np.full((20, 3), 7)))
    assert (tokens.task, tokens.classes, tokens.train["y"].tolist()[0]) == ("classification", None, [7, 7, 7])
    several = load(archive(x=X, y=np.ones((20, 2))))
    assert (several.task, several.train["y"].dtype, several.train["y"].shape) == ("regression", np.float32, (16, 2))
    assert load(archive(x=X[:, 0], y=Y)).train["x"].shape == (16, 1)


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        (
            {"x": np.array([1, "a", None], object), "y": Y[:3]},
            ValueError,
            "array 'x' holds Python objects, which are never",
        ),
        ({"x": X}, ValueError, "has no array 'y', it holds 'x'"),
        ({}, ValueError, "has no array 'x', it holds nothing"),
        ({"x": X, "y": Y, "x_test": X}, ValueError, "has no array 'y_test'"),
        ({"x": X, "y": Y, "y_test": Y}, ValueError, "has no array 'x_test'"),
        ({"x": X, "x_train": X, "y": Y}, ValueError, "holds both 'x' and 'x_train'"),
        ({"x": X, "X": X, "y": Y}, ValueError, "holds 'x' twice"),
        (
            {"x": X, "y": Y, "x_tset": X},
            ValueError,
            "array 'x_tset'.* mean 'x_test'.; expected x and y, or x_train",
        ),
        ({"x": X, "y": Y[:-1]}, ValueError, r'\["y"\] has 19 rows, but .*\["x"\] has 20'),
        (
            {"x": np.where(X == 6, np.nan, X), "y": Y},
            ValueError,
            "holds NaN or inf in 1 of 20 rows, the first of them row 3",
        ),
        ({"x": X, "y": np.where(Y == 1, np.nan, 0.5)}, ValueError, r'\["y"\] holds NaN or inf in 10 of 20 rows'),
        ({"x": X[:0], "y": Y[:0]}, ValueError, "is empty"),
        ({"x": np.array(1.0), "y": Y}, ValueError, "'x' of .* is a scalar"),
        ({"x": X.astype(complex), "y": Y}, TypeError, "'x' of .* has dtype complex128"),
        ({"x": X.astype(str), "y": Y}, TypeError, "'x' of .* has dtype <U"),
        ({"x": X, "y": np.full((20, 2), 2**40)}, ValueError, "labels outside the range of int32"),
        ({"x": X, "y": np.full((20, 2), "a")}, TypeError, "'y' of .* has dtype <U1"),
        (
            {"x": X, "y": Y, "x_test": X[:, :1], "y_test": Y},
            ValueError,
            r"rows differ in shape: x \(2,\) and x_test \(1,\)",
        ),
        ({"x": X, "y": Y, "x_test": X, "y_test": Y.astype(str)}, TypeError, "y has dtype int64 and y_test <U"),
    ],
)
def test_a_bad_archive_is_refused_by_name(archive, arrays, error, message):
    with pytest.raises(error, match=message) as caught:
        load(archive(**arrays))
    assert "arrays.npz" in str(caught.value)


class Bomb:
    """Unpickling it would fail the test."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


def test_a_pickle_under_any_name_is_never_loaded(tmp_path, archive):
    lone = tmp_path / "lone.npz"
    lone.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"lone.npz is not a readable .npz archive"):
        load(lone)
    with pytest.raises(ValueError, match="holds Python objects"):
        load(archive(x=np.array([Bomb()], object), y=Y[:1]))


def test_damaged_archives_are_refused(tmp_path, archive):
    path = archive(x=X, y=Y)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"is not a readable .npz archive"):
        load(path)
    flipped = bytearray(content)
    flipped[200] ^= 0xFF
    path.write_bytes(bytes(flipped))
    with pytest.raises(ValueError, match=r"arrays.npz"):
        load(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"is not a readable .npz archive"):
        load(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x", "text")
        file.writestr("y", "text")
    with pytest.raises(ValueError, match="'x' is no array of NumPy"):
        load(path)
