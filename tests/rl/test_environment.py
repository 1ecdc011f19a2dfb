"""Time limits and automatic resets, step by step, and what is no environment."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepax.rl import (
    Box,
    Discrete,
    Environment,
    Limited,
    Resetting,
    Step,
    auto_reset,
    cartpole,
    check_environment,
    time_limit,
)
from stepax.rl.environments.cartpole import CartPole

KEY = jax.random.key(0)


class Count(NamedTuple):
    at: Any
    key: Any


def counting(end=4):
    """Counts up from a random number below 1 and ends at `end`; its state holds a key. Action 1 cuts it off."""

    def reset(key):
        at = jax.random.uniform(key)
        return Count(at, key), {"at": at[None]}

    def step(state, action, key):
        at = state.at + 1
        return Step(Count(at, key), {"at": at[None]}, at * 1.0, at >= end, jnp.asarray(action) == 1)

    return Environment(reset, step, Box([0.0], [10.0]), Discrete(2))


def run(environment, actions, key=KEY):
    """The steps of one lane, in one program."""

    def one(state, inputs):
        action, key = inputs
        made = environment.step(state, action, key)
        return made.state, made

    state, observation = environment.reset(key)
    keys = jax.random.split(jax.random.fold_in(key, 9), len(actions))
    return state, observation, jax.lax.scan(one, state, (jnp.asarray(actions), keys))[1]


def test_a_time_limit_truncates_also_where_the_episode_terminates():
    _, _, made = run(time_limit(counting(end=4), 4), [0] * 5)
    np.testing.assert_array_equal(made.truncated, [False, False, False, True, True])
    np.testing.assert_array_equal(made.terminated, [False, False, False, True, True])
    np.testing.assert_array_equal(made.state.elapsed, [1, 2, 3, 4, 5])
    # What cuts off before it is not lost.
    _, _, made = run(time_limit(counting(), 4), [0, 1, 0])
    np.testing.assert_array_equal(made.truncated, [False, True, False])


def test_a_time_limit_changes_nothing_else():
    _, _, plain = run(counting(), [0] * 5)
    state, _, limited = run(time_limit(counting(), 3), [0] * 5)
    assert isinstance(state, Limited)
    np.testing.assert_array_equal(limited.observation["at"], plain.observation["at"])
    np.testing.assert_array_equal(limited.reward, plain.reward)
    environment = counting()
    assert time_limit(environment, None) is environment


def test_a_time_limit_may_be_traced():
    def ends(steps):
        return run(time_limit(counting(end=9), steps), [0] * 3)[2].truncated

    np.testing.assert_array_equal(
        jax.jit(jax.vmap(ends))(jnp.array([1, 3])), [[True, True, True], [False, False, True]]
    )


def test_an_automatic_reset_keeps_the_final_observation():
    environment = auto_reset(counting(end=3))
    state, observation, made = run(environment, [0, 0, 0, 1, 0, 0, 0])
    assert isinstance(state, Resetting)
    np.testing.assert_array_equal(state.final_observation["at"], observation["at"])
    ended = np.asarray(made.terminated | made.truncated)
    np.testing.assert_array_equal(ended, [False, False, True, True, False, False, True])
    np.testing.assert_array_equal(made.truncated, np.arange(7) == 3)
    seen, final = made.observation["at"][:, 0], made.state.final_observation["at"][:, 0]
    # An episode's own last observation is there, its reward too, and the next one begins anew.
    np.testing.assert_array_equal(made.reward, final)
    np.testing.assert_array_equal(np.floor(final), [1, 2, 3, 1, 1, 2, 3])
    np.testing.assert_array_equal(np.floor(seen), [1, 2, 0, 0, 1, 2, 0])
    np.testing.assert_array_equal(made.state.state.at, seen)
    np.testing.assert_array_equal(seen[~ended], final[~ended])
    # Each from a draw of its own.
    assert len(set(np.asarray(seen % 1)[ended].tolist())) == 3
    # The key in the state is the new episode's, too.
    redrawn = jax.vmap(jax.random.uniform)(made.state.state.key[ended])
    np.testing.assert_array_equal(redrawn, seen[ended])


def test_a_step_and_the_reset_after_it_draw_from_keys_of_their_own():
    def drawn(state, action, key):
        at = jax.random.uniform(key)
        return Step(Count(at, key), {"at": at[None]}, at, jnp.ones((), bool), jnp.zeros((), bool))

    environment = auto_reset(counting()._replace(step=drawn))
    made = jax.jit(environment.step)(environment.reset(KEY)[0], 0, KEY)
    assert len({float(made.reward), float(made.state.state.at), float(jax.random.uniform(KEY))}) == 3


def test_episodes_under_a_limit_are_counted_anew():
    _, _, made = run(auto_reset(time_limit(counting(end=99), 3)), [0] * 7)
    np.testing.assert_array_equal(made.truncated, [False, False, True] * 2 + [False])
    assert not made.terminated.any()
    np.testing.assert_array_equal(made.state.state.elapsed, [1, 2, 0] * 2 + [1])


def test_a_lane_is_its_single_run():
    environment = auto_reset(time_limit(counting(), 3))
    keys = jax.random.split(KEY, 3)
    lanes = jax.jit(jax.vmap(lambda key: run(environment, [0] * 8, key)[2][1:]))(keys)
    single = jax.jit(lambda key: run(environment, [0] * 8, key)[2][1:])(keys[1])
    jax.tree.map(lambda many, one: np.testing.assert_array_equal(many[1], one), lanes, single)


def test_what_draws_nothing_draws_nothing():
    environment = cartpole()
    assert "random" not in str(jax.make_jaxpr(environment.step)(environment.reset(KEY)[0], 1, KEY))
    assert "random" in str(jax.make_jaxpr(environment.reset)(KEY))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: time_limit("CartPole-v1", 9), TypeError, "environment: expected a stepax.rl.Environment, .* got str"),
        (lambda: auto_reset(None), TypeError, "environment: expected a stepax.rl.Environment, .* got NoneType"),
        (lambda: time_limit(counting(), 0), ValueError, "steps: expected at least 1, got 0"),
        (lambda: time_limit(counting(), 2.0), TypeError, "steps: expected a whole number, got float 2.0"),
        (lambda: time_limit(auto_reset(counting()), 9).reset(KEY), ValueError, "expected auto_reset"),
        (lambda: auto_reset(auto_reset(counting())).reset(KEY), ValueError, "resets itself already"),
    ],
)  # fmt: skip
def test_bad_wrappings(make, error, message):
    with pytest.raises(error, match=message):
        make()


def changed(**fields):
    """CartPole with other fields of a step."""
    environment = cartpole(steps=None)

    def step(state, action, key):
        return environment.step(state, action, key)._replace(**fields)

    return environment._replace(step=step)


@pytest.mark.parametrize(
    ("environment", "error", "message"),
    [
        (None, TypeError, "environment: expected a stepax.rl.Environment"),
        (changed()._replace(action_space=2), TypeError, "environment.action_space: expected a Discrete or a Box"),
        (changed()._replace(observation_space=Box(np.zeros(3), 1)), ValueError,
         r"environment: the observation of a reset is float32\[4\], expected float32\[3\]"),
        (changed(observation=jnp.zeros(5)), ValueError,
         r"environment: the observation of a step is float32\[5\], expected float32\[4\]"),
        (changed(reward=jnp.ones((), int)), ValueError, r"environment: the reward is int32\[\], expected float32\[\]"),
        (changed(terminated=jnp.ones(1, bool)), ValueError, r"environment: terminated is bool\[1\], expected bool\[\]"),
        (changed(truncated=jnp.zeros(())), ValueError, r"environment: truncated is float32\[\], expected bool\[\]"),
        (changed(state=jnp.zeros(4)), ValueError, r"environment: the state of a step has the tree PyTreeDef"),
        (changed(state=CartPole(*np.zeros((4, 2), np.float32))), ValueError,
         r"environment: the state of a step\.position is float32\[2\], expected float32\[\]"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together(environment, error, message):
    with pytest.raises(error, match=message):
        check_environment(environment)


def test_what_fits_together():
    check_environment(cartpole())
    check_environment(auto_reset(cartpole()))
