"""Rows of mapped files: read, not mapped, and those that the mapping shows."""

import numpy as np
import pytest

from stepax.data.stream_columns import Column, Mapped, column

ROWS = np.arange(60, dtype=np.float32).reshape(10, 2, 3)


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "x.npy", ROWS)
    return tmp_path / "x.npy"


def read(array, numbers, dtype=None):
    part = column(array)
    out = np.empty((len(numbers), *array.shape[1:]), dtype or array.dtype)
    part.read(np.array(numbers), out)
    return type(part), out


@pytest.mark.parametrize("numbers", [[3, 1, 1, 9], [4, 5, 6], [0], [9], [5, 4, 3], [2, 4, 4]])
@pytest.mark.parametrize("mode", ["r", "r+", "c", None])
def test_rows_are_those_of_the_array(path, numbers, mode):
    kind, found = read(np.load(path, mmap_mode=mode), numbers)
    assert kind is (Mapped if mode in ("r", "r+") else Column)
    np.testing.assert_array_equal(found, ROWS[numbers])


@pytest.mark.parametrize(
    "view", [lambda a: a[3:8], lambda a: a[::-1], lambda a: a[1::3], lambda a: a[:, 1], lambda a: np.asarray(a)[2:]]
)
def test_views_of_a_mapped_file_are_read_where_they_lie(path, view):
    kind, found = read(view(np.load(path, mmap_mode="r")), [1, 2, 0])
    assert kind is Mapped
    np.testing.assert_array_equal(found, view(ROWS)[[1, 2, 0]])


def test_rows_that_are_not_contiguous_stay_mapped(path):
    kind, found = read(np.load(path, mmap_mode="r")[:, :, 1], [4, 0])
    assert kind is Column
    np.testing.assert_array_equal(found, ROWS[[4, 0], :, 1])


def test_a_fortran_array_stays_mapped(tmp_path):
    np.save(tmp_path / "f.npy", np.asfortranarray(ROWS))
    kind, found = read(np.load(tmp_path / "f.npy", mmap_mode="r"), [4, 0])
    assert kind is Column
    np.testing.assert_array_equal(found, ROWS[[4, 0]])


@pytest.mark.parametrize("mode", ["r", None])
def test_another_dtype_is_cast(path, mode):
    _, found = read(np.load(path, mmap_mode=mode), [1, 7], np.int32)
    np.testing.assert_array_equal(found, ROWS[[1, 7]].astype(np.int32))


def test_a_file_that_is_no_longer_the_mapped_one_is_not_read(path):
    array = np.load(path, mmap_mode="r")
    path.unlink()
    assert read(array, [1])[0] is Column
    np.save(path, ROWS + 1)
    kind, found = read(array, [1])
    assert kind is Column
    np.testing.assert_array_equal(found, ROWS[[1]])


def test_a_file_that_has_become_shorter_is_named(path):
    part = column(np.load(path, mmap_mode="r"))
    with open(path, "r+b") as file:
        file.truncate(128 + 24 * 5 + 3)
    out = np.empty((1, 2, 3), np.float32)
    part.read(np.array([4]), out)
    np.testing.assert_array_equal(out, ROWS[[4]])
    with pytest.raises(ValueError, match=r"x\.npy ends before row 5"):
        part.read(np.array([5]), out)


def test_unsaved_changes_are_seen(path):
    array = np.load(path, mmap_mode="r+")
    part = column(array)
    array[2] = 7
    out = np.empty((1, 2, 3), np.float32)
    part.read(np.array([2]), out)
    assert (out == 7).all()
