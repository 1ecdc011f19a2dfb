"""Many files as one: orders, windows, and files unlike the first."""

import jax
import numpy as np
import pytest

from stepax.data import stream
from stepax.data.stream_files import READERS
from stepax.data.stream_shards import Shards, found

SIZES = [5, 3, 0, 7, 4, 6]
KEY = jax.random.key(0)


def rows(n, first=0):
    y = np.arange(first, first + n, dtype=np.int32)
    return {"x": np.stack([y, -y], 1).astype(np.float32), "y": y}


@pytest.fixture
def folder(tmp_path):
    for number, size in enumerate(SIZES):
        np.savez(tmp_path / f"part-{number}.npz", **rows(size, sum(SIZES[:number])))
    return tmp_path


def numbers(source, epoch=0, first=0):
    """The rows of an epoch, with their weights."""
    parts = [(b["y"], b["weight"], b["x"]) for b in source.batches(epoch, first)]
    y, weight, x = (np.concatenate(part) for part in zip(*parts, strict=True))
    np.testing.assert_array_equal(x, np.stack([y, -y], 1))
    return y[weight == 1].tolist(), y[weight == 0].tolist()


def test_in_order_the_files_follow_one_another(folder):
    assert numbers(stream(folder, 4)) == (list(range(25)), [22, 23, 24])
    assert numbers(stream(folder / "*.npz", 4), 3, 5) == ([20, 21, 22, 23, 24], [22, 23, 24])


def test_shuffled_every_row_comes_once_within_a_window_of_files(folder):
    source = stream(folder, 4, KEY, window=2)
    orders = [numbers(source, epoch)[0] for epoch in (0, 1, 2)]
    assert all(sorted(order) == list(range(25)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    shards = np.repeat(np.arange(6), SIZES)
    files = np.random.Generator(np.random.PCG64([*jax.random.key_data(KEY).tolist(), 1])).permutation(6)
    rest = shards[orders[1]].tolist()
    for window in files.reshape(3, 2):
        size = sum(SIZES[shard] for shard in window)
        part, rest = rest[:size], rest[size:]
        assert sorted(part) == sorted(np.repeat(window, [SIZES[shard] for shard in window]))
    # One file after the other would change four times.
    assert min(np.count_nonzero(np.diff(shards[order])) for order in orders) > 6
    assert numbers(source, 2, 3)[0] == orders[2][12:]


def test_orders_never_change():
    # A saved run goes on with the orders it began with.
    shards = object.__new__(Shards)
    shards._window, shards._ends, shards.count = 2, np.cumsum([3, 2, 4]), 9
    assert shards.order(np.random.default_rng(0), 0).tolist() == ORDER


ORDER = [0, 1, 7, 2, 8, 6, 5, 3, 4]


def test_a_file_is_opened_once_an_epoch(folder, monkeypatch):
    opened = []
    real = READERS[".npz"]
    monkeypatch.setitem(
        READERS, ".npz", real._replace(opened=lambda path: (opened.append(path.name), real.opened(path))[1])
    )
    source = stream(folder, 4, KEY, window=2, threads=4)
    opened.clear()
    numbers(source, 1)
    # Four of the first window may still be held from the first look.
    assert len(opened) == len(set(opened)) <= 5


def test_processes_share_the_rows(folder):
    whole = [batch["y"] for batch in stream(folder, 4, KEY).batches(1, 0)]
    parts = [
        [batch["y"] for batch in stream(folder, 4, KEY, process_index=i, process_count=2).batches(1, 0)] for i in (0, 1)
    ]
    for batch, *shares in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(batch, np.concatenate(shares))


def test_decode_is_given_rows(folder):
    (batch,) = stream(folder, 2, decode=lambda row: {"z": row["x"].sum() + row["y"]}).batches(0, 12)
    assert batch["z"].tolist() == [24, 24]


def test_text_and_lists_of_parquet_go_through_decode(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not here: it comes with the extra `streams`")
    from pyarrow.parquet import write_table

    for number in range(2):
        names = [f"{number}{i}" for i in range(3)]
        write_table(pyarrow.table({"name": names}), tmp_path / f"{number}.parquet")
    with pytest.raises(TypeError, match=r'0\.parquet\["name"\] has dtype .*: expected numbers, as `decode`'):
        stream(tmp_path, 2)
    batches = list(stream(tmp_path, 2, decode=lambda row: {"y": int(row["name"])}).batches(0, 0))
    assert [batch["y"].tolist() for batch in batches] == [[0, 1], [2, 10], [11, 12]]


def test_records_go_through_decode(tmp_path):
    module = pytest.importorskip(
        "array_record.python.array_record_module", reason="array_record is not here: it comes with Grain"
    )
    for number in range(3):
        writer = module.ArrayRecordWriter(str(tmp_path / f"{number}.array_record"), "group_size:1")
        for i in range(4):
            writer.write(np.int32([number, i]).tobytes())
        writer.close()
    with pytest.raises(ValueError, match=r"decode: the records of .*0\.array_record are bytes"):
        stream(tmp_path, 2)
    source = stream(tmp_path, 2, KEY, decode=lambda record: {"y": np.frombuffer(record, np.int32)})
    found = sorted(tuple(row) for batch in source.batches(0, 0) for row in batch["y"].tolist())
    assert found == [(number, i) for number in range(3) for i in range(4)]


@pytest.mark.parametrize(
    "change",
    [
        {"x": np.zeros((2, 3), np.float32)},
        {"x": np.zeros((2, 2))},
        {"more": np.zeros(2)},
    ],
)
def test_a_file_unlike_the_first_is_named(folder, change):
    np.savez(folder / "part-3.npz", **{**rows(2), **change})
    with pytest.raises(ValueError, match=r"part-3\.npz holds .*, and .*part-0\.npz holds .*: expected equal shards"):
        stream(folder, 4)


def test_lists_of_another_length_are_named(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not here: it comes with the extra `streams`")
    from pyarrow.parquet import write_table

    for number in range(2):
        table = pyarrow.table({"x": [[1.0] * (2 + number)] * 3})
        write_table(table, tmp_path / f"{number}.parquet")
    with pytest.raises(RuntimeError, match=r'batch 1 of epoch 0 .*1\.parquet\["x"\] is float64\[3\], .* float64\[2\]'):
        list(stream(tmp_path, 3).batches(0, 0))


def test_damage_in_the_middle_is_told_with_the_batch_and_the_file(folder):
    path = folder / "part-4.npz"
    content = path.read_bytes()
    source = stream(folder, 4)
    place = content.index(b"NUMPY", 200) + 130
    path.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
    iterator = source.batches(0, 2)
    assert next(iterator)["y"].tolist() == [8, 9, 10, 11]
    with pytest.raises(RuntimeError, match=r"batch 3 of epoch 0 cannot be read: ValueError: .*part-4\.npz"):
        list(iterator)


def test_files_are_found_by_folder_pattern_and_name(folder):
    assert [path.name for path in found(folder)] == [f"part-{i}.npz" for i in range(6)]
    assert [path.name for path in found(str(folder / "*-[23].npz"))] == ["part-2.npz", "part-3.npz"]
    assert found(folder / "part-1.npz") == [folder / "part-1.npz"]
    with pytest.raises(FileNotFoundError, match=r"no files at .*: expected some of \.npz, \.parquet, \.array_record"):
        found(folder / "*.csv")
    (folder / "a.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match=r"expected files of one kind .* got \.npz, \.parquet"):
        found(folder)
    (folder / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=r"expected files of one kind .* got \.txt"):
        found(folder / "notes.txt")
