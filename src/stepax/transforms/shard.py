"""One training on many devices: the arrays of its state divided by rules, its batches by rows."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from stepax.checks import check_count, nearest
from stepax.gradient import gradient as plain
from stepax.learner import Learner, State, check_learner
from stepax.typing import Gradient, Key, Metrics, Tree

__all__ = ["DATA", "ByPath", "Rules", "by_path", "fully_sharded", "mesh", "replicated", "shard", "shardings"]

# The axis of a mesh that divides batches.
DATA = "data"
# What ``fully_sharded`` divides: parameters, and what an optimizer or a transformation keeps for each of them.
LARGE = ("params/", "opt_state/", "variables/frozen/", "extra/average/")

Rules = Callable[[str, Any], PartitionSpec]
"""``(path, array) -> PartitionSpec`` for every array of a state, by a path such as ``params/dense_0/kernel`` or
``opt_state/0/mu/dense_0/kernel`` and by its ``shape`` and ``dtype``."""


def mesh(devices: Sequence[Any] | None = None, **axes: int) -> Mesh:
    """Devices in rows and columns with names, as :func:`shard` takes them.

    Args:
        devices: Which; ``None``: all there are, over all processes.
        **axes: How many along each axis; -1 for what the others leave. ``data`` divides batches, other names are for
            rules. None at all is ``data=-1``.

    Returns:
        The mesh. Fewer devices than there are may be used in a single process.

    Raises:
        TypeError: A size is no whole number.
        ValueError: A size is neither positive nor -1, or the devices do not make such a mesh.

    >>> mesh(data=1).shape["data"]
    1
    """
    devices = jax.devices() if devices is None else list(devices)
    sizes = dict(axes) or {DATA: -1}
    for name, size in sizes.items():
        check_count(name, 1 if size == -1 else size)
    rest, free = divmod(len(devices), math.prod(size for size in sizes.values() if size != -1))
    unknown = [name for name, size in sizes.items() if size == -1]
    shown = " × ".join(f"{name}={size}" for name, size in sizes.items())
    if len(unknown) > 1 or not rest or (unknown and free):
        raise ValueError(f"axes: {len(devices)} devices do not make a mesh of {shown}")
    sizes.update(dict.fromkeys(unknown, rest))
    count = math.prod(sizes.values())
    if jax.process_count() > 1 and count != len(devices):
        raise ValueError(
            f"axes: a mesh over several processes takes all {len(devices)} devices, and {shown} is {count}"
        )
    # JAX's own default, explicit axes, refuses constraints.
    kinds = (AxisType.Auto,) * len(sizes)
    return jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=kinds, devices=devices[:count])


def replicated(path: str, array: Any) -> PartitionSpec:
    """A rule: every device has the whole array. With batches divided among the devices this is data parallelism."""
    del path, array
    return PartitionSpec()


def fully_sharded(mesh: Mesh, axis: str = DATA, least: int = 2**12) -> Rules:
    """A rule: every device keeps its share of large arrays, and has the whole only while it computes with it.

    Parameters, the optimizer's state, a running average and frozen parameters are divided along their longest axis that
    can be. Results are those of :func:`replicated` up to rounding; memory falls, communication grows.

    Args:
        mesh: Whose axis.
        axis: Its name; that of the batches is the usual choice.
        least: Arrays of fewer numbers stay whole.

    Returns:
        The rule.

    Raises:
        ValueError: The mesh has no such axis, or ``least`` is below 1.

    Reference:
        Rajbhandari et al., ZeRO: Memory optimizations toward training trillion parameter models, 2020,
        arXiv:1910.02054.
    """
    if axis not in mesh.shape:
        raise ValueError(f"axis: unknown axis {nearest(axis, mesh.shape)}")
    check_count("least", least)
    size = mesh.shape[axis]

    def rule(path: str, array: Any) -> PartitionSpec:
        if not path.startswith(LARGE) or math.prod(array.shape) < least:
            return PartitionSpec()
        lengths = {i: length for i, length in enumerate(array.shape) if length % size == 0}
        if not lengths:
            return PartitionSpec()
        longest = max(lengths, key=lambda i: lengths[i])
        return PartitionSpec(*[None] * longest, axis)

    return rule


@dataclasses.dataclass(frozen=True)
class ByPath:
    """What :func:`by_path` makes: a rule that knows its patterns."""

    patterns: tuple[tuple[str, PartitionSpec], ...]
    otherwise: Rules

    def __call__(self, path: str, array: Any) -> PartitionSpec:
        """What the first pattern that is found in the path says."""
        for pattern, spec in self.patterns:
            if re.search(pattern, path):
                return spec
        return self.otherwise(path, array)

    def check(self, paths: Sequence[str]) -> None:
        """Refuse a pattern that no path has.

        Raises:
            ValueError: There is one: a name was misspelt, or the model is another.
        """
        for pattern, spec in self.patterns:
            if not any(re.search(pattern, path) for path in paths):
                raise ValueError(
                    f"rules: the pattern {pattern!r} for {spec} matches nothing; there are "
                    + ", ".join(path for path in paths if path.startswith("params/"))
                )


def by_path(patterns: Mapping[str, PartitionSpec], otherwise: Rules = replicated) -> Rules:
    """A rule: arrays are divided as the first pattern says that is found in their path.

    An optimizer keeps arrays whose paths end as those of the parameters: a pattern such as ``"dense_in/kernel$"`` is
    for all of them.

    Args:
        patterns: Regular expressions, as for ``re.search``, with what they stand for:
            ``{"dense_in/kernel$": PartitionSpec(None, "model")}``.
        otherwise: The rule for all other arrays.

    Returns:
        The rule. One of its patterns that matches no array of the state is an error when the learner is used.

    Raises:
        TypeError: ``patterns`` is no dict of PartitionSpecs.
        ValueError: A pattern is no regular expression.
    """
    if not isinstance(patterns, Mapping):
        raise TypeError(f"patterns: expected a dict from regular expression to PartitionSpec, got {patterns!r}")
    for pattern, spec in patterns.items():
        if not isinstance(spec, PartitionSpec):
            raise TypeError(f"patterns: expected a jax.sharding.PartitionSpec for {pattern!r}, got {spec!r}")
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"patterns: {pattern!r} is no regular expression: {error}") from None
    return ByPath(tuple(patterns.items()), otherwise)


def shard(learner: Learner, mesh: Mesh, rules: Rules = replicated) -> Learner:
    """The same training on many devices, in one process or in several.

    The state is divided by ``rules``, a batch by its rows over the mesh's axis ``data``, if it has one; XLA divides
    what is computed, and puts in the communication. All means are those over the whole batch, batch normalisation's
    too, and random draws are those of a single device: results agree with one device up to rounding.

    It belongs outside of other transformations, whose own arrays the rules then see too:
    ``shard(average(guard(learner)), mesh, rules)``.

    Args:
        learner: What to train.
        mesh: The devices, as from :func:`stepax.mesh`.
        rules: ``(path, array) -> PartitionSpec`` for every array of the state, such as :func:`replicated` (data
            parallel), :func:`fully_sharded` or :func:`by_path` (tensor parallel).

    Returns:
        A learner with the same state. A step needs batches that the axis ``data`` divides; others may be measured and
        predicted, on every device the same. Metrics and predictions are whole on every device.

    Raises:
        TypeError: No learner, mesh or rule; in ``init``, a rule gives no PartitionSpec.
        ValueError: The mesh has explicit axes. In ``init`` and ``step``, before any compile: a rule names an axis that
            the mesh lacks, or does not fit an array; a pattern matches nothing; the rows of a batch cannot be divided.
    """
    check_learner(learner)
    _check_mesh(mesh)
    if not callable(rules):
        raise TypeError(f"rules: expected a function (path, array) -> PartitionSpec, got {rules!r}")

    def divided(state: State) -> State:
        return jax.lax.with_sharding_constraint(state, shardings(state, mesh, rules))

    def whole(tree: Tree) -> Tree:
        return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))

    def rows(batch: Any, divide: Callable[[Any, Mesh], Any]) -> Any:
        return jax.tree.map(lambda leaf: divide(leaf, mesh), batch)

    def init(key: Key, batch: Any) -> State:
        return divided(learner.init(key, batch))

    def step(state: State, batch: Any, gradient: Gradient = plain) -> tuple[State, Metrics]:
        after, metrics = learner.step(divided(state), rows(batch, _divided_rows), gradient=gradient)
        return divided(after), whole(metrics)

    def evaluate(state: State, batch: Any, key: Key) -> Metrics:
        return whole(learner.evaluate(divided(state), rows(batch, _divided_if_possible), key))

    def predict(state: State, x: Any) -> Any:
        return whole(learner.predict(divided(state), rows(x, _divided_if_possible)))

    return Learner(init, step, evaluate, predict)


def shardings(state: Tree, mesh: Mesh, rules: Rules = replicated) -> Tree:
    """Where the arrays of a state lie, by the rules.

    ``jax.device_put(state, shardings(state, mesh, rules))`` puts a state there that was made elsewhere.

    Args:
        state: A state, or the shapes of one.
        mesh: The devices.
        rules: As in :func:`shard`.

    Returns:
        A tree like the state of ``NamedSharding``.

    Raises:
        TypeError: A rule gives no PartitionSpec.
        ValueError: A rule does not fit an array or the mesh, or a pattern matches nothing.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(state)
    named = [(jax.tree_util.keystr(path, simple=True, separator="/"), jax.typeof(leaf)) for path, leaf in leaves]
    if isinstance(rules, ByPath):
        rules.check([path for path, _ in named])
    found = []
    for path, kind in named:
        spec = rules(path, jax.ShapeDtypeStruct(kind.shape, kind.dtype))
        _check_spec(path, kind.shape, spec, mesh)
        found.append(NamedSharding(mesh, spec))
    return jax.tree.unflatten(structure, found)


def _check_mesh(mesh: Any) -> None:
    if not isinstance(mesh, Mesh):
        raise TypeError(f"mesh: expected a mesh of devices, as stepax.mesh(data=8) makes it, got {mesh!r}")
    others = [name for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if kind != AxisType.Auto]
    if others:
        raise ValueError(
            f"mesh: expected automatic axes, as those of stepax.mesh; {', '.join(others)} is not: "
            "jax.make_mesh makes explicit ones unless told otherwise"
        )


def _check_spec(path: str, shape: tuple[int, ...], spec: Any, mesh: Mesh) -> None:
    """Refuses what cannot divide an array."""
    where = f"rules: {path} of shape {list(shape)} got {spec}"
    if not isinstance(spec, PartitionSpec):
        raise TypeError(f"{where}: expected a jax.sharding.PartitionSpec")
    if len(spec) > len(shape):
        raise ValueError(f"{where}, for {len(spec)} axes: the array has {len(shape)}")
    for i, entry in enumerate(spec):
        names = entry if isinstance(entry, tuple) else (entry,) if isinstance(entry, str) else ()
        for name in names:
            if name not in mesh.shape:
                raise ValueError(f"{where}: the mesh has no axis {nearest(name, mesh.shape)}")
        parts = math.prod(mesh.shape[name] for name in names)
        if shape[i] % parts:
            raise ValueError(f"{where}: {parts} devices along {' and '.join(names)} do not divide {shape[i]}")


def _divided_rows(leaf: Any, mesh: Mesh) -> Any:
    shape, parts = jax.typeof(leaf).shape, mesh.shape.get(DATA, 1)
    if parts == 1 or not shape:
        return leaf
    if shape[0] % parts:
        raise ValueError(f"batch_size: {parts} devices along {DATA} do not divide a batch of {shape[0]} rows")
    return jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, PartitionSpec(DATA)))


def _divided_if_possible(leaf: Any, mesh: Mesh) -> Any:
    # Labels that are concrete stay so: losses check them.
    shape = jax.typeof(leaf).shape
    possible = isinstance(leaf, jax.core.Tracer) and shape and shape[0] % mesh.shape.get(DATA, 1) == 0
    return _divided_rows(leaf, mesh) if possible else leaf
