"""The frozen lake: steps and values by hand, Gymnasium's tables, steps and random maps, and maps that are none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.rl.environments.battery import KEY, against_table, check, draws, once, ours_by_outcome, same_table, solved

from stepax.rl import LAKE_8X8, frozen_lake, frozen_lake_8x8, frozen_lake_table, random_lake

LEFT, DOWN, RIGHT, UP = range(4)
# Two starts, two goals, not square.
OTHER = ("SFG", "HFS", "FFF", "GHF")


@pytest.mark.parametrize("environment", [frozen_lake(), frozen_lake(slippery=False)], ids=["slippery", "not"])
def test_contract(environment):
    check(environment)


def test_steps_by_hand():
    step = jax.jit(frozen_lake(slippery=False, steps=None).step)
    for state, action, after, reward, ended in [
        (0, RIGHT, 1, 0, False), (0, UP, 0, 0, False), (4, RIGHT, 5, 0, True), (14, RIGHT, 15, 1, True),
        (14, DOWN, 14, 0, False), (15, LEFT, 15, 0, True), (5, UP, 5, 0, True),
    ]:  # fmt: skip
        made = step(jnp.int32(state), jnp.int32(action), KEY)
        assert (made.state, made.reward, made.terminated) == (after, reward, ended), (state, action)
    # On ice, from the place before the goal: to the right, or to either side.
    outcomes = ours_by_outcome(frozen_lake_table(success_rate=0.5))[14, RIGHT]
    assert outcomes == {(15, 1.0, True): 0.5, (14, 0.0, False): 0.25, (10, 0.0, False): 0.25}


def test_values_by_hand():
    # Without discount the best way over the ice succeeds 14 times in 17; without ice, always.
    np.testing.assert_allclose(solved(frozen_lake_table())[0], 14 / 17, rtol=1e-8)
    values = solved(frozen_lake_table(slippery=False), discount=0.9)
    np.testing.assert_allclose(values[[0, 10, 14]], [0.9**5, 0.9, 1])


@pytest.mark.parametrize("slippery", [True, False])
def test_gymnasiums_tables(gymnasium, slippery):
    for rows, rate in [(None, 1 / 3), (LAKE_8X8, 0.7), (OTHER, 0.1)]:
        theirs = gymnasium.make("FrozenLake-v1", desc=rows, is_slippery=slippery, success_rate=rate)
        ours = [] if rows is None else [rows]
        same_table(frozen_lake_table(*ours, slippery=slippery, success_rate=rate), theirs)


@pytest.mark.parametrize(("name", "make"), [("FrozenLake-v1", frozen_lake), ("FrozenLake8x8-v1", frozen_lake_8x8)])
def test_gymnasiums_steps(gymnasium, name, make):
    observation, reward, ended = against_table(gymnasium, name, make(slippery=False), is_slippery=False)
    assert (observation == 0).all()
    assert (reward == 0).all()
    assert ended.any()
    limit = gymnasium.spec(name).max_episode_steps
    state, _ = make().reset(KEY)
    assert [bool(once(make(), state._replace(elapsed=jnp.int32(n)), 0).truncated) for n in (limit - 2, limit - 1)] == [
        False,
        True,
    ]


def test_starts():
    assert (draws(frozen_lake(steps=None), 10)[0] == 0).all()
    starts = np.bincount(draws(frozen_lake(OTHER, steps=None), 1000)[0], minlength=12)
    assert starts[[0, 5]].sum() == 1000
    assert 400 < starts[0] < 600


def test_the_success_rate_may_be_traced():
    def reached(rate):
        step = frozen_lake(success_rate=rate).step
        state, _ = frozen_lake().reset(KEY)
        return step(state._replace(state=jnp.int32(14)), jnp.int32(RIGHT), KEY).reward

    np.testing.assert_array_equal(jax.jit(jax.vmap(reached))(jnp.float32([0, 1])), [0, 1])


def test_random_maps(gymnasium):
    from gymnasium.envs.toy_text.frozen_lake import generate_random_map

    for seed, size, frozen in [(0, 8, 0.8), (1, 8, 0.8), (2, 4, 0.5), (3, 5, 0.3), (4, 3, 1)]:
        assert random_lake(seed, size, frozen) == tuple(generate_random_map(size, frozen, seed))
    check(frozen_lake(random_lake(5, 3, 0.5)))


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ("SFFG", TypeError, "rows: expected texts"),
        ((1, 2), TypeError, "rows: expected texts"),
        (("SF", "G"), ValueError, r"rows: expected rows of one length, got lengths \[2, 1\]"),
        ((), ValueError, r"rows: expected rows of one length, got lengths \[\]"),
        (("",), ValueError, r"rows: expected rows of one length, got lengths \[0\]"),
        (("SX", "FG"), ValueError, r"rows: expected the letters S, F, H and G, got \['X'\]"),
        (("FF", "FG"), ValueError, "rows: expected a start S"),
    ],
)
def test_bad_maps(rows, error, message):
    with pytest.raises(error, match=message):
        frozen_lake(rows)


def test_bad_parameters():
    with pytest.raises(ValueError, match="success_rate: expected a number from 0 to 1, got 2"):
        frozen_lake(success_rate=2)
    with pytest.raises(ValueError, match="frozen: expected a number above 0, got 0"):
        random_lake(0, frozen=0)
    with pytest.raises(ValueError, match="size: expected at least 2, got 1"):
        random_lake(0, 1)
    with pytest.raises(TypeError, match="seed: expected a whole number, got NoneType None"):
        random_lake(None)
