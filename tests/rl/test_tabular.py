"""Every rule against a slow loop, and against known and exact values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepax.rl import Discrete, frozen_lake, frozen_lake_table, known
from stepax.rl.action_table import ByVisits
from stepax.rl.tabular import expected_sarsa, q_learning, sarsa
from stepax.rl.value_iteration import action_values, policy_values, value_iteration

KEY = jax.random.key(0)
RULES = {"q_learning": q_learning, "sarsa": sarsa, "expected_sarsa": expected_sarsa}
# Episodes begin anywhere, so that every pair is met often.
LAKE = ("SSH", "SSG")


def numbered(toy, first, count):
    """The toy with whole numbers for observations: 0 for the observation ``first``, and so on."""
    environment = toy.environment

    def number(observation):
        return jnp.round((observation[0] - first) * (count - 1) / max(1, -2 * first or count - 1)).astype(jnp.int32)

    def reset(key):
        state, observation = environment.reset(key)
        return state, number(observation)

    def step(state, action, key):
        made = environment.step(state, action, key)
        return made._replace(observation=number(made.observation))

    return environment._replace(reset=reset, step=step, observation_space=Discrete(count))


def trained(learner, steps):
    def run(key):
        return jax.lax.scan(lambda state, _: (learner.step(state)[0], None), learner.init(key), None, steps)[0]

    return jax.jit(run)(KEY)


def soft(values, epsilon):
    """The probabilities of ε-greedy actions."""
    best = values == values.max(-1, keepdims=True)
    return epsilon / values.shape[-1] + (1 - epsilon) * best / best.sum(-1, keepdims=True)


def worth(rule, values, after, next_action, epsilon):
    """What the rule takes an observation for."""
    if rule == "q_learning":
        return values[after].max()
    if rule == "sarsa":
        return values[after, next_action]
    return soft(values[after], epsilon) @ values[after]


@pytest.mark.parametrize("rule", RULES)
def test_a_slow_loop_gives_the_same_table(rule):
    epsilon, discount, lanes = 0.3, 0.9, 3
    # Sarsa draws what it would do after a truncation, and does not tell.
    environment = frozen_lake(LAKE, steps=None if rule == "sarsa" else 4)
    settings = {"epsilon": epsilon, "discount": discount, "lanes": lanes, "length": 1, "initial": 0.5}
    learner = RULES[rule](environment, rate=ByVisits(2.0, 0.8), **settings)
    step, state = jax.jit(learner.step), jax.jit(learner.init)(KEY)
    values, visits, ends = np.full((6, 4), 0.5), np.zeros((6, 4), int), 0
    for _ in range(100):
        before, (state, metrics) = state, step(state)
        now, then = jax.tree.map(np.asarray, (before.extra, state.extra))
        pairs = list(zip(now["lanes"].observation, now["action"], strict=True))
        found = []
        for lane in range(lanes):
            after = then["lanes"].state.final_observation[lane]
            follows = worth(rule, values, after, then["action"][lane], epsilon)
            ends += after in (2, 5)
            found.append((after == 5) + discount * (0 if after in (2, 5) else follows))
        errors = [value - values[pair] for value, pair in zip(found, pairs, strict=True)]
        np.testing.assert_allclose(metrics["loss"], np.mean(np.square(errors)), rtol=1e-3, atol=1e-6)
        for pair, value in zip(pairs, found, strict=True):
            visits[pair] += 1
            values[pair] += (2 / (1 + visits[pair])) ** 0.8 * (value - values[pair])
        np.testing.assert_array_equal(state.extra["visits"], visits)
        np.testing.assert_allclose(state.params["values"], values, rtol=1e-4, atol=1e-6)
    assert ends > 5


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["delayed", "endless", "matched"])
def test_values_are_those_that_are_known(rule, name):
    toy, first = getattr(known, name)(), -1 if name == "matched" else 0
    seen = [[-1.0], [1.0]] if name == "matched" else [[0.0], [1.0]][: 2 if name == "delayed" else 1]
    count = {"delayed": 3, "endless": 1, "matched": 2}[name]
    learner = RULES[rule](numbered(toy, first, count), rate=0.5, lanes=4, length=150, discount=0.8, epsilon=0.2)
    state, actions = trained(learner, 1), toy.environment.action_space.n
    wanted = [
        [toy.action_value(jnp.array(observation), jnp.int32(action), 0.8) for action in range(actions)]
        for observation in seen
    ]
    np.testing.assert_allclose(state.params["values"][: len(seen)], wanted, rtol=1e-4)


def test_q_learning_comes_to_the_exact_values():
    table = frozen_lake_table(LAKE)
    learner = q_learning(frozen_lake(LAKE), rate=ByVisits(4.0), epsilon=1.0, lanes=64, length=3000, discount=0.9)
    state = trained(learner, 1)
    exact = value_iteration(table, discount=0.9).action_values
    met = np.asarray(state.extra["visits"]) > 0
    assert met.any(1).tolist() == [True, True, False, True, True, False]
    np.testing.assert_allclose(np.asarray(state.params["values"])[met], exact[met], rtol=0.04)


@pytest.mark.parametrize("rule", ["sarsa", "expected_sarsa"])
def test_sarsa_comes_to_what_its_own_policy_is_worth(rule):
    table, epsilon = frozen_lake_table(LAKE), 0.5
    settings = {"rate": ByVisits(4.0), "epsilon": epsilon, "lanes": 64, "length": 3000, "discount": 0.9}
    state = trained(RULES[rule](frozen_lake(LAKE), **settings), 1)
    values = np.asarray(state.params["values"], float)
    own = action_values(table, policy_values(table, soft(values, epsilon), discount=0.9), discount=0.9)
    met = np.asarray(state.extra["visits"]) > 0
    np.testing.assert_allclose(values[met], own[met], rtol=0.05)
    best = value_iteration(table, discount=0.9).action_values
    assert (best[met] > 1.1 * own[met]).any()
