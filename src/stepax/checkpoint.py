"""Trees of arrays in a folder, through Orbax, with a checksum for each: what loads is what was saved, bit for bit."""

import hashlib
import os
import pathlib
import re
import secrets
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from stepax.files import one_line, read_json, write_json
from stepax.processes import first, from_first, is_shared, place, told, whole
from stepax.typing import Array, Tree

__all__ = ["CheckpointError", "Mismatch", "about", "load", "save", "sent"]

# A checkpoint is a folder with ``index.json``, which describes every array and names the folder where Orbax keeps the
# bytes. The index is replaced last and in one go: until then the old checkpoint is whole, and without it nothing loads.
# It has a checksum of every file too, since some damage passes through Orbax, and what does not makes its threads fill
# the terminal with traces; and one of itself.
INDEX = "index.json"
FORMAT = "stepax.checkpoint/2"
ARRAYS = re.compile(r"arrays-[0-9a-f]{8}(\.orbax-checkpoint-tmp.*)?")


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, or not the one that was asked for."""


class Mismatch(CheckpointError):
    """A checkpoint that is whole, but of another tree or of another version."""


def save(path: str | os.PathLike, tree: Tree, about: Mapping[str, Any] | None = None) -> None:
    """Saves a tree of arrays, typed random keys among them.

    A checkpoint that is there already stays whole until the new one is. Arrays that lie on devices of several processes
    are saved by the first of these; all must make the call.

    Args:
        path: The checkpoint's folder; made if it is not there.
        tree: Arrays in dicts, lists, tuples and NamedTuples, such as a :class:`stepax.State`.
        about: What is told beside the arrays, as JSON can hold it.

    Raises:
        TypeError: ``about`` holds what JSON cannot.
        OSError: The folder cannot be written, or the disk is full.
    """
    hosts = to_host(tree)
    if first() or not is_shared(tree):
        write(path, hosts, about)


def to_host(tree: Tree) -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """The first half of ``save``: the arrays' bytes by name, in memory of their own, so that training may go on."""
    return {name: _to_host(leaf) for name, leaf in _leaves(tree).items()}


def write(
    path: str | os.PathLike, hosts: dict[str, tuple[np.ndarray, dict[str, Any]]], about: Mapping[str, Any] | None = None
) -> None:
    """The second half of ``save``, which may run in another thread."""
    folder = pathlib.Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = folder / f"arrays-{secrets.token_hex(4)}"
    stored = {name: host for name, (host, _) in hosts.items() if host.size}
    if stored:  # Orbax refuses a tree without arrays, and arrays without elements
        _save_arrays(str(arrays.absolute()), stored)
    leaves = {name: {**kind, "sha256": _checksum(host, kind)} for name, (host, kind) in hosts.items()}
    index = {
        "format": FORMAT,
        "arrays": arrays.name,
        "about": dict(about or {}),
        "leaves": leaves,
        "files": _file_checksums(arrays),
    }
    write_json(folder / INDEX, {**index, "sha256": _own_checksum(index)})
    for entry in folder.iterdir():
        if ARRAYS.fullmatch(entry.name) and entry != arrays:
            shutil.rmtree(entry)


def about(path: str | os.PathLike) -> dict[str, Any]:
    """What was told beside the arrays when a checkpoint was saved.

    Args:
        path: The checkpoint's folder.

    Raises:
        CheckpointError: The folder is missing or no checkpoint, or its index is damaged.
    """
    return _index(pathlib.Path(path))["about"]


def load(path: str | os.PathLike, like: Tree) -> Tree:
    """Loads a tree of arrays, and compares each with its checksum.

    Args:
        path: The checkpoint's folder.
        like: A tree of the same structure, shapes and dtypes: arrays, or what ``jax.eval_shape`` gives. Where one of
            its leaves has been put on certain devices, the loaded array goes there too.

    Returns:
        The tree, with the structure of ``like`` and the saved bits.

    Raises:
        CheckpointError: The folder is missing or no checkpoint; the tree has another structure, shape or dtype than
            ``like`` (a :class:`Mismatch`); a file is missing, cut short or changed. The message names the array.
    """
    folder = pathlib.Path(path)
    index = _index(folder)
    saved, targets = index["leaves"], _leaves(like)
    _check_same(folder, saved, targets)
    hosts = _read(folder, index, targets)
    for name, kind in saved.items():
        if _checksum(hosts[name], kind) != kind["sha256"]:
            raise CheckpointError(
                f"checkpoint {folder}: {name} is damaged: it does not have the checksum that it was saved with"
            )
    return jax.tree.unflatten(
        jax.tree.structure(like), [_to_device(hosts[name], saved[name], target) for name, target in targets.items()]
    )


def sent(tree: Tree | None, like: Tree) -> Tree:
    """What the first process has loaded, in all of them, bit for bit.

    Args:
        tree: Arrays; of the other processes nothing is looked at.
        like: As in :func:`load`.
    """
    targets, structure = jax.tree.flatten(like)
    hosts = [(_blank(target), {}) for target in targets] if tree is None else [*map(_to_host, jax.tree.leaves(tree))]
    kinds = told([kind for _, kind in hosts])
    return jax.tree.unflatten(
        structure,
        [
            _to_device(from_first(host), kind, target)
            for (host, _), kind, target in zip(hosts, kinds, targets, strict=True)
        ],
    )


def _leaves(tree: Tree) -> dict[str, Any]:
    return {"tree" + jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _to_host(leaf: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """An array's bytes, and what it takes to make it again: of a key its data, and the name of its generator."""
    array = jnp.asarray(leaf)
    kind: dict[str, Any] = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        kind["generator"] = str(jax.random.key_impl(array))
        array = jax.random.key_data(array)
    # A copy: on a CPU the array's own memory would be given to the next step.
    return whole(array), kind


def _to_device(host: np.ndarray, kind: dict[str, Any], target: Any) -> Array:
    array = jnp.asarray(host)
    if "generator" in kind:
        array = jax.random.wrap_key_data(array, impl=kind["generator"])
    placed = target.committed if isinstance(target, jax.Array) else getattr(target, "sharding", None) is not None
    return place(array, target.sharding) if placed else array


def _checksum(host: np.ndarray, kind: dict[str, Any]) -> str:
    """Of the bytes and of what they mean."""
    digest = hashlib.sha256(_bytes(f"{kind['dtype']} {kind['shape']} {kind.get('generator')}"))
    digest.update(np.ascontiguousarray(host).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _file_checksums(folder: pathlib.Path) -> dict[str, str]:
    checksums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                checksums[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return checksums


def _index(folder: pathlib.Path) -> dict[str, Any]:
    """What the checkpoint says of itself."""
    if not folder.is_dir():
        raise CheckpointError(f"checkpoint {folder}: no such folder")
    try:
        index = read_json(folder / INDEX)
    except FileNotFoundError:
        raise CheckpointError(
            f"checkpoint {folder}: there is no {INDEX} in it: it is no checkpoint, or its saving was cut short"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint {folder}: {INDEX} is damaged: {error}") from error
    index = index if isinstance(index, dict) else {}
    kind, checksum = index.get("format"), index.pop("sha256", None)
    if kind != FORMAT and checksum in (None, _own_checksum(index)):
        raise Mismatch(f"checkpoint {folder}: {INDEX} has the format {kind!r}; this version of stepax reads {FORMAT!r}")
    if checksum != _own_checksum(index):
        raise CheckpointError(f"checkpoint {folder}: {INDEX} is damaged: it does not have the checksum that it names")
    if not _sound(index):
        raise CheckpointError(f"checkpoint {folder}: {INDEX} is damaged: fields are missing or of the wrong kind")
    return index


def _sound(index: dict[str, Any]) -> bool:
    """Whether the fields are those that ``write`` makes: a checksum proves no good will."""
    fields = {"dtype": str, "shape": list, "sha256": str}
    return (
        isinstance(index.get("arrays"), str)
        and ARRAYS.fullmatch(index["arrays"]) is not None
        and all(isinstance(index.get(field), dict) for field in ("about", "files", "leaves"))
        and all(
            isinstance(leaf, dict) and all(isinstance(leaf.get(field), kind) for field, kind in fields.items())
            for leaf in index["leaves"].values()
        )
    )


def _own_checksum(index: dict[str, Any]) -> str:
    # Of the text as it is read again: JSON has neither tuples nor keys that are no strings.
    return hashlib.sha256(_bytes(one_line(index))).hexdigest()


def _bytes(text: str) -> bytes:
    # JSON can hold half a character, which UTF-8 has not.
    return text.encode("utf-8", "surrogatepass")


def _check_same(folder: pathlib.Path, saved: dict[str, dict[str, Any]], targets: dict[str, Any]) -> None:
    was = {name: _described(leaf["dtype"], leaf["shape"]) for name, leaf in saved.items()}
    now = {name: _described(jax.typeof(leaf).dtype, jax.typeof(leaf).shape) for name, leaf in targets.items()}
    changes = [
        f"{name} is {was.get(name, 'absent')} where {now.get(name, 'nothing')} was expected"
        for name in {**now, **was}
        if was.get(name) != now.get(name)
    ]
    if changes:
        more = f"; and {len(changes) - 4} more" if len(changes) > 4 else ""
        raise Mismatch(f"checkpoint {folder}: it holds another tree than was expected: {'; '.join(changes[:4])}{more}")


def _described(dtype: Any, shape: Any) -> str:
    return f"{dtype}[{','.join(map(str, shape))}]"


def _read(folder: pathlib.Path, index: dict[str, Any], targets: dict[str, Any]) -> dict[str, np.ndarray]:
    """The bytes of every array, once the files are known to be what was saved."""
    arrays = folder / index["arrays"]
    try:
        found = _file_checksums(arrays)
    except OSError as error:
        raise CheckpointError(f"checkpoint {folder}: {arrays.name} cannot be read: {error}") from error
    for name, checksum in index["files"].items():
        if found.get(name) != checksum:
            state = "damaged" if name in found else "missing"
            raise CheckpointError(f"checkpoint {folder}: its file {arrays.name}/{name} is {state}")
    hosts = {name: _blank(target) for name, target in targets.items()}
    stored = {name: host for name, host in hosts.items() if host.size}
    try:
        return {**hosts, **_load_arrays(str(arrays.absolute()), stored)} if stored else hosts
    except (
        Exception
    ) as error:  # Orbax has many kinds; the files are whole, so its version cannot read them, or the index is wrong
        raise CheckpointError(f"checkpoint {folder}: Orbax cannot read {arrays.name}: {error}") from error


def _save_arrays(path: str, arrays: dict[str, np.ndarray]) -> None:
    if jax.process_count() == 1:
        ocp.save(path, arrays)
        return
    # The new form asks all processes, and they are at their next steps.
    import orbax.checkpoint as former

    alone = former.options.MultiprocessingOptions(**_alone())
    handler = former.PyTreeCheckpointHandler(multiprocessing_options=alone)
    with former.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
        checkpointer.save(path, former.args.PyTreeSave(arrays))


def _load_arrays(path: str, like: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if jax.process_count() == 1:
        return ocp.load(path, like)
    context = ocp.Context()
    for name, value in _alone().items():
        setattr(context.multiprocessing, name, value)
    with context:
        return ocp.load(path, like)


def _alone() -> dict[str, Any]:
    """Options with which Orbax waits for no other process."""
    own = jax.process_index()
    return {"primary_host": own, "active_processes": {own}, "barrier_sync_key_prefix": f"stepax-{own}"}


def _blank(target: Any) -> np.ndarray:
    """An array on the host of the shape and dtype that a leaf is stored in."""
    like = jax.eval_shape(
        lambda leaf: jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf, target
    )
    return np.empty(like.shape, like.dtype)
