from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stepax as sx
from stepax import rl
from stepax.cli.agents.environments import ENVIRONMENTS
from stepax.cli.agents.learners import build, like, one_hot
from stepax.cli.agents.plan import planned
from stepax.cli.agents.settings import AGENTS, TABULAR
from stepax.cli.options import parse


def plan(*options):
    return planned(parse(["train", *map(str, options)]))


# Every agent once, and every environment once.
PAIRS = [("ppo", name) for name in ENVIRONMENTS]
PAIRS += [("a2c", "Pendulum-v1"), ("reinforce", "Taxi-v4"), ("dqn", "CliffWalking-v1"), ("dqn", "Catch")]
PAIRS += [(agent, "FrozenLake-v1") for agent in TABULAR]


@pytest.mark.parametrize(("agent", "environment"), PAIRS)
def test_agents_are_made_in_environments_of_every_kind(agent, environment):
    made = plan("--env", environment, "--agent", agent)
    built = build(made)
    state = like(built)
    after, metrics = jax.eval_shape(built.learner.step, state, None)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert {"return", "length", "loss"} <= metrics.keys()


def test_rates_fall_over_the_whole_training():
    small = plan(
        "--env",
        "CartPole-v1",
        "--lanes",
        2,
        "--length",
        4,
        "--batch-size",
        4,
        "--passes",
        3,
        "--steps",
        32,
        "--dense",
        2,
    )
    learner = build(small).learner
    run = sx.fit(learner, sx.generated(small.rounds), key=jax.random.key(0), epochs=small.epochs, batch_size=None)
    # Four rollouts of three passes with two batches each: 24 updates, of which the metrics are means over six.
    expected = [1e-3 * np.mean([1 - k / 24 for k in range(6 * i, 6 * i + 6)]) for i in range(4)]
    np.testing.assert_allclose(run.history["learning_rate"], expected, rtol=1e-5)


def test_counted_observations_are_seen_as_vectors():
    model = one_hot(rl.ActionValues(2, (3,)), 5)
    inner = sx.as_model(rl.ActionValues(2, (3,)))
    params, variables = model.init(jax.random.key(0), jnp.zeros(1, jnp.int32))
    seen = jnp.array([0, 4, 2])
    output, _ = model.apply(params, variables, seen, train=False, key=None)
    expected, _ = inner.apply(params, variables, jnp.eye(5)[seen], train=False, key=None)
    np.testing.assert_array_equal(output, expected)


def test_parts_of_dqn_are_what_the_settings_say():
    made = plan("--env", "Catch", "--agent", "dqn")
    plain = {**made.options, "priority": 0.0, "ahead": 1, "dueling": False}
    whole, simple = (like(build(one)) for one in (made, replace(made, options=plain)))
    assert "advantage" in whole.params
    assert "advantage" not in simple.params
    assert type(whole.extra["replay"]).__name__ == "Pending"
    assert type(whole.extra["replay"].buffer).__name__ == "Prioritised"
    assert type(simple.extra["replay"]).__name__ == "Ring"


def test_demonstrations_that_do_not_fit_are_refused_with_their_file():
    made = plan("--env", "Catch", "--agent", "dqn")
    made = replace(made, name="dqfd", options={**AGENTS["dqfd"]}, demonstrations="d.npz", demonstrated=2)
    shown = rl.recorded(rl.catch(), lambda seen, key: (jnp.ones(len(seen), jnp.int32), {}), jax.random.key(0), 1, 20)
    assert jax.tree.structure(like(build(made, shown))) == jax.tree.structure(like(build(made)))
    with pytest.raises(ValueError, match=r"--demonstrations d\.npz: .*action.*got 7"):
        build(made, {**shown, "action": shown["action"] + 6})
