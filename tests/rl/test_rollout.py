"""A rollout is what steps one by one give; returns and lengths are those of episodes."""

import jax
import jax.numpy as jnp
import numpy as np

from stepax.rl import Box, Discrete, Environment, Step, cartpole, known, pendulum
from stepax.rl.rollout import begin, episodes, inside, progress, rollout, whole_episodes

KEY = jax.random.key(0)
SHORT = known.endless(4).environment  # the reward 1 for ever, cut off after four steps


def always(action):
    return lambda observation, key: (jnp.full(len(observation), action, jnp.int32), {"seen": observation[:, 0]})


def test_steps_by_hand():
    lanes = begin(SHORT, 3, KEY)
    lanes, made = jax.jit(lambda lanes: rollout(SHORT, always(0), lanes, KEY, 6))(lanes)
    assert {name: leaf.shape[:2] for name, leaf in made.items()} == dict.fromkeys(made, (6, 3))
    assert made["truncated"][:, 0].tolist() == [False, False, False, True, False, False]
    assert not made["terminated"].any()
    assert lanes.current[0].tolist() == [2, 2, 2]
    assert lanes.last[1].tolist() == [4, 4, 4]
    assert lanes.finished.tolist() == [1, 1, 1]
    assert progress(lanes) == {"return": 4, "length": 4}


def test_before_an_end_the_episode_that_goes_on_is_told():
    lanes, _ = rollout(SHORT, always(0), begin(SHORT, 2, KEY), KEY, 3)
    assert progress(lanes) == {"return": 3, "length": 3}
    # A new episode that is as long as the last one was has not ended.
    lanes, _ = rollout(known.delayed(2).environment, always(0), begin(known.delayed(2).environment, 1, KEY), KEY, 3)
    assert progress(lanes) == {"return": 1, "length": 2}


def test_a_trajectory_goes_on_where_a_step_led_and_keeps_what_was_at_the_end():
    environment = cartpole()
    lanes, made = jax.jit(lambda: rollout(environment, always(1), begin(environment, 2, KEY), KEY, 40))()
    made = jax.tree.map(np.asarray, made)
    ended = made["terminated"] | made["truncated"]
    assert ended[:-1].any()
    goes_on = ~ended[:-1]
    np.testing.assert_array_equal(made["next_observation"][:-1][goes_on], made["observation"][1:][goes_on])
    # At the end the pole has fallen or the cart is outside; a new episode begins near to zero.
    fallen = np.abs(made["next_observation"][ended])
    assert ((fallen[:, 2] > 0.2094) | (fallen[:, 0] > 2.4)).all()
    assert (np.abs(made["observation"][1:][ended[:-1]]) <= 0.05).all()
    np.testing.assert_array_equal(made["seen"], made["observation"][..., 0])
    lengths = np.diff(np.flatnonzero(np.concatenate([[True], ended[:, 0]])))
    assert lanes.last[0][0] == lengths[-1]


def test_real_actions_reach_the_environment_within_their_bounds():
    environment = pendulum()
    assert inside(environment, jnp.array([[-5.0], [1.5], [5.0]])).tolist() == [[-2], [1.5], [2]]

    def strong(observation, key):
        return jnp.full((len(observation), 1), 9.0), {}

    def full(observation, key):
        return jnp.full((len(observation), 1), 2.0), {}

    found = [rollout(environment, act, begin(environment, 2, KEY), KEY, 3)[1] for act in (strong, full)]
    np.testing.assert_array_equal(found[0]["reward"], found[1]["reward"])
    assert (found[0]["action"] == 9).all()


def test_whole_episodes():
    measured = jax.jit(lambda: episodes(SHORT, always(0), KEY, 5, 100))()
    assert measured == {"return": 4, "length": 4, "ended": 1, "weight": 5}
    assert episodes(SHORT, always(0), KEY, 5, 3) == {"return": 3, "length": 3, "ended": 0, "weight": 5}
    # Rewards after an end do not count: the first lane to end waits for the others.
    measured = episodes(cartpole(), always(0), KEY, 8, 100)
    assert 8 <= measured["return"] <= 11
    assert measured["return"] == measured["length"]


def holding_its_key() -> Environment:
    """Rewards are drawn from a key that the state holds, and that every second step replaces."""

    def reset(key):
        return {"key": key, "count": jnp.zeros((), jnp.int32)}, jnp.zeros(1)

    def step(state, action, key):
        count = state["count"] + 1
        held = jax.lax.cond(count % 2 == 0, lambda: jax.random.fold_in(state["key"], 1), lambda: state["key"])
        reward = jax.random.uniform(held)
        return Step({"key": held, "count": count}, jnp.zeros(1), reward, count >= 3, jnp.zeros((), bool))

    return Environment(reset, step, Box([0.0], [1.0]), Discrete(2))


def test_a_state_may_hold_a_key_which_stays_as_jax_makes_it():
    environment = holding_its_key()

    def act(observation, key):
        return jnp.zeros(len(observation), jnp.int32), {}

    lanes, made = jax.jit(lambda key: rollout(environment, act, begin(environment, 2, key), key, 7))(jax.random.key(0))
    assert lanes.state.state["key"].dtype == jax.random.key(0).dtype
    assert len(np.unique(made["reward"])) == 2 * 5
    np.testing.assert_array_equal(made["reward"][1], made["reward"][2])
    np.testing.assert_array_equal(lanes.finished, [2, 2])
    assert episodes(environment, act, jax.random.key(1), 4, 5)["ended"] == 1
    assert whole_episodes(environment, act, jax.random.key(1), 4, 5)["weight"].sum() == 12
