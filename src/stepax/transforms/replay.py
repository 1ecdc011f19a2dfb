"""A step made again with every operation looked at: which of them was the first to leave the finite numbers."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify
from jax.extend.source_info_util import summarize

from stepax.compile import jit
from stepax.learner import Learner, State, check_learner
from stepax.processes import fetched
from stepax.program import equations, inner
from stepax.typing import Tree

__all__ = ["replay"]

# Loops and branches, into which checkify sees.
CONTROL = ("cond", "scan", "while")


def replay(learner: Learner, state: State, batch: Any) -> str:
    """Makes one training step again, operation by operation, and tells where it leaves the finite numbers.

    Of the :class:`stepax.NotFinite` with which a guarded training ends, pass ``error.state`` and ``error.batch``.

    Args:
        learner: What was trained, guarded or not.
        state: The state before the step; the step's key is in it.
        batch: The step's batch.

    Returns:
        First what was wrong before the step, if anything: NaN or infinity in the batch, by row, and in parameters,
        variables or the optimizer's state, by path; labels that loss or metrics refuse, by value and row. Then the
        first operation that makes NaN or infinity of finite numbers, with the line of code it stands for, and where
        that is another one, the first that makes NaN of numbers that are none, as of infinities, or takes it from a
        constant. Inside of loops and branches, of NaN alone (by JAX's checkify, with a line where such an operation
        stands). ``""`` where there is none of all this. Some are meant: an infinity in a mask, or a NaN that the next
        line leaves out.

    Raises:
        TypeError: No learner or state.
    """
    check_learner(learner, state)
    if state is None:
        raise TypeError("state: expected a stepax.State, such as error.state, got None")

    def step(state: State, batch: Any) -> Any:
        return learner.step(state, batch)

    program = jax.make_jaxpr(step)(state, batch)
    found: dict[str, _Place] = {}
    arguments = [_Value(leaf, False) for leaf in jax.tree.leaves((state, batch))]
    _follow(program.jaxpr, [*_fixed(program.consts), *arguments], found, "")

    def told(place: _Place) -> str:
        name = place.equation.primitive.name
        inside = _inside(step, place.equation, state, batch) if name in CONTROL else ""
        return inside or f"{name}, {place.line}"

    operations = "; then NaN in ".join(dict.fromkeys(told(found[kind]) for kind in ("leaves", "nan") if kind in found))
    before = [*_not_finite(state, batch), *_refused(learner, state, batch)]
    return "; then ".join(["; ".join(before)] * bool(before) + [operations] * bool(operations))


def _not_finite(state: State, batch: Any) -> list[str]:
    """What a step could not make good: numbers that are none in its arguments."""
    fields = {field: getattr(state, field) for field in ("params", "variables", "opt_state")}
    pairs = [("batch", batch), *fields.items()]
    return [
        f"{name}{jax.tree_util.keystr(path).replace(chr(39), chr(34))} {_holds(np.asarray(fetched(leaf)), name)}"
        for name, tree in pairs
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
        if not _is_finite(leaf)
    ]


def _holds(values: np.ndarray, name: str) -> str:
    """The first number of an array that is not finite, and how many there are."""
    wrong = ~np.isfinite(values)
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    row = f" in row {index[0]}," if name == "batch" and index else ""
    return f"holds {values[index]!s}{row} at {list(index)}: {int(wrong.sum())} of {wrong.size} numbers are not finite"


def _refused(learner: Learner, state: State, batch: Any) -> list[str]:
    """What losses and metrics say of the labels where they can see them."""
    from stepax.evaluation import rehearse  # which stands on the loop, and that on the transformations

    try:
        rehearse(learner, state, batch, "batch")
    except ValueError as error:
        return [f"batch: {error}"]
    return []


class _Value(NamedTuple):
    """A number of a program; ``fixed`` where it is made of constants alone."""

    array: Any
    fixed: bool


class _Place(NamedTuple):
    """An equation, and the line of the user's code that it or the call around it stands for."""

    equation: Any
    line: str


def _follow(jaxpr: Any, arguments: list[_Value], found: dict[str, _Place], around: str) -> list[_Value]:
    """Goes through a program and keeps its first equations of either kind; returns the program's results."""
    variables = [*jaxpr.constvars, *jaxpr.invars] if hasattr(jaxpr, "constvars") else jaxpr.all_invars
    values: dict[Any, _Value] = dict(zip(variables, arguments, strict=True))

    def read(variable: Any) -> _Value:
        return _Value(variable.val, True) if hasattr(variable, "val") else values[variable]

    for equation in jaxpr.eqns:
        taken, bodies = [read(variable) for variable in equation.invars], inner(equation)
        line = summarize(equation.source_info) or around
        if equation.primitive.name not in CONTROL and len(bodies) == 1 and len(bodies[0].invars) == len(taken):
            results = _follow(bodies[0], [*_fixed(_constants(equation)), *taken], found, line)  # a call
        else:
            parameters = equation.primitive.get_bind_params(equation.params)
            made = equation.primitive.bind(*(value.array for value in taken), **parameters)
            fixed = all(value.fixed for value in taken)
            results = [_Value(array, fixed) for array in (made if equation.primitive.multiple_results else [made])]
            for kind in _kinds(taken, results):
                found.setdefault(kind, _Place(equation, line))
        values.update(zip(equation.outvars, results, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _kinds(taken: list[_Value], made: list[_Value]) -> list[str]:
    """What an equation does to the finite numbers."""
    leaves = all(_is_finite(value.array) for value in taken) and not all(_is_finite(value.array) for value in made)
    # NaN among constants stands there for numbers that are out of bounds; it matters where it is taken.
    new = [value.array for value in made if not value.fixed]
    nan = any(map(_has_nan, new)) and not any(_has_nan(value.array) for value in taken if not value.fixed)
    return ["leaves"] * leaves + ["nan"] * nan


def _fixed(constants: Any) -> list[_Value]:
    return [_Value(constant, True) for constant in constants]


def _constants(equation: Any) -> list[Any]:
    """Those of the program that an equation calls."""
    return [constant for value in equation.params.values() for constant in getattr(value, "consts", ())]


def _is_finite(value: Any) -> bool:
    return not jnp.issubdtype(jnp.result_type(value), jnp.inexact) or bool(jnp.isfinite(value).all())


def _has_nan(value: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(value), jnp.inexact) and bool(jnp.isnan(value).any())


def _inside(step: Any, control: Any, *arguments: Tree) -> str:
    """What checkify finds, in a loop or a branch."""
    error, _ = jit(checkify.checkify(step, errors=checkify.nan_checks))(*arguments)
    said = error.get()
    if said is None:
        return ""
    name = said.removeprefix("nan generated by primitive: ").rstrip(".")
    bodies = [equation for body in inner(control) for equation in equations(body)]
    place = next((summarize(found.source_info) for found in bodies if found.primitive.name == name), "")
    return f"{name}, {place}" if place else name
