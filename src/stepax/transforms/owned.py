"""The place of a transformation in ``State.extra``: under its own name, out of the inner learner's sight."""

from stepax.learner import State
from stepax.typing import Tree

__all__ = ["held", "released"]


def held(state: State, name: str, tree: Tree) -> State:
    """The state with a transformation's own tree in it.

    Raises:
        ValueError: The name is taken: the transformation was applied twice, or a method has one of this name.
    """
    if name in state.extra:
        raise ValueError(
            f"{name}: the learner keeps something under this name in State.extra already; was it transformed twice?"
        )
    return state._replace(extra={**state.extra, name: tree})


def released(state: State, name: str) -> tuple[State, Tree]:
    """The state as the inner learner knows it, and the transformation's own tree.

    Raises:
        ValueError: There is no such tree: the state was made by another learner.
    """
    if name not in state.extra:
        raise ValueError(
            f"{name}: the state has only {sorted(state.extra)} in State.extra; make it by the init of the "
            "transformed learner"
        )
    rest = {owner: tree for owner, tree in state.extra.items() if owner != name}
    return state._replace(extra=rest), state.extra[name]
