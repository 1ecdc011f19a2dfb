"""Where the arrays of a training on several devices lie: its state, and beside it the data."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from stepax.checks import check_data
from stepax.learner import State
from stepax.processes import place
from stepax.program import equations
from stepax.transforms.shard import DATA
from stepax.typing import Array, Key, Tree

__all__ = ["Beside", "mesh_of", "next_of", "placement", "share", "spread", "stacked"]


def share(mesh: Mesh) -> tuple[int, int]:
    """Which part of every batch this process has to read, and of how many.

    Several processes read the same part where their devices hold the same rows, as with a model divided over machines.

    Args:
        mesh: Over which the training is sharded.

    Returns:
        The index and the count: ``process_index`` and ``process_count`` of :func:`stepax.data.stream`.

    Raises:
        ValueError: A process has no device in the mesh, or rows that are not its own stretch of a batch.
    """
    size = mesh.shape.get(DATA, 1)
    spec = PartitionSpec(DATA) if size > 1 else PartitionSpec()
    places = NamedSharding(mesh, spec).addressable_devices_indices_map((size,)).values()
    starts = sorted({index[0].indices(size)[0] for index in places if index})
    if size == 1:
        return 0, 1
    if not starts or size % len(starts) or starts != list(range(starts[0], starts[0] + len(starts))):
        raise ValueError(f"mesh: this process has the parts {starts} of {size} along {DATA}, which are no stretch")
    return starts[0] // len(starts), size // len(starts)


def spread(data: Any, mesh: Mesh) -> dict[str, Any]:
    """Data of which every device holds a share, for those that are too large to lie on each of them whole.

    Batches are the same as without; each then comes together from all devices, which costs communication.

    Args:
        data: A dict of arrays with one leading axis.
        mesh: Over whose axis ``data`` rows are divided.

    Returns:
        A new dict.

    Raises:
        TypeError: The data are no dict of arrays of numbers.
        ValueError: They are not finite, or the axis does not divide their rows; the mesh lies on several processes.
    """
    rows, parts = check_data(data), mesh.shape.get(DATA, 1)
    if rows % parts:
        raise ValueError(f"data: {parts} devices along {DATA} do not divide {rows} rows")
    where = NamedSharding(mesh, PartitionSpec(DATA) if parts > 1 else PartitionSpec())
    if not where.is_fully_addressable:
        raise ValueError("mesh: data can be spread over the devices of one process; several read them as a stream")
    return jax.tree.map(lambda leaf: jax.device_put(leaf, where), dict(data))


def mesh_of(state: State) -> Mesh | None:
    """The mesh that a state lies on; ``None`` for a single device."""
    where = getattr(state.step, "sharding", None)
    mesh = where.mesh if isinstance(where, NamedSharding) else None
    return mesh if isinstance(mesh, Mesh) and mesh.size > 1 else None


class Beside:
    """Puts data on every device of the mesh that a state lies on; what lies there already stays as it is.

    A compiled program would bring them there at each of its calls. Arrays that come again are put there once.
    """

    def __init__(self) -> None:
        self._placed: dict[int, tuple[Any, Array]] = {}

    def __call__(self, state: State, arrays: Tree) -> Tree:
        """The arrays, whole on every device."""
        mesh = mesh_of(state)
        if mesh is None:
            return arrays
        everywhere, before = NamedSharding(mesh, PartitionSpec()), self._placed
        self._placed = {}

        def there(leaf: Any) -> Any:
            own = getattr(leaf, "sharding", None)
            if isinstance(own, NamedSharding) and own.mesh == mesh:
                return leaf
            # The leaf is kept with what was made of it: a number that is given anew is no array that is known.
            known = before.get(id(leaf))
            placed = known[1] if known and known[1].sharding == everywhere else place(leaf, everywhere)
            self._placed[id(leaf)] = leaf, placed
            return placed

        return jax.tree.map(there, arrays)


def stacked(batches: Tree, mesh: Mesh) -> Tree:
    """Batches one after the other, ``[count, rows, …]``, each divided by rows; a process has its own rows of each."""
    where = NamedSharding(mesh, PartitionSpec(None, DATA) if DATA in mesh.shape else PartitionSpec())
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(where, np.asarray(leaf)), batches)


def next_of(batches: Tree, i: Array) -> Tree:
    """The ``i``-th of :func:`stacked`; pure."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, i, 0, keepdims=False), batches)


def placement(init: Any, key: Key, batch: Any) -> State | None:
    """Where a compiled ``init`` puts its state.

    Args:
        init: A jitted ``init`` of a learner.
        key: What it takes.
        batch: What it takes.

    Returns:
        The shapes of a state with their shardings; ``None`` if nothing in ``init`` says where, as on a single device.
    """
    traced = init.trace(key, batch)
    if not any(equation.primitive.name == "sharding_constraint" for equation in equations(traced.jaxpr.jaxpr)):
        return None
    found = traced.lower().compile().output_shardings
    return jax.tree.map(
        lambda kind, sharding: jax.ShapeDtypeStruct(kind.shape, kind.dtype, sharding=sharding), traced.out_info, found
    )
