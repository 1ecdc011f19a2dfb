"""A trained model as one file that runs without its source: StableHLO through ``jax.export``, and the weights."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from stepax import safetensors
from stepax.compile import jit
from stepax.files import check_target
from stepax.learner import Learner, State, check_learner
from stepax.program import equations
from stepax.safetensors import Content, WeightsError
from stepax.typing import Array, Tree

__all__ = ["ExportError", "Exported", "export", "load_exported"]

# One safetensors file: the program is an array of bytes beside those that it reads, and the metadata describe it. The
# weights are arguments of the program: as its constants they would be compiled into it, anew for every batch size.
FORMAT = "stepax.export/1"
METADATA = "stepax.export"
PROGRAM = "program"
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
BATCH = "batch"


class ExportError(ValueError):
    """A model that cannot be exported, or a file that is missing, damaged, or no exported model."""


class Exported:
    """An exported model, to be called with inputs of any number.

    Attributes:
        inputs: What each array of the input must be, such as ``{"x": "float32[batch,28,28,1]"}``.
        outputs: What each array of the output will be.
        platforms: Where it runs.
    """

    def __init__(self, program: jax_export.Exported, arrays: dict[str, np.ndarray]) -> None:
        self.inputs, self.outputs = _signatures(program)
        self.platforms: tuple[str, ...] = tuple(program.platforms)
        self._arrays = {name: jnp.asarray(array) for name, array in arrays.items()}
        self._exported, self._program = program, jit(program.call)

    def __call__(self, x: Any) -> Any:
        """The model's output for ``x [n, …]``; every new ``n`` compiles once.

        Args:
            x: An array, or a tree of arrays like the one that was exported.

        Returns:
            The output, ``[n, …]``.

        Raises:
            TypeError: ``x`` holds something else than arrays.
            ExportError: An array is missing or not expected, or is of another shape or dtype; or the program was not
                exported for this platform.
        """
        leaves = _named("x", x)
        kinds = {name: jax.typeof(leaf) for name, leaf in leaves.items()}
        shown = {name: (str(kind.dtype), tuple(kind.shape)) for name, kind in kinds.items()}
        _check_inputs(self.inputs, shown)
        try:
            return self._program(self._arrays, leaves)
        except ValueError as error:
            raise ExportError(f"this model was exported for {', '.join(self.platforms)}: {error}") from error


def export(
    learner: Learner,
    state: State,
    path: str | os.PathLike,
    x: Any,
    *,
    before: Callable[[Any], Any] | None = None,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
) -> None:
    """Writes what ``learner.predict`` does with ``state``, as a program for batches of any size and its weights.

    Args:
        learner: What was trained.
        state: Its state. Only what ``predict`` reads is written.
        path: The file; replaced in one go.
        x: Inputs, or their shapes, ``[n, …]``: an array, or a tree of them. Values and ``n`` do not matter.
        before: A pure function of the inputs that runs before ``predict``, inside the program, such as ``lambda x: x /
            255`` for bytes; ``x`` is then what it takes.
        platforms: Where the program may run: of ``cpu``, ``cuda``, ``rocm`` and ``tpu``. None of them must be here.

    Raises:
        TypeError: No learner or state, or ``x`` holds something else than arrays.
        ValueError: ``platforms`` is none or holds others; ``x`` has no rows, or does not fit the model.
        ExportError: There can be no file at the path, such as in a folder that is not there; the state is a
            population's; the learner is one of :func:`stepax.shard`; ``predict`` reads random keys, needs the number of
            rows while it is traced, or returns something else than arrays in dicts, lists and tuples.
    """
    check_learner(learner, state)
    _check_platforms(platforms)
    try:
        check_target(path)
    except OSError as error:
        raise ExportError(str(error)) from error
    inputs, structure = _named("x", x), jax.tree.structure(x)
    if np.shape(state.step):
        raise ExportError(f"state: expected one state, got a population of shape {np.shape(state.step)}; take a member")

    def predict(state: State, leaves: dict[str, Array]) -> Any:
        x = jax.tree.unflatten(structure, [leaves[name] for name in inputs])  # a dict is sorted by JAX
        return learner.predict(state, x if before is None else before(x))

    arrays, function = _closed(predict, state, {name: _shape(name, leaf) for name, leaf in inputs.items()})
    (batch,) = jax_export.symbolic_shape(BATCH)
    shapes = {name: _shape(name, leaf, batch) for name, leaf in inputs.items()}
    try:
        program = jax_export.export(jit(function), platforms=tuple(platforms))(_shapes(arrays), shapes)
        serialized = np.frombuffer(program.serialize(), np.uint8)
    except jax.errors.InconclusiveDimensionOperation as error:
        raise ExportError(f"learner: its predict needs the number of rows while it is traced: {error}") from error
    except ValueError as error:
        if "serialize" not in str(error):
            raise
        raise ExportError(f"learner: predict must return arrays in dicts, lists and tuples: {error}") from error
    _write(path, program, {PROGRAM: serialized, **{f"state.{name}": array for name, array in arrays.items()}})


def load_exported(path: str | os.PathLike) -> Exported:
    """Loads what :func:`export` wrote; the source of the model need not be there.

    The file's checksum finds damage. It is no signature: a program from someone else can compute whatever it was made
    to compute, though never touch files or run Python.

    Args:
        path: The file.

    Returns:
        The model, to be called: ``predict = load_exported(path); predict(x)``.

    Raises:
        ExportError: The file is missing, damaged, no exported model, or made by a version of JAX that this one cannot
            read.
    """
    try:
        content = safetensors.read(path)
    except WeightsError as error:
        raise ExportError(str(error)) from error
    header = _header(path, content)
    arrays = {name.removeprefix("state."): array for name, array in content.arrays.items() if name != PROGRAM}
    try:
        # Nothing in it is unpickled: it is a FlatBuffer around StableHLO.
        program = jax_export.deserialize(bytearray(content.arrays[PROGRAM].tobytes()))
        loaded = Exported(program, arrays)
    except Exception as error:  # the checksum holds: another version of JAX, or a file that was made up
        raise ExportError(f"{path}: JAX {jax.__version__} cannot read its program: {error}") from error
    if [loaded.inputs, loaded.outputs] != [header.get("inputs"), header.get("outputs")]:
        raise ExportError(f"{path}: its program is not the one that its header tells of")
    return loaded


def _closed(
    predict: Callable[[State, Any], Any], state: State, inputs: dict[str, Any]
) -> tuple[dict[str, Any], Callable[[dict[str, Any], Any], Any]]:
    """The arrays of the state that ``predict`` reads, by name, and ``predict`` as a function of them."""
    pairs, structure = jax.tree_util.tree_flatten_with_path(state)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in pairs]
    jaxpr = jax.make_jaxpr(predict)(_shapes(state), inputs).jaxpr
    read = {id(variable) for equation in jaxpr.eqns for variable in equation.invars} | set(map(id, jaxpr.outvars))
    arrays = {
        name: leaf
        for name, (_, leaf), variable in zip(names, pairs, jaxpr.invars, strict=False)
        if id(variable) in read
    }
    # Constraints on the whole state read all of it, the key too.
    if any(equation.primitive.name == "sharding_constraint" for equation in equations(jaxpr)):
        raise ExportError(
            "learner: its predict divides arrays over a mesh, as that of a sharded learner does, and where it will run "
            "there is none: export the learner inside of shard, with the same state"
        )
    for name, leaf in arrays.items():
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise ExportError(f"state.{name}: predict reads it, and random keys cannot be exported")

    def function(arrays: dict[str, Any], inputs: Any) -> Any:
        # What is not among the arrays is not read either.
        leaves = [arrays.get(name, leaf) for name, (_, leaf) in zip(names, pairs, strict=True)]
        return predict(jax.tree.unflatten(structure, leaves), inputs)

    return arrays, function


def _shapes(tree: Tree) -> Tree:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jax.typeof(leaf).dtype), tree)


def _shape(name: str, leaf: Any, batch: Any = None) -> jax.ShapeDtypeStruct:
    """One array of the inputs, with a batch axis of any length if ``batch`` is that."""
    kind = jax.typeof(leaf)
    if not kind.shape or not kind.shape[0]:
        raise ValueError(f"{name} has the shape {tuple(kind.shape)}: expected a leading axis with at least one row")
    return jax.ShapeDtypeStruct((kind.shape[0] if batch is None else batch, *kind.shape[1:]), kind.dtype)


def _named(name: str, tree: Tree) -> dict[str, Any]:
    """The arrays of inputs by name: ``x``, or ``x['left']``."""
    pairs, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda node: node is None)
    named = {name + jax.tree_util.keystr(path): leaf for path, leaf in pairs}
    for path, leaf in named.items():
        if not isinstance(leaf, np.ndarray | jax.Array | jax.ShapeDtypeStruct):
            raise TypeError(f"{path}: expected an array, got {type(leaf).__name__}")
    if not named:
        raise TypeError(f"{name}: expected arrays, got {type(tree).__name__} without any")
    return named


def _check_platforms(platforms: Sequence[str]) -> None:
    if isinstance(platforms, str) or not platforms or not set(platforms) <= set(PLATFORMS):
        raise ValueError(f"platforms: expected some of {', '.join(PLATFORMS)}, got {platforms!r}")


def _check_inputs(wanted: dict[str, str], given: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    """Refuses inputs of another form, by name; what is a batch's size is the same for all."""
    rows = {shape[0] for _, shape in given.values() if shape}
    count = min(rows, default=0)

    def expected(name: str) -> str:
        return wanted[name].replace(f"[{BATCH}", f"[{count}", 1) if len(rows) == 1 and count else wanted[name]

    def told(name: str) -> str:
        empty = name in given and given[name][1][:1] == (0,)
        return wanted.get(name, "nothing") + (" with at least one row" if empty and name in wanted else "")

    found = {name: f"{dtype}[{','.join(map(str, shape))}]" for name, (dtype, shape) in given.items()}
    faults = [
        f"{name} is {found.get(name, 'missing')}, expected {told(name)}"
        for name in {**wanted, **found}
        if name not in wanted or found.get(name) != expected(name)
    ]
    if faults:
        raise ExportError("; ".join(faults[:4]) + (f"; and {len(faults) - 4} more" if len(faults) > 4 else ""))


def _signatures(program: jax_export.Exported) -> tuple[dict[str, str], dict[str, str]]:
    """What a program takes beside its weights, and what it returns: dtype and shape by name."""
    (_, inputs), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
    outputs = jax.tree.unflatten(program.out_tree, program.out_avals)

    def described(kind: Any) -> str:
        return f"{kind.dtype}[{','.join(map(str, kind.shape))}]"

    pairs = jax.tree_util.tree_flatten_with_path(outputs)[0]
    return (
        {name: described(kind) for name, kind in inputs.items()},
        {f"y{jax.tree_util.keystr(path)}": described(kind) for path, kind in pairs},
    )


def _write(path: str | os.PathLike, program: jax_export.Exported, arrays: dict[str, Any]) -> None:
    inputs, outputs = _signatures(program)
    header = {
        "format": FORMAT,
        "inputs": inputs,
        "outputs": outputs,
        "platforms": list(program.platforms),
        "jax": jax.__version__,
    }
    hosts = {name: np.asarray(array) for name, array in arrays.items()}
    text = json.dumps({**header, "sha256": _checksum(header, hosts)})
    try:
        safetensors.write(path, hosts, {METADATA: text})
    except WeightsError as error:
        raise ExportError(str(error)) from error


def _header(path: str | os.PathLike, content: Content) -> dict[str, Any]:
    """What the file says of itself, once its checksum holds."""
    try:
        header = json.loads(content.metadata[METADATA])
    except KeyError:
        raise ExportError(f"{path}: it holds arrays, and no exported model") from None
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{path}: its header is damaged") from error
    kind = header.get("format") if isinstance(header, dict) else None
    if kind != FORMAT:
        raise ExportError(f"{path}: it has the format {str(kind)[:80]!r}; this version of stepax reads {FORMAT!r}")
    rest = {name: value for name, value in header.items() if name != "sha256"}
    if _checksum(rest, content.arrays) != header.get("sha256"):
        raise ExportError(f"{path}: it is damaged: it does not have the checksum that it was written with")
    if PROGRAM not in content.arrays:
        raise ExportError(f"{path}: there is no program in it")
    return header


def _checksum(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Of everything that the file says, in an order of its own."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
