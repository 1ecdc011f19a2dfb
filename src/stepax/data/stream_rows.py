"""Examples by number: the rows of arrays, and sequences; how examples become batches."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from stepax.data.stream_columns import column
from stepax.memory import Memory
from stepax.typing import Tree

__all__ = ["Arrays", "Examples", "Layout", "Rows", "decoded", "order_of"]

Decode = Callable[[Any], Any]


class Rows(Protocol):
    """Examples that can be read by their numbers, in any order and from several threads.

    Attributes:
        count: How many there are.
        layout: What an example looks like.
    """

    count: int
    layout: "Layout"

    def order(self, random: np.random.Generator | None, missing: int) -> np.ndarray:
        """The numbers of an epoch's examples, and then of ``missing`` more that fill up its last batch."""
        ...

    def read(self, numbers: np.ndarray) -> dict[str, Any]:
        """The examples with these numbers, ``[len(numbers), …]``."""
        ...

    def named(self, number: int) -> str:
        """Where the example with this number lies, in words."""
        ...


@dataclasses.dataclass(frozen=True)
class Layout:
    """Structure, shapes and dtypes of an example, and the dtypes that JAX gives them."""

    structure: Any
    paths: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[np.dtype, ...]
    targets: tuple[np.dtype, ...]
    memory: dict[int, Memory] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, example: Any, where: str) -> "Layout":
        """The layout of an example, or of arrays of examples without their leading axis.

        Raises:
            TypeError: The example is no dict, or a field holds no numbers.
        """
        if not isinstance(example, Mapping):
            raise TypeError(f'{where}: expected a dict of arrays such as {{"x": …, "y": …}}, got {_kind(example)}')
        pairs, structure = jax.tree_util.tree_flatten_with_path(dict(example), is_leaf=lambda node: node is None)
        if not pairs:
            raise ValueError(f"{where} holds no arrays: expected a dict such as {{'x': …, 'y': …}}, got {example!r}")
        paths = tuple(jax.tree_util.keystr(path).replace("'", '"') for path, _ in pairs)
        leaves = [leaf if isinstance(leaf, jax.ShapeDtypeStruct) else np.asarray(leaf) for _, leaf in pairs]
        for path, leaf in zip(paths, leaves, strict=True):
            if not (np.issubdtype(leaf.dtype, np.number) or leaf.dtype == np.bool_):
                raise TypeError(f"{where}{path} has dtype {leaf.dtype}: expected numbers, as `decode` can make them")
        dtypes = tuple(np.dtype(leaf.dtype) for leaf in leaves)
        targets = tuple(np.dtype(jax.dtypes.canonicalize_dtype(dtype.newbyteorder("="))) for dtype in dtypes)
        return cls(structure, paths, tuple(leaf.shape for leaf in leaves), dtypes, targets)

    def like(self, size: int) -> dict[str, Any]:
        """Shapes and dtypes of a batch of ``size`` examples."""
        pairs = zip(self.shapes, self.targets, strict=True)
        return jax.tree.unflatten(
            self.structure, [jax.ShapeDtypeStruct((size, *shape), target) for shape, target in pairs]
        )

    def empty(self, size: int) -> list[np.ndarray]:
        """Room for a batch, leaf by leaf."""
        if size not in self.memory:
            self.memory[size] = Memory(jax.tree.leaves(self.like(size)))
        return self.memory[size].arrays()

    def batch(self, leaves: list[np.ndarray]) -> dict[str, Any]:
        """The leaves in the example's structure."""
        return jax.tree.unflatten(self.structure, leaves)

    def stacked(self, examples: Iterable[tuple[str, Any]], size: int) -> dict[str, Any]:
        """A batch of examples, each with the words for it in messages.

        Raises:
            ValueError: One differs from the layout.
        """
        batch = self.empty(size)
        for number, (where, example) in enumerate(examples):
            for out, leaf in zip(batch, self.leaves(example, where), strict=True):
                out[number] = leaf
        return self.batch(batch)

    def leaves(self, example: Any, where: str) -> list[np.ndarray]:
        """The arrays of an example that has this layout.

        Raises:
            ValueError: It has not.
        """
        leaves, structure = jax.tree.flatten(dict(example) if isinstance(example, Mapping) else example)
        leaves = [np.asarray(leaf) for leaf in leaves]
        if structure != self.structure:
            raise ValueError(f"{where} has another structure than the first: {structure} and not {self.structure}")
        for path, leaf, shape, dtype in zip(self.paths, leaves, self.shapes, self.dtypes, strict=True):
            if leaf.shape != shape or leaf.dtype != dtype:
                raise ValueError(
                    f"{where}{path} is {leaf.dtype}{list(leaf.shape)}, and that of the first is {dtype}{list(shape)}"
                )
        return leaves


def decoded(decode: Decode | None, example: Any, where: str) -> Any:
    """What ``decode`` makes of an example.

    Raises:
        RuntimeError: It fails; the message says at which example.
    """
    if decode is None:
        return example
    try:
        return decode(example)
    except Exception as error:
        raise RuntimeError(f"decode fails at {where}: {type(error).__name__}: {error}") from error


def order_of(count: int, random: np.random.Generator | None, missing: int) -> np.ndarray:
    """The orders of :func:`stepax.shuffled` and :func:`stepax.in_order`, from the same generator."""
    rows = np.arange(count, dtype=np.int32 if count < 2**31 else np.int64)
    rows = rows if random is None else random.permutation(rows)
    return np.concatenate([rows, rows[:missing]]) if missing else rows


class Arrays:
    """Arrays with one leading axis, in memory or mapped from files."""

    def __init__(self, data: Mapping[str, Any], decode: Decode | None) -> None:
        self._decode, self.count = decode, _leading(data)
        leaves, self._structure = jax.tree.flatten(dict(data))
        self._columns = [column(leaf) for leaf in leaves]
        if self.count:
            first = jax.tree.unflatten(self._structure, [np.asarray(leaf[0]) for leaf in leaves])
            made = decoded(decode, first, "row 0")
            self.layout = Layout.of(made, "source" if decode is None else "decode: the result")

    def order(self, random: np.random.Generator | None, missing: int) -> np.ndarray:
        """As :func:`order_of`."""
        return order_of(self.count, random, missing)

    def named(self, number: int) -> str:
        """Its row."""
        return f"row {number} of the source"

    def read(self, numbers: np.ndarray) -> dict[str, Any]:
        """The rows."""
        if self._decode is None:
            leaves = self.layout.empty(len(numbers))
            for out, part in zip(leaves, self._columns, strict=True):
                part.read(numbers, out)
            return self.layout.batch(leaves)
        parts = []
        for part in self._columns:
            parts.append(np.empty((len(numbers), *part.array.shape[1:]), part.array.dtype))
            part.read(numbers, parts[-1])
        return self.layout.stacked(self._examples(numbers.tolist(), parts), len(numbers))

    def _examples(self, numbers: list[int], parts: list[np.ndarray]) -> Iterator[tuple[str, Any]]:
        for place, number in enumerate(numbers):
            where, example = f"row {number}", jax.tree.unflatten(self._structure, [part[place] for part in parts])
            yield where, decoded(self._decode, example, where)


def _leading(data: Mapping[str, Any]) -> int:
    """The number of rows, which must be the same for every array."""
    counts: dict[str, int] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(dict(data), is_leaf=lambda node: node is None)[0]:
        name = "source" + jax.tree_util.keystr(path).replace("'", '"')
        if not isinstance(leaf, np.ndarray | jax.Array):
            raise TypeError(f"{name} is of type {type(leaf).__name__}: expected a NumPy array, mapped or not")
        if leaf.ndim == 0:
            raise ValueError(f"{name} is a scalar: expected an array with a leading axis of rows")
        counts[name] = leaf.shape[0]
    if not counts:
        raise ValueError("source holds no arrays: expected a dict of arrays such as {'x': …, 'y': …}, got {}")
    (first, rows), *others = counts.items()
    for name, count in others:
        if count != rows:
            raise ValueError(
                f"{name} has {count} rows, but {first} has {rows}: expected the same number of rows in every array"
            )
    return rows


class Examples:
    """A sequence of examples, such as a data set of PyTorch, or of Grain."""

    def __init__(self, sequence: Any, decode: Decode | None) -> None:
        self._sequence, self._decode = sequence, decode
        self.count = len(sequence)
        if self.count:
            self.layout = Layout.of(self._example(0), "source[0]" if decode is None else "decode: the result")

    def order(self, random: np.random.Generator | None, missing: int) -> np.ndarray:
        """As :func:`order_of`."""
        return order_of(self.count, random, missing)

    def named(self, number: int) -> str:
        """Its index."""
        return f"example {number} of the source"

    def read(self, numbers: np.ndarray) -> dict[str, Any]:
        """The examples, asked for one by one."""
        return self.layout.stacked(self._examples(numbers.tolist()), len(numbers))

    def _examples(self, numbers: list[int]) -> Iterator[tuple[str, Any]]:
        return ((f"example {number}", self._example(number)) for number in numbers)

    def _example(self, number: int) -> Tree:
        return decoded(self._decode, self._sequence[number], f"example {number}")


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray | jax.Array):
        return f"an array {value.dtype}{list(value.shape)}"
    return type(value).__name__
