"""What happens inside a network: the output of every submodule."""

import inspect
from collections import Counter
from typing import Any

from flax import linen
from flax.core import DenyList

from stepax.typing import Tree

__all__ = ["feature_maps"]


def feature_maps(module: linen.Module, variables: Tree, x: Any) -> dict[str, Any]:
    """The output of every submodule of any Linen module, in the order in which they finish.

    Args:
        module: A Linen module. Where its ``__call__`` takes ``train``, it is called with ``train=False``.
        variables: All its collections: ``{"params": …, "batch_stats": …}``; of a learner's state,
            ``{"params": state.params, **state.variables}``.
        x: An input of the module, with its batch axis.

    Returns:
        A dict from the submodule's path, such as ``"conv_0"`` or ``"block_1/dense"``, to what it returned: an array, or
        a tree for a submodule that returns one. A submodule called several times has an entry per call, ``"dense[0]"``,
        ``"dense[1]"``; a method other than ``__call__`` goes by its name, ``"embed.attend"``. Layers that are
        :func:`scanned` stand together, with a leading axis of layers: ``"blocks/attention"``. What else runs inside
        ``nn.scan`` and ``nn.vmap`` appears only if they carry the collection ``intermediates``. As every dict that
        leaves ``jax.jit`` or ``jax.eval_shape``, this one leaves them sorted by key.

    Raises:
        TypeError: It is no Linen module: what is inside a ``stepax.Model`` or an NNX module is out of sight.
    """
    if not isinstance(module, linen.Module):
        raise TypeError(
            f"module: expected a Linen module, got {type(module).__name__}, whose submodules are out of sight; "
            "pass the module that the model was made from"
        )
    calls: list[tuple[tuple[str, ...], str]] = []

    def keep(submodule: linen.Module, method: str) -> bool:
        public = method == "__call__" or (method.isidentifier() and not method.startswith("_") and method != "setup")
        # A function that runs under a transformation such as nn.scan passes for a method of the module it is given.
        if wanted := public and hasattr(type(submodule), method) and bool(submodule.path):
            calls.append((submodule.path, method))
        return wanted

    train: dict[str, Any] = {"train": False} if "train" in inspect.signature(type(module).__call__).parameters else {}
    # What an earlier call has sown would be counted as an output of this one.
    variables = {name: collection for name, collection in variables.items() if name != "intermediates"}
    _, changed = module.apply(variables, x, **train, capture_intermediates=keep, mutable=DenyList("params"))
    return _in_order(calls, changed.get("intermediates", {}))


def _in_order(calls: list[tuple[tuple[str, ...], str]], captured: Tree) -> dict[str, Any]:
    """The captured outputs by name, in the order of the calls."""
    counts: Counter[tuple[tuple[str, ...], str]] = Counter()
    named = {}
    for call in calls:
        outputs, index = _outputs(captured, *call), counts[call]
        counts[call] += 1
        # Inside a lifted transformation a call may be traced more often than it is kept.
        if index < len(outputs):
            path, method = call
            name = "/".join(path) + ("" if method == "__call__" else f".{method}")
            named[name if len(outputs) == 1 else f"{name}[{index}]"] = outputs[index]
    return named


def _outputs(captured: Tree, path: tuple[str, ...], method: str) -> tuple[Any, ...]:
    """All that one method of one submodule returned, call by call."""
    for name in path:
        captured = captured.get(name, {})
    return captured.get(method, ())
