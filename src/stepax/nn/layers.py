"""Many layers of one kind, one after the other: written out, or as one loop over stacked parameters."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen

from stepax.typing import Tree

__all__ = ["Stack", "check_stack", "scanned", "stacked_parameters", "unrolled", "unstacked_parameters"]

# Linen's scan wants every collection that a layer may have; those that are not there cost nothing.
COLLECTIONS: dict[Any, Any] = {"params": 0, "intermediates": 0, "attention": 0, "batch_stats": 0}
STACKED = "blocks"
ONE = re.compile(r"block_(\d+)")


class Stack(NamedTuple):
    """How layers of one kind follow each other.

    Attributes:
        run: ``(block, layers, step, x, each) -> (x, each)``, called where a Linen module may make others:
            ``block(name=…)`` makes a layer, ``step(layer, x, each) -> (x, each)`` is what becomes of ``x`` in it, and
            ``each`` is what layers have of their own beside parameters, such as caches, in the form of ``together``.
        together: A sequence of trees, one for each layer, as one tree.
    """

    run: Callable[..., tuple[Any, Tree]]
    together: Callable[[Sequence[Tree]], Tree]


@cache
def unrolled() -> Stack:
    """Layers that are written out: parameters ``block_0``, ``block_1`` and so on; a program that grows with them."""

    def run(block: Callable[..., Any], layers: int, step: Callable[..., Any], x: Any, each: Any = None) -> Any:
        outputs = []
        for i in range(layers):
            x, output = step(block(name=f"block_{i}"), x, None if each is None else each[i])
            outputs.append(output)
        return x, tuple(outputs)

    return Stack(run, tuple)


def scanned(*, remat: bool = False) -> Stack:
    """Layers as one ``jax.lax.scan``: the program, and the time to compile it, are those of one layer.

    The parameters are ``blocks``, each with a leading axis ``[layers, …]``; dropout draws anew in each layer.

    Args:
        remat: Whether the gradient computes each layer anew, and keeps of its values only what came in: a third more
            work for memory that hardly grows with depth.

    Returns:
        The pair.
    """
    return _scanned(bool(remat))


# Kept by what was meant, however it was written: equal settings make equal models, which share programs.
@cache
def _scanned(remat: bool) -> Stack:
    def run(block: Callable[..., Any], layers: int, step: Callable[..., Any], x: Any, each: Any = None) -> Any:
        if not layers:
            return x, each
        # In a loop nothing can be merged with its first computation.
        body = linen.remat(step, prevent_cse=False) if remat else step
        loop = linen.scan(body, variable_axes=COLLECTIONS, split_rngs={"params": True, "dropout": True}, length=layers)
        return loop(block(name=STACKED), x, each)

    def together(trees: Sequence[Tree]) -> Tree:
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees) if trees else None

    return Stack(run, together)


def stacked_parameters(params: Tree) -> Tree:
    """Parameters of :func:`unrolled` layers for the same model with :func:`scanned` ones.

    Args:
        params: Nested dicts in which ``block_0``, ``block_1`` and so on stand side by side, at any depth.

    Returns:
        The same with ``blocks`` in their place, each array with a leading axis of layers.

    Raises:
        ValueError: There are no such layers, one is missing, or they are not of one kind.
    """
    return _replaced(params, _stack, "block_0")


def unstacked_parameters(params: Tree) -> Tree:
    """Parameters of :func:`scanned` layers for the same model with :func:`unrolled` ones.

    Args:
        params: Nested dicts with ``blocks``, at any depth.

    Returns:
        The same with ``block_0``, ``block_1`` and so on in its place.

    Raises:
        ValueError: There are no such layers.
    """
    return _replaced(params, _unstack, STACKED)


def check_stack(stack: Any) -> None:
    """Refuse what does not say how layers follow each other.

    Raises:
        TypeError: It is no ``Stack``: a function that makes one and was not called, perhaps.
    """
    if not isinstance(stack, Stack):
        raise TypeError(f"stack: expected a Stack such as scanned(), got {stack!r}")


def _replaced(params: Tree, change: Callable[[Tree], Tree], marker: str) -> Tree:
    found = False

    def walk(tree: Tree) -> Tree:
        nonlocal found
        if not isinstance(tree, Mapping):
            return tree
        here = marker in tree
        found = found or here
        tree = {name: walk(value) for name, value in tree.items()}
        return change(tree) if here else tree

    params = walk(params)
    if not found:
        raise ValueError(f"params: expected layers named {marker!r}, found none")
    return params


def _stack(tree: Tree) -> Tree:
    numbers = sorted(int(match[1]) for name in tree if (match := ONE.fullmatch(name)))
    if numbers != list(range(len(numbers))):
        raise ValueError(f"params: expected layers numbered from 0 without a gap, got {numbers}")
    layers = [tree[f"block_{i}"] for i in numbers]
    kinds = [jax.tree.map(jnp.shape, layer) for layer in layers]
    if any(kind != kinds[0] for kind in kinds):
        raise ValueError(f"params: expected layers of one kind, with arrays of the same names and shapes, got {kinds}")
    rest = {name: value for name, value in tree.items() if not ONE.fullmatch(name)}
    return {**rest, STACKED: jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)}


def _unstack(tree: Tree) -> Tree:
    layers = len(jax.tree.leaves(tree[STACKED])[0])
    rest = {name: value for name, value in tree.items() if name != STACKED}
    return {
        **rest,
        **{f"block_{i}": jax.tree.map(lambda leaf, i=i: leaf[i], tree[STACKED]) for i in range(layers)},
    }
