"""The vocabulary of stepax as types: aliases, and protocols for the functions that its parts exchange."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax

__all__ = ["Array", "Batch", "Gradient", "Key", "Loss", "Metric", "Metrics", "Objective", "Tree"]

Array = jax.Array
"""An array of JAX. Wherever one is expected, a NumPy array will do."""

Key = jax.Array
"""A typed random key, as ``jax.random.key`` makes it: always an explicit argument, never used twice."""

Tree = Any
"""Arrays in nested dicts, tuples and NamedTuples: a pytree."""

Batch = Mapping[str, Any] | None
"""A dict of arrays (or trees of arrays) with one leading axis, such as ``x``, ``y`` and optionally ``weight``; ``None``
where a learner makes its own data."""

Metrics = dict[str, Any]
"""A flat dict of scalars."""


class Loss(Protocol):
    """Compares a model's output with a batch, without any reduction: ``values [batch, …]``."""

    def __call__(self, output: Any, batch: Any, /) -> Array:
        """``(output, batch) -> values``."""
        ...


Metric = Loss
"""A metric of ``supervised`` has the form of a loss; its weighted mean is reported, never its gradient."""


class Objective(Protocol):
    """What is minimised: ``(params, variables, batch, key) -> (values, (variables, metrics))``.

    Values and metrics are not reduced: ``[batch, …]``.
    """

    def __call__(
        self, params: Tree, variables: Tree, batch: Any, key: Key | None, /
    ) -> tuple[Array, tuple[Tree, Metrics]]:
        """``(params, variables, batch, key) -> (values, (variables, metrics))``."""
        ...


Gradient = Callable[[Objective, Tree, Tree, Any, Key], tuple[Tree, Tree, Metrics]]
"""``(objective, params, variables, batch, key) -> (grads, variables, metrics)``: the weighted mean and its gradient."""
