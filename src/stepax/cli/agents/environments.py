"""The environments of the command line, by name."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from stepax import rl
from stepax.checks import check_count
from stepax.cli.choices import chosen
from stepax.rl import Box, Discrete, Environment

__all__ = ["DEEP_SEA", "ENVIRONMENTS", "Place", "environment", "place", "places", "spaces"]

DEEP_SEA = "DeepSea"
DEPTH = 10

HORIZONTAL = ("left", "right")
COMPASS = ("left", "down", "right", "up")


class Place(NamedTuple):
    """Where an agent acts.

    Attributes:
        make: The environment; of DeepSea for a depth.
        limit: Where its episodes end at the latest; those along the cliff, which may last for ever, are left there.
        actions: What single actions are called; ``()`` where actions are real numbers.
        gymnasium: Whether Gymnasium has it, under the same name.
        table: What value iteration solves exactly, where it is a table.
        about: What it is.
    """

    make: Callable[..., Environment]
    limit: int
    actions: tuple[str, ...]
    gymnasium: bool
    about: str
    table: Callable[[], rl.Table] | None = None


def _deep_sea(depth: int) -> Environment:
    """The same sea for all runs of a depth, so that what was recorded in one serves another."""
    return rl.deep_sea(rl.right_actions(jax.random.key(depth), depth))


def _large_lake() -> rl.Table:
    return rl.frozen_lake_table(rl.LAKE_8X8)


ENVIRONMENTS: dict[str, Place] = {
    "CartPole-v1": Place(rl.cartpole, 500, HORIZONTAL, True, "a pole on a cart, to be kept upright"),
    "Acrobot-v1": Place(rl.acrobot, 500, ("−1", "0", "+1"), True, "two links, to be swung up"),
    "MountainCar-v0": Place(rl.mountain_car, 200, ("left", "none", "right"), True, "a car too weak for its hill"),
    "MountainCarContinuous-v0": Place(
        rl.mountain_car_continuous, 999, (), True, "the same with a push of any strength, and 100 at the top"
    ),
    "Pendulum-v1": Place(rl.pendulum, 200, (), True, "a pendulum, to be swung up and held"),
    "FrozenLake-v1": Place(rl.frozen_lake, 100, COMPASS, True, "slippery ice with holes, 4×4", rl.frozen_lake_table),
    "FrozenLake8x8-v1": Place(rl.frozen_lake_8x8, 200, COMPASS, True, "the same, 8×8", _large_lake),
    "CliffWalking-v1": Place(
        rl.cliff_walking, 1000, ("up", "right", "down", "left"), True, "a walk along a cliff", rl.cliff_walking_table
    ),
    "Taxi-v4": Place(
        rl.taxi,
        200,
        ("south", "north", "east", "west", "pick up", "drop off"),
        True,
        "a passenger, to be fetched and brought",
        rl.taxi_table,
    ),
    "Catch": Place(rl.catch, 9, ("left", "stay", "right"), False, "a falling ball, to be caught (bsuite)"),
    DEEP_SEA: Place(_deep_sea, DEPTH, ("0", "1"), False, "a dive that only one way is worth (bsuite; --depth)"),
}


def place(name: str, depth: int | None) -> Place:
    """A place by its name.

    Args:
        name: A key of ``ENVIRONMENTS``.
        depth: Of DeepSea; ``None`` elsewhere, and there as deep as it usually is.

    Raises:
        ValueError: There is no such name, or it has no depth, or one below 1.
    """
    found = chosen("env", ENVIRONMENTS, name)
    if name != DEEP_SEA:
        if depth is not None:
            raise ValueError(f"--depth does not apply to --env {name}: it is {DEEP_SEA}'s")
        return found
    depth = DEPTH if depth is None else depth
    check_count("--depth", depth)
    return found._replace(limit=depth, make=lambda: _deep_sea(depth))


def environment(name: str, depth: int | None) -> Environment:
    """An environment by its name; arguments and errors as of :func:`place`."""
    return place(name, depth).make()


def places(*, counted: bool = False, single: bool = False) -> list[str]:
    """The names of environments.

    Args:
        counted: Only those whose observations can be counted.
        single: Only those with single actions, no real numbers.
    """
    made = {name: place(name, None) for name in ENVIRONMENTS}
    return [name for name in made if (not single or made[name].actions) and (not counted or made[name].table)]


def spaces(name: str, depth: int | None) -> tuple[str, str]:
    """What goes out of an environment and into it, in words."""
    made = environment(name, depth)
    return _words(made.observation_space, "observations"), _words(made.action_space, "actions")


def _words(space: Discrete | Box, what: str) -> str:
    if isinstance(space, Discrete):
        return f"{space.n} {what}"
    shape: Any = "×".join(map(str, space.shape))
    return f"{what} of {shape} number{'' if shape == '1' else 's'}"
