"""Weights in safetensors files, which other libraries read and write too, and to and from state dicts of PyTorch."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stepax import safetensors
from stepax.learner import State, lanes_of
from stepax.safetensors import Header, WeightsError
from stepax.typing import Array, Tree

__all__ = ["WeightsError", "from_torch", "load", "read", "save", "to_torch"]

FORMAT = "stepax.weights/1"
# A file from elsewhere may have any format, or none; one of ours must be of a version that is known here.
OURS = "stepax.weights/"

LAYER = re.compile(
    r"(?:batch_stats\.)?(?P<layer>conv_\d+(?:_\d+)?|norm_\d+(?:_\d+)?|dense_norm_\d+|dense_\d+|head)"
    r"\.(?P<array>kernel|bias|scale|mean|var)"
)
IN_TORCH = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
# PyTorch counts batches beside its statistics, for averages without a momentum; a strict load asks for it.
COUNT = "num_batches_tracked"
# From [height, width, inputs, outputs] and [inputs, outputs] to the order of PyTorch.
ORDERS = {4: (3, 2, 0, 1), 2: (1, 0)}


def save(path: str | os.PathLike, tree: Tree) -> None:
    """Saves weights as a safetensors file, in one go.

    Parameters are named by their path, ``conv_0.kernel``; the models' own statistics begin with their collection,
    ``batch_stats.norm_0.mean``. Optimizer, step and key of a state stay behind: :mod:`stepax.checkpoint` keeps them.

    Args:
        path: The file, such as ``model.safetensors``.
        tree: A :class:`stepax.State`, a pair ``(params, variables)``, or parameters: a dict of arrays, or of dicts.

    Raises:
        TypeError: A leaf is no array of numbers; the message names it.
        WeightsError: There are no arrays, or two of one name.
    """
    arrays = {name: _host(name, leaf) for name, leaf in _named(tree).items()}
    safetensors.write(path, arrays, {"format": FORMAT})


def load(path: str | os.PathLike, like: Tree) -> Tree:
    """Loads weights: exactly the arrays that are expected, of their shapes and dtypes.

    Args:
        path: A safetensors file, of this library or another.
        like: A tree of one of the forms that :func:`save` takes: arrays, or what ``jax.eval_shape`` gives. Where one of
            its leaves has been put on certain devices, the loaded array goes there too.

    Returns:
        The weights in the structure of ``like``. Of a :class:`stepax.State`, whatever is no weight stays as it is.

    Raises:
        TypeError: ``like`` is a state of shapes alone, whose optimizer no file of weights can fill.
        WeightsError: The file is missing, damaged or hostile; or an array is missing, not expected, or of another shape
            or dtype. The message names the arrays.
    """
    _check_fillable(like)
    targets = _named(like)

    def accept(header: Header) -> None:
        _check_format(path, header.metadata)
        found = {name: _described(entry.dtype, entry.shape) for name, entry in header.entries.items()}
        _check_same(str(path), found, {name: _description(leaf) for name, leaf in targets.items()})

    return _filled(like, safetensors.read(path, accept).arrays)


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads whatever arrays a safetensors file holds, such as a state dict of PyTorch for :func:`from_torch`.

    Args:
        path: The file.

    Returns:
        NumPy arrays by name, in their own dtypes.

    Raises:
        WeightsError: The file is missing, damaged or hostile.
    """
    return safetensors.read(path, lambda header: _check_format(path, header.metadata)).arrays


def to_torch(tree: Tree, *, names: Mapping[str, str] | None = None, channels: int | None = None) -> dict[str, Any]:
    """The weights of a :class:`stepax.nn.MLP` or :class:`stepax.nn.CNN` as a state dict of PyTorch.

    Kernels are turned (``Linear`` to [outputs, inputs], ``Conv2d`` to [outputs, inputs, height, width]), and the first
    dense layer takes its inputs in the order in which PyTorch flattens images, channels first.

    Args:
        tree: As in :func:`save`.
        names: Other names for layers: ``{"conv_0": "features.0"}`` makes ``features.0.weight``.
        channels: Of the images that a model without convolutions flattens; ``None``: its inputs keep their order.

    Returns:
        NumPy arrays by name, ``conv_0.weight``, ``norm_0.running_mean``, for ``load_state_dict``.

    Raises:
        TypeError: A leaf is no array.
        WeightsError: The weights are not those of such a model, or of several (the state of a population), or ``names``
            or ``channels`` do not fit them.
    """
    _check_single("tree", tree)
    leaves = _named(tree)
    state_dict: dict[str, Any] = {}
    for link in _links(leaves, names, channels):
        array = _host(link.ours, leaves[link.ours])
        if link.order:
            inputs = array.reshape(-1, link.channels, array.shape[-1]).swapaxes(0, 1)
            array = (inputs.reshape(array.shape) if link.channels > 1 else array).transpose(link.order)
        state_dict[link.torch] = np.array(array, order="C")
        if link.torch.endswith(".running_var"):
            state_dict[link.torch.replace("running_var", COUNT)] = np.array(0, np.int64)
    return state_dict


def from_torch(
    state_dict: Mapping[str, Any],
    like: Tree,
    *,
    names: Mapping[str, str] | None = None,
    channels: int | None = None,
) -> Tree:
    """The weights of a state dict of PyTorch, for a :class:`stepax.nn.MLP` or :class:`stepax.nn.CNN`.

    The inverse of :func:`to_torch`.

    Args:
        state_dict: What ``model.state_dict()`` or :func:`read` gives: tensors, or NumPy arrays, by name.
        like: As in :func:`load`.
        names: As in :func:`to_torch`: the model's own names for layers.
        channels: As in :func:`to_torch`.

    Returns:
        The weights in the structure of ``like``.

    Raises:
        TypeError: ``like`` is a state of shapes alone.
        WeightsError: An array is missing, not expected, or of another shape or dtype, or NumPy cannot hold it; or
            ``like`` is the state of a population.
    """
    _check_fillable(like)
    _check_single("like", like)
    leaves = _named(like)
    links = _links(leaves, names, channels)
    found = {name: _from_tensor(name, value) for name, value in state_dict.items() if not name.endswith(f".{COUNT}")}
    kinds = {link.torch: (jax.typeof(leaves[link.ours]).dtype, link.turned(leaves[link.ours].shape)) for link in links}
    wanted = {name: _described(*kind) for name, kind in kinds.items()}
    _check_same("state_dict", {name: _described(a.dtype, a.shape) for name, a in found.items()}, wanted)
    arrays = {}
    for link in links:
        array = found[link.torch]
        if link.order:
            array = array.transpose(np.argsort(link.order))
            outputs = array.shape[-1]
            inputs = array.reshape(link.channels, -1, outputs).swapaxes(0, 1) if link.channels > 1 else array
            array = inputs.reshape(array.shape)
        arrays[link.ours] = array
    return _filled(like, arrays)


class _Link(NamedTuple):
    """An array here and there.

    Attributes:
        ours: Its name here.
        torch: Its name in PyTorch.
        order: The order of a kernel's axes in PyTorch; empty for other arrays.
        channels: Of the images that a dense layer's inputs are; 1 where they keep their order.
    """

    ours: str
    torch: str
    order: tuple[int, ...]
    channels: int

    def turned(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape in PyTorch."""
        return tuple(shape[axis] for axis in self.order) if self.order else tuple(shape)


def _links(leaves: dict[str, Any], names: Mapping[str, str] | None, channels: int | None) -> list[_Link]:
    """What belongs to what."""
    matches = {name: LAYER.fullmatch(name) for name in leaves}
    if strange := [name for name, match in matches.items() if not match]:
        raise WeightsError(
            f"{', '.join(strange[:4])}: expected parameters and batch statistics of a stepax.nn.MLP or stepax.nn.CNN"
        )
    layers = {name: match["layer"] for name, match in matches.items() if match}
    names = names or {}
    if unknown := sorted(names.keys() - set(layers.values())):
        raise WeightsError(f"names: there is no layer {unknown[0]!r}, only {', '.join(sorted({*layers.values()}))}")
    first, channels = _flattened(leaves, channels)
    links = []
    for name, match in matches.items():
        assert match is not None
        layer, array = match["layer"], match["array"]
        order = _order(name, leaves[name]) if array == "kernel" else ()
        own = f"{names.get(layer, layer)}.{IN_TORCH[array]}"
        links.append(_Link(name, own, order, channels if name == first else 1))
    if len({link.torch for link in links}) < len(links):
        raise WeightsError("names: two arrays would have one name in PyTorch")
    return links


def _order(name: str, kernel: Any) -> tuple[int, ...]:
    if kernel.ndim not in ORDERS:
        raise WeightsError(f"{name}: expected a kernel of 2 or 4 axes, got the shape {kernel.shape}")
    return ORDERS[kernel.ndim]


def _flattened(leaves: dict[str, Any], channels: int | None) -> tuple[str, int]:
    """The kernel that sees flattened images, and how many channels these have."""
    convolutions = {
        tuple(map(int, re.findall(r"\d+", name))): leaf.shape[-1]
        for name, leaf in leaves.items()
        if name.startswith("conv_") and name.endswith(".kernel")
    }
    if convolutions and channels is not None:
        raise WeightsError(f"channels: {channels} are given, but the model's convolutions say it: leave it out")
    width = convolutions[max(convolutions)] if convolutions else 1 if channels is None else channels
    first = next(name for name in ("dense_0.kernel", "head.kernel", "") if name in leaves or not name)
    if first and (width < 1 or leaves[first].shape[0] % width):
        raise WeightsError(f"channels: {width} do not divide the {leaves[first].shape[0]} inputs of {first}")
    return first, width


def _from_tensor(name: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except (TypeError, RuntimeError) as error:
        raise WeightsError(
            f"state_dict: {name} is nothing that NumPy can hold ({error}); safetensors.torch.save_file and "
            "stepax.weights.read pass on every dtype"
        ) from error


def _parts(tree: Tree) -> tuple[Tree, Tree]:
    """Parameters and variables of what a caller may hand in."""
    if isinstance(tree, State):
        return tree.params, tree.variables
    if type(tree) is tuple and len(tree) == 2:
        return tree
    return tree, {}


def _named(tree: Tree) -> dict[str, Any]:
    """The leaves by their dotted paths."""
    named: dict[str, Any] = {}
    for path, leaf in _leaves(tree):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if name in named:
            raise WeightsError(f"{name}: there are two arrays of this name")
        if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
            raise TypeError(f"{name or 'tree'}: expected an array, got {type(leaf).__name__}")
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise TypeError(f"{name}: expected an array of numbers, got random keys, which are no weights")
        named[name] = leaf
    if not named:
        raise WeightsError("there are no arrays: expected a dict of arrays, a pair of such, or a stepax.State")
    return named


def _leaves(tree: Tree) -> Iterator[tuple[Any, Any]]:
    for part in _parts(tree):
        yield from jax.tree_util.tree_flatten_with_path(part)[0]


def _host(name: str, leaf: Any) -> np.ndarray:
    if not isinstance(leaf, np.ndarray | np.generic | jax.Array):
        raise TypeError(f"{name}: expected an array, got {type(leaf).__name__}")
    return np.asarray(leaf)


def _check_fillable(like: Tree) -> None:
    if isinstance(like, State) and any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(like)):
        raise TypeError(
            "like: a state of shapes alone would be left without optimizer, step and key; pass a state that "
            "learner.init made, or the pair (like.params, like.variables)"
        )


def _check_single(name: str, tree: Tree) -> None:
    if isinstance(tree, State) and (lanes := tuple(getattr(tree.key, "shape", ()))):
        raise WeightsError(f"{name}: this is the state of {lanes_of(lanes)}; take one with stepax.lane(state, k)")


def _check_format(path: str | os.PathLike, metadata: dict[str, str]) -> None:
    kind = metadata.get("format", "")
    if kind.startswith(OURS) and kind != FORMAT:
        raise WeightsError(f"{path}: it has the format {kind[:80]!r}; this version of stepax reads {FORMAT!r}")


def _check_same(where: str, found: dict[str, str], wanted: dict[str, str]) -> None:
    changes = [
        f"{name} is {found.get(name, 'missing')}"
        + (f" where {wanted[name]} was expected" if name in wanted else ", and was not expected")
        for name in {**wanted, **found}
        if found.get(name) != wanted.get(name)
    ]
    if changes:
        more = f"; and {len(changes) - 8} more" if len(changes) > 8 else ""
        raise WeightsError(f"{where}: these are other weights than was expected: {'; '.join(changes[:8])}{more}")


def _description(leaf: Any) -> str:
    kind = jax.typeof(leaf)
    return _described(kind.dtype, kind.shape)


def _described(dtype: Any, shape: Any) -> str:
    return f"{dtype}[{','.join(map(str, shape))}]"


def _filled(like: Tree, arrays: dict[str, np.ndarray]) -> Tree:
    """``like`` with the arrays in it."""
    leaves = iter([_placed(arrays[name], target) for name, target in _named(like).items()])
    params, variables = (jax.tree.map(lambda _: next(leaves), part) for part in _parts(like))
    if isinstance(like, State):
        return like._replace(params=params, variables=variables)
    return (params, variables) if type(like) is tuple and len(like) == 2 else params


def _placed(host: np.ndarray, target: Any) -> Array:
    array = jnp.asarray(host)
    placed = target.committed if isinstance(target, jax.Array) else getattr(target, "sharding", None) is not None
    return jax.device_put(array, target.sharding) if placed else array
