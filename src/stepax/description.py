"""What a model is made of, from its shapes alone: layers, outputs, parameters, arithmetic."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen

from stepax.aligned import aligned, short
from stepax.arithmetic import flops_by_scope
from stepax.model import Model, as_model
from stepax.program import inner
from stepax.typing import Tree

__all__ = ["Description", "Layer", "describe"]

# What marks a layer in the program, and parts its path there.
MARK, BETWEEN = "stepax.layer", "|"


class Layer(NamedTuple):
    """A row of a :class:`Description`.

    Attributes:
        path: Where it is in the model, such as ``block_0/attention``; ``""`` is the model itself.
        kind: The class of the layer, or ``""`` where only its parameters can be seen.
        output: Its output, such as ``float32[128,10]``; ``""`` where it cannot be seen.
        parameters: How many numbers gradients change, without those of the layers inside it.
        variables: How many numbers it keeps beside: running averages, scalings, parameters that are frozen.
        bytes: What both of these take.
        flops: Operations of its matrix products and convolutions in the forward pass, two for each multiply-and-add,
            without those of the layers inside it; ``None`` where they cannot be told from others.
        times: How often the loops around it run it, as those over :func:`stepax.nn.scanned` layers and over time.
            ``output`` is that of one time; parameters and operations are those of all.
    """

    path: str
    kind: str
    output: str
    parameters: int
    variables: int
    bytes: int
    flops: int | None
    times: int = 1


class Description(NamedTuple):
    """What :func:`describe` finds; ``str()`` of it is a table.

    Attributes:
        layers: A row for each layer, in the order of their calls.
        input: The input, such as ``float32[128,28,28,1]``.
        output: The output of the whole.
        parameters: How many numbers gradients change.
        variables: How many numbers the model keeps beside.
        bytes: What both of these take.
        flops: Operations of the whole forward pass.
    """

    layers: tuple[Layer, ...]
    input: str
    output: str
    parameters: int
    variables: int
    bytes: int
    flops: int

    def __str__(self) -> str:
        rows = [_HEADER, *(_cells(layer, self.flops) for layer in self.layers)]
        total = Layer("total", "", self.output, self.parameters, self.variables, self.bytes, self.flops)
        lines = aligned([*rows, _cells(total, self.flops)], left=["layer", "kind", "output"])
        rule = "─" * max(map(len, lines))
        return "\n".join([f"forward pass of {self.input}", lines[0], rule, *lines[1:-1], rule, lines[-1]])


def describe(model: Any, x: Any) -> Description:
    """Layers, shapes, parameters and arithmetic of a model. Nothing is computed, and nothing compiled.

    Operations are those of matrix products and convolutions in the program of the forward pass (in inference), as
    :func:`stepax.arithmetic.flops` counts them. A training step takes about three times as many.

    Args:
        model: A Linen module or a :class:`stepax.Model`. Of the former all layers are seen, also inside
            :func:`stepax.scaled` and :func:`stepax.transfer`; of others, such as NNX modules, the parameters by path.
        x: A batch of inputs, or its shape (``jax.ShapeDtypeStruct``): an array ``[batch, …]`` or a tree of them.

    Returns:
        The rows and their sums.

    Raises:
        TypeError: ``model`` is no model; ``x`` holds something without shape and dtype.
        ValueError: As the model has it, of inputs that do not fit.

    >>> described = describe(linen.Dense(3), jax.ShapeDtypeStruct((8, 5), "float32"))
    >>> described.parameters, described.flops, described.output
    (18, 240, 'float32[8,3]')
    """
    model, x = as_model(model), jax.tree.map(_shape, x)
    params, variables = jax.eval_shape(model.init, jax.random.key(0), x)
    seen, counts, times, output = _traced(model, params, variables, x)
    of_params = _numbers(params)
    rest = {name: tree for name, tree in variables.items() if name != "scaling"}
    own = of_params, _numbers(rest, {*seen, *of_params})
    layers = [_layer(path, *seen[path], *own, counts[path])._replace(times=_around(path, times)) for path in seen]
    unseen = dict.fromkeys(path for numbers in own for path in numbers if path not in seen)
    layers += [_layer(path, "", "", *own, None) for path in unseen]
    if "scaling" in variables:
        size, taken = _sizes(variables["scaling"])
        layers.insert(0, Layer("scaling", "", "", 0, size, taken, 0))
    (count, size), (kept, more) = _sizes(params), _sizes(variables)
    return Description(tuple(layers), _told(x), _told(output), count, kept, size + more, counts.total())


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
        raise TypeError(f"x: expected an array or a jax.ShapeDtypeStruct, or a tree of them, got {leaf!r:.60}")
    return jax.ShapeDtypeStruct(leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype))


def _traced(
    model: Model, params: Tree, variables: Tree, x: Any
) -> tuple[dict[str, tuple[str, str]], Counter[str], dict[str, int], Any]:
    """By path the kind and the output of each layer that can be seen, its operations, how often it runs; the output."""
    seen: dict[str, tuple[str, str]] = {}

    def noted(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        path = "/".join(context.module.path)
        seen.setdefault(path, (type(context.module).__name__, ""))
        with jax.named_scope(BETWEEN.join([MARK, *context.module.path])):
            output = call(*args, **kwargs)
        if context.method_name == "__call__" or not (seen[path][1] or context.method_name.startswith("_")):
            seen[path] = (seen[path][0], _told(output))
        return output

    def forward(params: Tree, variables: Tree, x: Any) -> Any:
        with linen.intercept_methods(noted):
            return model.apply(params, variables, x, train=False, key=None)[0]

    counts: Counter[str] = Counter()
    for scope, count in flops_by_scope(forward, params, variables, x).items():
        counts["/".join((_layers(scope) or [()])[-1])] += count
    program, output = jax.make_jaxpr(forward, return_shape=True)(params, variables, x)
    times: dict[str, int] = {}
    _count_times(program.jaxpr, "", 1, times)
    return seen, counts, times, output


def _layers(scope: str) -> list[tuple[str, ...]]:
    """The paths of the layers around an equation, the innermost last."""
    parts = (name.split(BETWEEN) for name in scope.split("/"))
    return [tuple(path) for mark, *path in parts if mark == MARK]


def _count_times(jaxpr: Any, scope: str, steps: int, times: dict[str, int]) -> None:
    """How many steps the loops around each layer have; ``scope`` is that of the call, whose layers are outside."""
    outside = set(_layers(scope))
    for equation in jaxpr.eqns:
        own = "/".join(filter(None, (scope, str(equation.source_info.name_stack))))
        for path in map("/".join, set(_layers(own)) - outside):
            # What does not change from step to step may stand before the loop.
            times[path] = max(steps, times.get(path, 1))
        inside = steps * (equation.params["length"] if equation.primitive.name == "scan" else 1)
        for part in inner(equation):
            _count_times(part, own, inside, times)


def _around(path: str, times: Mapping[str, int]) -> int:
    """How often a layer runs: one without an equation of its own, such as dropout, as often as the layer around it."""
    while path and path not in times:
        path = path.rpartition("/")[0]
    return times.get(path, 1)


def _told(tree: Any) -> str:
    """Arrays by dtype and shape, several as Python shows them."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype")]
    names = [f"{leaf.dtype.name}[{','.join(map(str, leaf.shape))}]" for leaf in leaves]
    return " ".join(names)


def _numbers(tree: Tree, layers: Collection[str] = ()) -> dict[str, tuple[int, int]]:
    """By the path of a layer how many numbers it has, and their bytes.

    Linen has the name of a collection before the paths of ``layers`` that are known, NNX has not.
    """
    found: dict[str, tuple[int, int]] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        names = jax.tree_util.keystr(path, simple=True, separator="/").split("/")[:-1]
        whole, below = "/".join(names), "/".join(names[1:])
        name = below if whole not in layers and below in layers else whole
        before = found.get(name, (0, 0))
        found[name] = before[0] + leaf.size, before[1] + _bytes(leaf)
    return found


def _sizes(tree: Tree) -> tuple[int, int]:
    leaves = jax.tree.leaves(tree)
    return sum(leaf.size for leaf in leaves), sum(map(_bytes, leaves))


def _bytes(leaf: Any) -> int:
    return int(leaf.size) * int(jnp.dtype(leaf.dtype).itemsize)


def _layer(
    path: str,
    kind: str,
    output: str,
    params: Mapping[str, tuple[int, int]],
    variables: Mapping[str, tuple[int, int]],
    flops: int | None,
) -> Layer:
    (count, taken), (kept, more) = params.get(path, (0, 0)), variables.get(path, (0, 0))
    return Layer(path, kind, output, count, kept, taken + more, flops)


_HEADER = ["layer", "kind", "times", "output", "parameters", "variables", "bytes", "FLOPs", "share"]


def _cells(layer: Layer, whole: int) -> list[str]:
    share = "" if layer.flops is None or not whole else f"{layer.flops / whole:.1%}"
    counted = [f"{value:,}" if value else "" for value in (layer.parameters, layer.variables)]
    name = layer.path or f"({layer.kind or 'model'})"
    flops, size = (short(value) if value else "" for value in (layer.flops, layer.bytes))
    times = f"{layer.times}×" if layer.times > 1 else ""
    return [name, layer.kind, times, layer.output, *counted, size, flops, share if flops else ""]
