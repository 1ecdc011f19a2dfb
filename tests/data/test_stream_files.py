"""One file at a time: its description without its rows, and what is wrong with it."""

import numpy as np
import pytest

from stepax.data.stream_files import READERS

DATA = {"x": np.arange(12, dtype=np.float32).reshape(4, 3), "y": np.arange(4)}


def archive(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


def test_an_archive_is_described_by_its_heads(tmp_path):
    reader = READERS[".npz"]
    path = archive(tmp_path / "a.npz", **DATA)
    assert reader.described(path) == (4, {"x": "float32[3]", "y": "int64[]"})
    shard = reader.opened(path)
    np.testing.assert_array_equal(shard.fields["x"], DATA["x"])
    assert [example["y"] for example in shard.examples(np.array([2, 0]))] == [2, 0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [({"x": np.zeros(3), "y": np.zeros(2)}, r"x: \[3\], y: \[2\]"), ({"x": np.array(1)}, r"x: \[\]"), ({}, "none")],
)
def test_an_archive_without_rows_of_one_number_is_refused(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=r"a\.npz: expected arrays with the same number of rows, got " + message):
        READERS[".npz"].described(archive(tmp_path / "a.npz", **arrays))


@pytest.mark.parametrize("damage", ["cut", "text", "middle"])
def test_a_damaged_archive_is_named(tmp_path, damage):
    path = archive(tmp_path / "a.npz", x=np.random.default_rng(0).normal(size=(200, 8)))
    content = path.read_bytes()
    broken = {"cut": content[:100], "text": b"x,y\n1,2\n"}
    broken["middle"] = content[:4000] + bytes(64) + content[4064:]
    path.write_bytes(broken[damage])
    with pytest.raises(ValueError, match=r"a\.npz"):
        (READERS[".npz"].opened if damage == "middle" else READERS[".npz"].described)(path)


def parquet(path, columns):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not here: it comes with the extra `streams`")
    from pyarrow.parquet import write_table

    write_table(pyarrow.table(columns), path)
    return pyarrow


def test_a_parquet_file_is_described_and_read(tmp_path):
    path = tmp_path / "a.parquet"
    pyarrow = parquet(path, {"y": [1, 2, 3], "x": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], "name": ["a", "b", "c"]})
    reader = READERS[".parquet"]
    count, kind = reader.described(path)
    assert (count, list(kind)) == (3, ["name", "x", "y"])
    shard = reader.opened(path)
    np.testing.assert_array_equal(shard.fields["x"], [[1, 2], [3, 4], [5, 6]])
    assert next(shard.examples(np.array([2])))["name"] == "c"
    fixed = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(np.arange(12, dtype=np.float32)), 2)
    parquet(path, {"x": pyarrow.FixedSizeListArray.from_arrays(fixed, 3), "b": [True, False]})
    fields = reader.opened(path).fields
    np.testing.assert_array_equal(fields["x"], np.arange(12).reshape(2, 3, 2))
    assert (fields["x"].dtype, fields["b"].dtype) == (np.float32, np.bool_)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": [1, None]}, "column 'x' lacks a value in 1 rows"),
        ({"x": [[1], [2, 3]]}, "column 'x' holds lists of 1 to 2 values"),
        ({"x": [[1], None]}, "column 'x' lacks a value in 1 rows"),
    ],
)
def test_a_column_with_holes_is_named(tmp_path, columns, message):
    parquet(tmp_path / "a.parquet", columns)
    with pytest.raises(ValueError, match=r"a\.parquet: " + message):
        READERS[".parquet"].opened(tmp_path / "a.parquet")


def test_a_damaged_parquet_file_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    parquet(path, {"x": np.random.default_rng(0).normal(size=1000)})
    content = path.read_bytes()
    path.write_bytes(content[:50])
    with pytest.raises(ValueError, match=r"a\.parquet is not a readable Parquet file"):
        READERS[".parquet"].described(path)
    path.write_bytes(bytes(200) + content[200:])
    with pytest.raises(ValueError, match=r"a\.parquet is not a readable Parquet file"):
        READERS[".parquet"].opened(path)


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'stepax\[streams\]'"):
        READERS[".parquet"].described(tmp_path / "a.parquet")


def records(path, content):
    module = pytest.importorskip(
        "array_record.python.array_record_module", reason="array_record is not here: it comes with Grain"
    )
    writer = module.ArrayRecordWriter(str(path), "group_size:1")
    for record in content:
        writer.write(record)
    writer.close()


def test_records_are_counted_and_read_by_number(tmp_path):
    path = tmp_path / "a.array_record"
    records(path, [bytes([i]) * 3 for i in range(5)])
    reader = READERS[".array_record"]
    assert reader.needs_decode
    assert reader.described(path) == (5, "records")
    assert list(reader.opened(path).examples(np.array([4, 0, 4]))) == [b"\4\4\4", b"\0\0\0", b"\4\4\4"]


def test_damaged_records_are_named(tmp_path):
    path = tmp_path / "a.array_record"
    records(path, [np.random.default_rng(i).bytes(1000) for i in range(5)])
    content = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.array_record is not a readable ArrayRecord file"):
        READERS[".array_record"].described(path)
    path.write_bytes(content[:2000] + bytes(500) + content[2500:])
    with pytest.raises(ValueError, match=r"a\.array_record is not a readable ArrayRecord file"):
        list(READERS[".array_record"].opened(path).examples(np.arange(5)))


def test_records_without_array_record_say_so(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "array_record.python.array_record_module", None)
    with pytest.raises(ImportError, match="pip install array-record"):
        READERS[".array_record"].described(tmp_path / "a.array_record")
