"""A language model that writes only what can be read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from stepax.cli.tokens import PADDING, UNKNOWN
from stepax.typing import Array, Tree

__all__ = ["Ordinary"]


@dataclass(frozen=True)
class Ordinary:
    """A module that goes on with texts, without padding and unknown tokens among what may come next.

    Padding is all that comes where the module's answer is not finite: so it says that there is none.

    Attributes:
        module: The module, a Linen one.
    """

    module: Any

    @property
    def context(self) -> int | None:
        """The most tokens that a state holds."""
        return self.module.context

    @property
    def start(self) -> Callable[..., Tree]:
        """The module's own: the state before anything is read."""
        return self.module.start

    def extend(self, variables: Tree, tokens: Array, state: Tree, mask: Array | None = None) -> tuple[Array, Tree]:
        """The logits ``[batch, time, vocabulary]`` after each of some tokens ``[batch, time]``, and the next state."""
        logits, state = self.module.apply(variables, tokens, state, mask, method="extend")
        numbers = jnp.arange(logits.shape[-1])[None, None]
        finite = jnp.isfinite(logits).all(axis=-1, keepdims=True)
        # Padding gets the logit 0 as the only one: a choice among nothing would be one by chance.
        some = jnp.where((numbers == PADDING) & ~finite, 0, -jnp.inf)
        return jnp.where((numbers > UNKNOWN) & finite, logits, some.astype(logits.dtype)), state

    def apply(
        self, variables: Tree, tokens: Array, state: Tree, mask: Array | None, *, method: str
    ) -> tuple[Array, Tree]:
        """As Linen calls a method of a module with its parameters; there is but one."""
        assert method == "extend", method
        return self.extend(variables, tokens, state, mask)
