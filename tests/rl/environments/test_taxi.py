"""The taxi: steps by hand, Gymnasium's table and steps, starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from tests.rl.environments.battery import KEY, against_table, check, draws, same_table, solved

from stepax.rl import taxi, taxi_table

SOUTH, NORTH, EAST, WEST, PICK_UP, DROP_OFF = range(6)


def state(row, column, passenger, destination):
    return ((row * 5 + column) * 5 + passenger) * 4 + destination


def test_contract():
    check(taxi())


def test_steps_by_hand():
    step = jax.jit(taxi(steps=None).step)
    here = state(3, 1, 2, 0)
    assert here == 328
    for before, action, after, reward, ended in [
        (here, SOUTH, 428, -1, False),
        (here, NORTH, 228, -1, False),
        (here, EAST, 348, -1, False),
        (here, WEST, here, -1, False),  # a wall
        (here, PICK_UP, here, -10, False),
        (here, DROP_OFF, here, -10, False),
        (state(4, 0, 2, 0), PICK_UP, state(4, 0, 4, 0), -1, False),
        (state(4, 0, 4, 0), PICK_UP, state(4, 0, 4, 0), -10, False),
        (state(0, 0, 4, 0), DROP_OFF, state(0, 0, 0, 0), 20, True),
        (state(4, 3, 4, 0), DROP_OFF, state(4, 3, 3, 0), -1, False),  # out at another stop
        (state(2, 2, 4, 0), DROP_OFF, state(2, 2, 4, 0), -10, False),
    ]:
        made = step(jnp.int32(before), jnp.int32(action), KEY)
        assert (made.state, made.reward, made.terminated) == (after, reward, ended), (before, action)


def test_values_by_hand():
    values = solved(taxi_table())
    # At the stop with the passenger inside; one square before; with the passenger yet to pick up, and four to drive.
    assert values[state(0, 0, 4, 0)] == 20
    assert values[state(1, 0, 4, 0)] == 19
    assert values[state(4, 0, 2, 0)] == 20 - 1 - 4


def test_gymnasiums_table(gymnasium):
    same_table(taxi_table(), gymnasium.make("Taxi-v4"))


def test_gymnasiums_steps(gymnasium):
    observation, reward, _ = against_table(gymnasium, "Taxi-v4", taxi())
    assert (observation == 0).all()
    assert (reward == 0).all()


def test_starts():
    starts = np.bincount(draws(taxi(steps=None), 30_000)[0], minlength=500)
    able = np.zeros(500, bool)
    able[taxi_table().starts] = True
    assert able.sum() == 300
    assert starts[~able].sum() == 0
    assert scipy.stats.chisquare(starts[able]).pvalue > 0.01


def test_an_action_that_is_none():
    with pytest.raises(ValueError, match="action: expected a whole number from 0 to 5, got 6"):
        taxi(steps=None).step(jnp.int32(0), 6, KEY)
