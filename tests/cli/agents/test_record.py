import jax
import numpy as np
import pytest

from stepax import rl
from stepax.cli.agents.environments import environment, place
from stepax.cli.agents.options import Record
from stepax.cli.agents.record import demonstrated, returns_of, rule


@pytest.mark.parametrize(
    ("name", "depth", "least"),
    [("MountainCar-v0", None, -130), ("Catch", None, 1), ("DeepSea", 5, 0.98999), ("CliffWalking-v1", None, -13)],
)
def test_rules_do_well(name, depth, least):
    of = rl.recorded(environment(name, depth), rule(name, depth), jax.random.key(0), 5, place(name, depth).limit)
    assert returns_of(of).min() >= least


def test_in_the_taxi_the_rule_is_the_exact_answer():
    of = rl.recorded(rl.taxi(), rule("Taxi-v4", None), jax.random.key(0), 8, 200)
    starts = of["observation"][np.flatnonzero([True, *(of["terminated"] | of["truncated"])[:-1]])]
    exact = rl.value_iteration(rl.taxi_table(), discount=1.0)
    np.testing.assert_allclose(returns_of(of), exact.values[starts], atol=1e-6)


def test_returns_of_episodes_by_hand():
    steps = {
        "reward": np.array([1, 2, 4, 8, 16], np.float32),
        "terminated": np.array([False, True, True, False, False]),
        "truncated": np.array([False, False, False, False, True]),
    }
    assert returns_of(steps).tolist() == [3, 4, 24]


def test_an_agent_is_recorded_as_it_plays(lake_run):
    who, steps = demonstrated(Record(run=lake_run, episodes=3))
    assert who == f"q-learning of {lake_run} in FrozenLake-v1"
    assert (steps["terminated"] | steps["truncated"]).sum() == 3
    again = demonstrated(Record(run=lake_run, episodes=3))[1]
    other = demonstrated(Record(run=lake_run, episodes=3, seed=1))[1]
    np.testing.assert_array_equal(steps["observation"], again["observation"])
    assert steps["observation"].tolist() != other["observation"].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Record(), "expected a RUN, or --env NAME"),
        (Record(run="x", env="Catch"), "and not both"),
        (
            Record(env="Pendulum-v1"),
            "--env: no rule is known for Pendulum-v1: expected one of MountainCar-v0, .*DeepSea",
        ),
        (Record(env="Katch"), "--env: unknown name 'Katch'"),
        (Record(env="Catch", depth=3), "--depth does not apply to --env Catch"),
        (Record(run="x", depth=3), "--depth is for --env DeepSea; a run has its own"),
    ],
)
def test_what_cannot_be_recorded_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        demonstrated(options)
