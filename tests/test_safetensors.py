"""A sound file of any library loads; of every other the fault is told, before anything large is made of it."""

import json
import os
import pathlib
import tracemalloc
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as reference

from stepax import safetensors
from stepax.safetensors import DTYPES, WeightsError


def described(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}


def put(path: pathlib.Path, header: Any, data: bytes = bytes(8)) -> pathlib.Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_every_dtype_makes_the_round_trip(tmp_path: pathlib.Path, dtype: np.dtype) -> None:
    arrays = {
        "a": np.arange(6).reshape(2, 3).astype(dtype),
        "scalar": np.ones((), dtype),
        "empty": np.zeros((3, 0), dtype),
        "turned": np.arange(6).reshape(2, 3).astype(dtype).T,
    }
    safetensors.write(tmp_path / "a", arrays, {"format": "x"})
    content = safetensors.read(tmp_path / "a")
    assert content.metadata == {"format": "x"}
    assert content.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert content.arrays[name].dtype == dtype
        assert content.arrays[name].shape == array.shape
        assert content.arrays[name].tobytes() == array.tobytes()


def test_the_package_reads_ours_and_we_read_the_packages(tmp_path: pathlib.Path) -> None:
    arrays = {"a.b": np.arange(6.0).reshape(2, 3), "c": np.array([True, False]), "d": np.int8(3)[...]}
    safetensors.write(tmp_path / "ours", arrays, {})
    reference.save_file(arrays, tmp_path / "theirs", {"epoch": "3", "author": "x"})
    theirs = safetensors.read(tmp_path / "theirs")
    assert theirs.metadata == {"epoch": "3", "author": "x"}
    for loaded in (reference.load_file(tmp_path / "ours"), theirs.arrays):
        for name, array in arrays.items():
            np.testing.assert_array_equal(loaded[name], array, strict=True)


def test_numbers_of_the_other_byte_order(tmp_path: pathlib.Path) -> None:
    safetensors.write(tmp_path / "a", {"a": np.arange(3, dtype=">i4")}, {})
    np.testing.assert_array_equal(
        safetensors.read(tmp_path / "a").arrays["a"], np.arange(3, dtype=np.int32), strict=True
    )


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"[]", "header is a list"),
        (b"1", "too few|header is a int"),
        (b"{", "header is damaged"),
        (b'{"a": NaN}', "is not described"),
        (b'\xff{"a": 1}', "header is damaged"),
        (b"[" * 100_000, "header is damaged"),
        (b'{"a":' * 100_000, "header is damaged"),
        (b'{"a": ' + b"1" * 10_000 + b"}", "header is damaged"),
        (b'{"a": {"dtype": "F32", "dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', "stands in it twice"),
        (b'{"a": 1, "a": 2}', "stands in it twice"),
        ({"a": described(), "__metadata__": {"x": 1}}, "not text by name"),
        ({"a": described(), "__metadata__": ["x"]}, "not text by name"),
        ({"": described()}, "expected a name"),
        ({"a\0": described()}, "expected a name"),
        ({"a" * 257: described()}, "expected a name"),
        ({"\ud800": described()}, "expected a name"),
        ({"a": [1]}, "is not described"),
        ({"a": described(more=1)}, "is not described"),
        ({"a": described(dtype="O")}, "has the dtype 'O': known are BOOL"),
        ({"a": described(dtype=["F32"])}, r"has the dtype \['F32'\]"),
        ({"a": described(shape=[-2])}, "has the shape"),
        ({"a": described(shape=[2.0])}, "has the shape"),
        ({"a": described(shape=[True, 2])}, "has the shape"),
        ({"a": described(shape="2")}, "has the shape"),
        ({"a": described(shape=[2] + [1] * 32)}, "has the shape"),
        ({"a": described(shape=[2**62, 4])}, "no machine holds as much"),
        ({"a": described(shape=[0, 2**64], data_offsets=[0, 0])}, "no machine holds as much"),
        ({"a": described(shape=[2**32, 2**32])}, "no machine holds as much"),
        ({"a": described(shape=[3])}, r"has 8 bytes, and F32\[3\] needs 12"),
        ({"a": described(dtype="F64")}, r"has 8 bytes, and F64\[2\] needs 16"),
        ({"a": described(data_offsets=[8, 0])}, "has -8 bytes"),
        ({"a": described(data_offsets=[0])}, "has the data_offsets"),
        ({"a": described(data_offsets=[0, "8"])}, "has the data_offsets"),
        ({"a": described(data_offsets=[8, 16])}, "leaves a gap before it"),
        ({"a": described(data_offsets=[2**64, 2**64 + 8])}, "leaves a gap before it"),
        ({"a": described(shape=[4], data_offsets=[0, 16])}, "have 16 bytes, and it holds 8"),
        ({"a": described(shape=[1], data_offsets=[0, 4])}, "have 4 bytes, and it holds 8"),
        ({"a": described(), "b": described()}, "overlaps another"),
        ({"a": described(), "b": described(shape=[1], data_offsets=[4, 8])}, "overlaps another"),
        ({}, "have 0 bytes, and it holds 8"),
    ],
)
def test_hostile_headers_are_refused(tmp_path: pathlib.Path, header: Any, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        safetensors.read(put(tmp_path / "a", header))


def test_booleans_are_0_or_1(tmp_path: pathlib.Path) -> None:
    header = {"a": described(dtype="BOOL", shape=[8])}
    assert safetensors.read(put(tmp_path / "a", header, b"\0\1" * 4)).arrays["a"].sum() == 4
    with pytest.raises(WeightsError, match="neither 0 nor 1"):
        safetensors.read(put(tmp_path / "a", header, b"\0\2" * 4))


@pytest.mark.parametrize("length", [0, 1, 2**23 + 1, 2**32, 2**63, 2**64 - 1])
def test_a_header_that_claims_a_length(tmp_path: pathlib.Path, length: int) -> None:
    whole = put(tmp_path / "a", {"a": described()}).read_bytes()
    (tmp_path / "a").write_bytes(length.to_bytes(8, "little") + whole[8:])
    with pytest.raises(WeightsError, match="header"):
        safetensors.read(tmp_path / "a")


def test_a_small_file_never_takes_much_memory(tmp_path: pathlib.Path) -> None:
    with open(tmp_path / "sparse", "wb") as file:  # says that it has a terabyte, and the disk agrees
        header = json.dumps({"a": described(shape=[2**38], data_offsets=[0, 2**40])}).encode()
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 2**40)

    def refuse(header: safetensors.Header) -> None:
        raise WeightsError(f"unwanted: {header.entries['a'].shape}")

    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match="unwanted"):
            safetensors.read(tmp_path / "sparse", refuse)
        with pytest.raises(WeightsError, match="at most are read"):
            safetensors.read(put(tmp_path / "a", b" " * (2**23 + 1)))
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_what_is_no_file_is_refused(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in {"missing": "no such file", "pipe": "it is no file", ".": "it is no file"}.items():
        with pytest.raises(WeightsError, match=message):
            safetensors.read(tmp_path / name)
    for content in (b"", b"1234567", bytes(8), bytes(9)):
        (tmp_path / "short").write_bytes(content)
        with pytest.raises(WeightsError, match="too few"):
            safetensors.read(tmp_path / "short")


def test_a_file_that_may_not_be_read(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a", {"a": described()})

    def denied(*_: object) -> None:
        raise PermissionError("denied")

    monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(WeightsError, match="cannot be read: denied"):
        safetensors.read(tmp_path / "a")


def test_every_flipped_bit_of_a_header_is_refused_or_harmless(tmp_path: pathlib.Path) -> None:
    arrays = {"a": np.arange(4.0), "b": np.ones(3, jnp.bfloat16)}
    safetensors.write(tmp_path / "a", arrays, {"format": "x"})
    whole = (tmp_path / "a").read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    refused = 0
    for bit in range(8 * end):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        (tmp_path / "a").write_bytes(changed)
        try:
            content = safetensors.read(tmp_path / "a")
        except WeightsError:
            refused += 1
        else:  # another name, another dtype of the same width
            assert sorted(array.nbytes for array in content.arrays.values()) == [6, 32]
    assert refused > 0.75 * 8 * end


def test_what_cannot_be_written_is_named(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for array in (np.array([None]), np.array(["a"]), np.ones(2, np.complex64)):
        with pytest.raises(TypeError, match=r"^w has dtype"):
            safetensors.write(tmp_path / "a", {"w": array}, {})
    for name in ("", "a\n", "x" * 257, "__metadata__"):
        with pytest.raises(WeightsError, match="1 to 256 printable"):
            safetensors.write(tmp_path / "a", {name: np.ones(2)}, {})
    monkeypatch.setattr(safetensors, "LARGEST_HEADER", 100)
    with pytest.raises(WeightsError, match="2 arrays make a header"):
        safetensors.write(tmp_path / "a", {"a": np.ones(2), "b": np.ones(2)}, {})
    assert not list(tmp_path.iterdir())


def test_where_no_file_can_be_is_told_by_the_path_that_was_given(tmp_path: pathlib.Path) -> None:
    with pytest.raises(WeightsError, match=rf"^{tmp_path}/no/a: there is no folder {tmp_path}/no to write it into$"):
        safetensors.write(tmp_path / "no" / "a", {"a": np.ones(2)}, {})
    with pytest.raises(WeightsError, match=rf"^{tmp_path}: it is a folder"):
        safetensors.write(tmp_path, {"a": np.ones(2)}, {})


def test_a_write_that_fails_leaves_the_old_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    safetensors.write(tmp_path / "a", {"a": np.ones(2)}, {})
    old = (tmp_path / "a").read_bytes()

    def full(*paths: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        safetensors.write(tmp_path / "a", {"a": np.zeros(2)}, {})
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [old]
