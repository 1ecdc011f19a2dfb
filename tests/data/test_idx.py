import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stepax.data import load, read_idx
from stepax.data.idx import DTYPES, PUBLISHED


def encoded(array, code):
    """The bytes of an idx file."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(DTYPES[code]).tobytes()


def written(path, content):
    path.write_bytes(gzip.compress(content))
    return path


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_is_written_is_read(tmp_path_factory, data):
    code = data.draw(st.sampled_from(sorted(DTYPES)))
    dtype = np.dtype(DTYPES[code]).newbyteorder("=")
    array = data.draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5)))
    read = read_idx(written(tmp_path_factory.mktemp("idx") / "a.gz", encoded(array, code)))
    assert read.dtype == dtype
    assert read.flags.writeable
    np.testing.assert_array_equal(read, array)


IMAGES = encoded(np.arange(24).reshape(2, 3, 4), 0x08)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(IMAGES)[:-9], "is truncated or no gzip file"),
        (gzip.compress(IMAGES)[:10], "is truncated or no gzip file"),
        (IMAGES, "is truncated or no gzip file"),
        (b"<html>not found</html>", "is truncated or no gzip file"),
        (b"", "begins with nothing"),
        (gzip.compress(b""), "begins with nothing"),
        (gzip.compress(b"\x89PNG"), "begins with 89504e47: expected the magic number"),
        (gzip.compress(b"\0\0\x07\x01\0\0\0\0"), "begins with 00000701"),
        (gzip.compress(IMAGES[:9]), "ends within its header, after 9 of 16 bytes"),
        (gzip.compress(IMAGES[:-1]), r"unpacks to 39 bytes: expected 40 for shape \(2, 3, 4\)"),
        (gzip.compress(IMAGES + b"\0"), "unpacks to 41 bytes: expected 40"),
    ],
    # Names made from the contents would hold the time that gzip writes into its header, another in every worker.
    ids=map(str, range(11)),
)
def test_a_bad_file_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"a.gz {message}"):
        read_idx(path)


def test_a_flipped_bit_is_refused(tmp_path):
    path = tmp_path / "a.gz"
    content = bytearray(gzip.compress(IMAGES))
    content[-6] ^= 1  # in gzip's own checksum
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"a.gz is truncated or no gzip file"):
        read_idx(path)


@pytest.mark.parametrize(("name", "mean", "deviation"), [("mnist", 0.1307, 0.3081), ("fashion_mnist", 0.2860, 0.3530)])
def test_published_statistics(data_dir, name, mean, deviation):
    if not (data_dir / name).is_dir():
        pytest.skip(f"{name} is not in the folder of data sets")
    train, test = dataset = load(name)
    assert (train["x"].shape, test["x"].shape) == ((60_000, 28, 28, 1), (10_000, 28, 28, 1))
    assert (train["x"].dtype, train["y"].dtype, dataset.classes) == (np.float32, np.int32, PUBLISHED[name].classes)
    assert (train["x"].min(), train["x"].max()) == (0, 1)
    assert train["x"].mean(dtype=np.float64) == pytest.approx(mean, abs=5e-5)
    assert train["x"].std(dtype=np.float64) == pytest.approx(deviation, abs=5e-5)


def test_the_first_labels_and_counts_are_the_published_ones(data_dir):
    if not (data_dir / "mnist").is_dir():
        pytest.skip("mnist is not in the folder of data sets")
    labels = read_idx(data_dir / "mnist" / "train-labels-idx1-ubyte.gz")
    assert labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
