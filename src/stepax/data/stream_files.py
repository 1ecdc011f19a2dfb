"""One file of a stream: its rows counted without reading them, and then read whole, or by number."""

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from stepax.data.arrays import read_archive

__all__ = ["READERS", "Reader", "Shard"]


class Shard(Protocol):
    """An open file."""

    @property
    def fields(self) -> dict[str, np.ndarray]:
        """Columns of numbers, ``[rows, …]``, by name."""
        ...

    def examples(self, rows: np.ndarray) -> Iterator[Any]:
        """Rows as ``decode`` takes them: a dict, or bytes."""
        ...


class Reader(NamedTuple):
    """How a kind of file is read.

    Attributes:
        described: ``path -> (rows, kind)``, without reading the rows; equal kinds have the same fields, shapes and
            dtypes as far as the file tells.
        opened: ``path -> Shard``.
        needs_decode: Whether rows are bytes.
    """

    described: Callable[[Path], tuple[int, Any]]
    opened: Callable[[Path], Shard]
    needs_decode: bool = False


class _Table(NamedTuple):
    """Columns in memory."""

    fields: dict[str, np.ndarray]

    def examples(self, rows: np.ndarray) -> Iterator[Any]:
        """A dict for every row."""
        return ({name: column[row] for name, column in self.fields.items()} for row in rows.tolist())


def _describe_archive(path: Path) -> tuple[int, dict[str, str]]:
    """From the heads of the arrays in an ``.npz`` archive."""
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a readable .npz archive: numpy.savez(path, x=…, y=…) writes one")
    heads = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    heads[member.removesuffix(".npy").lower()] = _head(file)
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} is not a readable .npz archive ({error})") from error
    counts = {shape[0] if shape else None for shape, _ in heads.values()}
    if len(counts) != 1 or None in counts:
        shapes = ", ".join(f"{name}: {list(shape)}" for name, (shape, _) in heads.items())
        raise ValueError(f"{path}: expected arrays with the same number of rows, got {shapes or 'none'}")
    kind = {name: f"{dtype}{list(shape[1:])}" for name, (shape, dtype) in sorted(heads.items())}
    return counts.pop() or 0, kind


def _head(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of an array from the head of its file."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _open_archive(path: Path) -> Shard:
    return _Table(read_archive(path))


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("Parquet files are read with pyarrow: pip install 'stepax[streams]'") from error
    return pyarrow.parquet


def _describe_parquet(path: Path) -> tuple[int, dict[str, str]]:
    """From the foot of a Parquet file."""
    file = _readable(path, _parquet().ParquetFile)
    with file:
        schema = file.schema_arrow
        return file.metadata.num_rows, {field.name: str(field.type) for field in sorted(schema, key=lambda f: f.name)}


def _open_parquet(path: Path) -> Shard:
    table = _readable(path, _parquet().read_table)
    return _Table(
        {name: _column(table.column(name).combine_chunks(), f"{path}: column {name!r}") for name in table.column_names}
    )


def _readable(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except Exception as error:  # pyarrow has its own kinds, and OSError for a damaged page
        raise ValueError(f"{path} is not a readable Parquet file ({error})") from error


def _column(column: Any, where: str) -> np.ndarray:
    """A column as NumPy has it: numbers ``[rows]``, lists of equal lengths ``[rows, …]``, all else as objects."""
    import pyarrow

    if column.null_count:
        raise ValueError(f"{where} lacks a value in {column.null_count} rows: expected all of them")
    if pyarrow.types.is_list(column.type) or pyarrow.types.is_large_list(column.type):
        lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
        if len(lengths) > 1:
            raise ValueError(f"{where} holds lists of {lengths[0]} to {lengths[-1]} values: expected equal lengths")
        return _column(column.flatten(), where).reshape(len(column), *map(int, lengths), *_inner(column, where))
    if pyarrow.types.is_fixed_size_list(column.type):
        return _column(column.flatten(), where).reshape(len(column), column.type.list_size, *_inner(column, where))
    return column.to_numpy(zero_copy_only=False)


def _inner(column: Any, where: str) -> tuple[int, ...]:
    """The shape of one value in the lists of a column."""
    return _column(column.flatten(), where).shape[1:]


class _Records:
    """An ArrayRecord file, whose records are read by number."""

    fields: dict[str, np.ndarray] = {}  # noqa: RUF012  # records are bytes, and have none

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader = _array_record()(str(path))

    def examples(self, rows: np.ndarray) -> Iterator[bytes]:
        """The records."""
        try:
            return iter(self._reader.read(rows.tolist()))
        except Exception as error:
            raise ValueError(f"{self._path} is not a readable ArrayRecord file ({error})") from error


def _array_record() -> Any:
    try:
        from array_record.python.array_record_module import ArrayRecordReader
    except ImportError as error:
        raise ImportError(
            "ArrayRecord files are read with array_record, which comes with Grain on Linux and macOS: "
            "pip install array-record"
        ) from error
    return ArrayRecordReader


def _describe_records(path: Path) -> tuple[int, str]:
    try:
        reader = _array_record()(str(path))
        count = reader.num_records()
        reader.close()
    except RuntimeError as error:
        raise ValueError(f"{path} is not a readable ArrayRecord file ({error})") from error
    if not count:
        raise ValueError(f"{path} is not a readable ArrayRecord file, or holds no records")
    return count, "records"


READERS = {
    ".npz": Reader(_describe_archive, _open_archive),
    ".parquet": Reader(_describe_parquet, _open_parquet),
    ".array_record": Reader(_describe_records, _Records, needs_decode=True),
}
"""How each kind of file is read, by the ending of its name."""
