"""Going on from trained parameters: all of them, or only a chosen part while the rest stays as it is."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, traverse_util

from stepax.model import Model, as_model
from stepax.typing import Array, Key, Tree

__all__ = ["transfer", "unfrozen"]


def transfer(model: Any, params: Tree, variables: Tree | None = None, *, train: str = "") -> Model:
    """A trained model that is trained further, as a whole or in part.

    The part that ``train`` selects stays in ``params``, where gradients change it. All other parameters move to
    ``variables["frozen"]``, which nothing changes: they keep every bit, and no gradient is computed for them. Batch
    normalisation that is not trained uses its trained statistics, as in inference (in a Linen module; an NNX module's
    layers all run as in training). Dropout stays on.

    Args:
        model: The model, or Linen module, that was trained.
        params: Its trained parameters.
        variables: Its trained statistics, if it has any.
        train: A regular expression, searched for in each parameter's path, such as ``"head"`` or ``"dense|head"``;
            paths look like ``conv_0/kernel``. The empty one finds all.

    Returns:
        A model whose ``init`` gives the trained values, whatever the key. :func:`unfrozen` leads back to those of the
        model inside.

    Raises:
        ValueError: ``train`` is no regular expression, or no path matches it; the message lists the paths.
    """
    inner = as_model(model)
    flat, pattern = _flat(params), train
    try:
        chosen = {path for path in flat if re.search(pattern, path)}
    except re.error as error:
        raise ValueError(f"train: {pattern!r} is no regular expression: {error}") from error
    if not chosen:
        raise ValueError(f"train: no parameter's path matches {pattern!r}; the paths are {', '.join(sorted(flat))}")
    trained = dict(variables or {})
    if "frozen" in trained:
        raise ValueError("variables: a part of this model is frozen already; transfer the model inside it")

    def init(key: Key, x: Any) -> tuple[Tree, Tree]:
        arrays = {path: jnp.asarray(leaf) for path, leaf in flat.items()}
        wanted = jax.eval_shape(inner.init, key, x)
        _check_alike("params", wanted[0], params)
        _check_alike("variables", wanted[1], trained)
        frozen = {path: leaf for path, leaf in arrays.items() if path not in chosen}
        return _nested({path: arrays[path] for path in arrays if path in chosen}), {
            **jax.tree.map(jnp.asarray, trained),
            "frozen": _nested(frozen),
        }

    def apply(params: Tree, variables: Tree, x: Any, *, train: bool, key: Key | None) -> tuple[Any, Tree]:
        whole, own = unfrozen(params, variables)
        with linen.intercept_methods(
            _frozen_statistics(
                lambda path: bool(re.search(pattern, path)) or any(p.startswith(f"{path}/") for p in chosen)
            )
        ):
            output, own = inner.apply(whole, own, x, train=train, key=key)
        return output, {**own, "frozen": variables["frozen"]}

    return Model(init, apply)


def unfrozen(params: Tree, variables: Tree) -> tuple[Tree, Tree]:
    """Parameters and variables of a transferred model as the model inside has them: what was frozen is in its place."""
    own = {name: value for name, value in variables.items() if name != "frozen"}
    return _nested({**_flat(variables["frozen"]), **_flat(params)}), own


def _frozen_statistics(is_active: Callable[[str], bool]) -> Callable[..., Any]:
    """A Linen interceptor under which normalisation that is not trained uses its running averages, and keeps them."""

    def intercept(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], context: Any) -> Any:
        layer = context.module
        if (
            not hasattr(layer, "use_running_average")
            or context.method_name != "__call__"
            or is_active("/".join(layer.path))
        ):
            return call(*args, **kwargs)
        asked = layer.use_running_average
        kwargs.pop("use_running_average", None)
        # The choice is a field of the layer or an argument of its call, and the layer refuses both; a bound layer's
        # fields are frozen.
        object.__setattr__(layer, "use_running_average", True)
        try:
            return call(*args[:1], **kwargs)
        finally:
            object.__setattr__(layer, "use_running_average", asked)

    return intercept


def _nested(flat: dict[str, Array]) -> Tree:
    return traverse_util.unflatten_dict(flat, sep="/")


def _flat(tree: Tree) -> dict[str, Array]:
    return traverse_util.flatten_dict(tree, sep="/")


def _check_alike(field: str, wanted: Tree, given: Tree) -> None:
    """Raises unless two trees have equal paths and shapes."""
    first, second = ({path: jnp.shape(leaf) for path, leaf in _flat(tree).items()} for tree in (wanted, given))
    for path in sorted({*first, *second}):
        if first.get(path) != second.get(path):
            was, came = (shapes.get(path, "nothing") for shapes in (first, second))
            raise ValueError(f"{field}: the model has {was} at {path!r}, and the given {field} have {came}")
