"""The cliff: steps and values by hand, Gymnasium's tables and steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.rl.environments.battery import COUNT, KEY, check, draws, same_table, solved

from stepax.rl import cliff_walking, cliff_walking_table

UP, RIGHT, DOWN, LEFT = range(4)


def test_contract():
    check(cliff_walking(slippery=True))


def test_steps_by_hand():
    step = jax.jit(cliff_walking().step)
    for state, action, after, reward, ended in [
        (36, UP, 24, -1, False), (36, RIGHT, 36, -100, False), (36, LEFT, 36, -1, False),
        (30, DOWN, 36, -100, False), (35, DOWN, 47, -1, True), (0, UP, 0, -1, False),
    ]:  # fmt: skip
        made = step(jnp.int32(state), jnp.int32(action), KEY)
        assert (made.state, made.reward, made.terminated) == (after, reward, ended), (state, action)
    assert (draws(cliff_walking(), 10)[0] == 36).all()


def test_the_best_way_costs_13():
    values = solved(cliff_walking_table())
    assert (values[36], values[35], values[24]) == (-13, -1, -12)


@pytest.mark.parametrize(("name", "slippery"), [("CliffWalking-v1", False), ("CliffWalkingSlippery-v1", True)])
def test_gymnasiums_tables(gymnasium, name, slippery):
    assert gymnasium.spec(name).max_episode_steps is None
    same_table(cliff_walking_table(slippery=slippery), gymnasium.make(name))


def test_gymnasiums_steps(gymnasium):
    # No time limit here, so without the comparison of all the others.
    random = np.random.default_rng(0)
    states, actions = random.integers(0, 48, COUNT), random.integers(0, 4, COUNT)
    ours = jax.jit(jax.vmap(cliff_walking().step, (0, 0, None)))(jnp.int32(states), actions, KEY)
    ours = jax.tree.map(np.asarray, ours)
    theirs = gymnasium.make("CliffWalking-v1").unwrapped
    for row in range(COUNT):
        theirs.s = states[row]
        expected = theirs.step(actions[row])[:4]
        found = (ours.observation[row], ours.reward[row], ours.terminated[row], ours.truncated[row])
        assert tuple(map(float, found)) == tuple(map(float, expected))


def test_bad_arguments():
    with pytest.raises(ValueError, match="action: expected a whole number from 0 to 3, got 4"):
        cliff_walking().step(jnp.int32(36), 4, KEY)
    with pytest.raises(ValueError, match="steps: expected at least 1, got 0"):
        cliff_walking(steps=0)
