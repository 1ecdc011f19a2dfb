import json
from dataclasses import replace

import numpy as np
import pytest

from stepax import data, files
from stepax.cli.agents.plan import AgentPlan, planned
from stepax.cli.agents.settings import defaults
from stepax.cli.options import parse
from stepax.record import RunError


def plan(*options):
    return planned(parse(["train", *map(str, options)]))


POLE = ("--env", "CartPole-v1")


def test_without_options_it_is_ppo_with_the_settings_of_the_place():
    made = plan(*POLE)
    assert (made.name, made.environment, made.depth, made.seed) == ("ppo", "CartPole-v1", None, 0)
    assert made.options == defaults("ppo", "CartPole-v1")
    assert made.made == 8 * 32
    assert made.rounds * made.epochs * made.made == 99_840


@pytest.mark.parametrize(
    ("environment", "agent"), [("Taxi-v4", "q-learning"), ("Pendulum-v1", "ppo"), ("Catch", "ppo")]
)
def test_where_a_table_does_it_is_taken(environment, agent):
    assert plan("--env", environment).name == agent


@pytest.mark.parametrize(
    ("steps", "rounds", "epochs"), [(256, 1, 1), (50 * 256, 1, 50), (51 * 256, 1, 51 - 1), (1000 * 256, 20, 50)]
)
def test_there_are_never_more_steps_than_were_asked_for(steps, rounds, epochs):
    made = plan(*POLE, "--steps", steps)
    assert made.rounds * made.epochs * 256 <= steps
    if steps == 51 * 256:  # 51 is 17 · 3: of all numbers of rows from 20 to 50 none divides it
        assert 51 - made.rounds * made.epochs <= 1
    else:
        assert (made.rounds, made.epochs) == (rounds, epochs)


def test_options_take_the_place_of_settings():
    made = plan(
        *POLE, "--agent", "a2c", "--lanes", 3, "--entropy", 0.01, "--dense", 7, 5, "--normalize", "yes", "--seed", 4
    )
    usual = defaults("a2c", "CartPole-v1")
    changed = {name for name in usual if made.options[name] != usual[name]}
    assert changed == {"lanes", "entropy", "dense", "normalize"}
    assert (made.options["dense"], made.seed) == ((7, 5), 4)


def test_a_plan_comes_back_from_json_as_it_was():
    for made in (
        plan(*POLE),
        plan("--env", "DeepSea", "--depth", 3, "--agent", "dqn"),
        plan("--env", "Taxi-v4", "--agent", "sarsa"),
    ):
        assert AgentPlan.of(files.parsed(files.one_line(made.details()))) == made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--env", "Pong-v5"), "--env: unknown name 'Pong-v5'"),
        ((*POLE, "--agent", "pop"), "--agent: unknown name 'pop': .*did you mean 'ppo'"),
        (
            ("--env", "Pendulum-v1", "--agent", "dqn"),
            "--agent dqn chooses among single actions, and those of Pendulum-v1",
        ),
        ((*POLE, "--agent", "q-learning"), "keeps a table .* those of CartPole-v1 are .*FrozenLake-v1, .*Taxi-v4"),
        ((*POLE, "--epsilon", 0.1), "--epsilon does not apply to --agent ppo, which has --.*--clip"),
        ((*POLE, "--agent", "a2c", "--clip", 0.1), "--clip does not apply to --agent a2c"),
        (
            (*POLE, "--agent", "reinforce", "--steps", 1000),
            "--steps does not apply to --agent reinforce, which has --episodes",
        ),
        ((*POLE, "--episodes", 1000), "--episodes does not apply to --agent ppo"),
        (
            ("--env", "Taxi-v4", "--agent", "sarsa", "--normalize", "yes"),
            "--normalize does not apply to --agent sarsa",
        ),
        (("--env", "Taxi-v4", "--agent", "ppo", "--normalize", "yes"), "--normalize yes does not apply to Taxi-v4"),
        (
            (*POLE, "--agent", "dqn", "--steps", 1000),
            "--steps: expected more than 1000, before which nothing is learnt",
        ),
        (("--env", "Acrobot-v1", "--agent", "dqn", "--dense"), "--dense: expected at least one width"),
        ((*POLE, "--epochs", 3), "--epochs does not apply to --env CartPole-v1"),
        ((*POLE, "--data", "digits"), "--data does not apply to --env CartPole-v1"),
        ((*POLE, "--model", "mlp"), "--model does not apply to --env"),
        ((*POLE, "--optimizer", "sgd"), "--optimizer does not apply to --env"),
        ((*POLE, "--processes", 2), "--processes does not apply to --env"),
        ((*POLE, "--class-weights"), "--class-weights does not apply to --env"),
        ((*POLE, "--watch", "yes"), "--watch does not apply to --env"),
        ((*POLE, "--depth", 3), "--depth does not apply to --env CartPole-v1"),
        ((*POLE, "--demonstrations", "x.npz"), "--demonstrations does not apply to --agent ppo: they are for dqfd"),
        ((*POLE, "--agent", "dqfd"), "--agent dqfd learns from demonstrations first: pass --demonstrations FILE.npz"),
        ((*POLE, "--lanes", 0), "--lanes: expected at least 1, got 0"),
        (
            (*POLE, "--steps", 255),
            "--steps: expected at least 256, those of one step of the agent in 8 lanes of 32, got 255",
        ),
        ((*POLE, "--agent", "reinforce", "--episodes", 7), "--episodes: expected at least 8, .* in 8 lanes, got 7"),
        ((*POLE, "--batch-size", 100), "--batch-size: 100 does not divide the 256 steps of a rollout"),
        ((*POLE, "--batch-size", "full"), "--batch-size full does not apply to agents"),
        ((*POLE, "--discount", 1.5), "--discount: expected a number from 0 to 1, got 1.5"),
        ((*POLE, "--trace", "nan"), "--trace: expected a number from 0 to 1, got nan"),
        ((*POLE, "--clip", 0), "--clip: expected a positive number, got 0.0"),
        ((*POLE, "--learning-rate", -1), "--learning-rate: expected a positive number, got -1.0"),
        ((*POLE, "--entropy", -1), "--entropy: expected a number of at least 0, got -1.0"),
        ((*POLE, "--dense", 0), r"--dense: expected whole numbers of at least 1, got \(0,\)"),
        ((*POLE, "--schedule", "cosin"), "--schedule: unknown name 'cosin'"),
        ((*POLE, "--agent", "dqn", "--capacity", 20), "--capacity: expected at least 64, .*, got 20"),
        (
            ("--env", "Taxi-v4", "--agent", "sarsa", "--learning-rate", 2),
            "--learning-rate: expected a number of at most 1",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_its_option(options, message):
    with pytest.raises(ValueError, match=message):
        plan(*options)


def test_demonstrations_are_counted_and_known_by_their_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ends = np.array([False, False, True])
    seen = np.zeros((3, 4), np.float32)
    steps = {"observation": seen, "next_observation": seen, "reward": np.ones(3, np.float32)}
    steps |= {"action": np.zeros(3, np.int32), "terminated": ends, "truncated": ~ends & False}
    data.save_demonstrations("d.npz", steps)
    made = plan(*POLE, "--agent", "dqfd", "--demonstrations", "d.npz")
    assert (made.demonstrations, made.demonstrated, made.before) == (str(tmp_path / "d.npz"), 3, 1000)
    acting = made.rounds * made.epochs - made.before
    assert 0.97 * 100_000 < acting * made.made <= 100_000
    with pytest.raises(FileNotFoundError):
        plan(*POLE, "--agent", "dqfd", "--demonstrations", "none.npz")
    with pytest.raises(ValueError, match="--steps: expected at least 800, after 1000 that learn from demonstrations"):
        plan(*POLE, "--agent", "dqfd", "--demonstrations", "d.npz", "--steps", 100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "pop"}, "--agent: unknown name 'pop'"),
        ({"name": 3}, r"agent\.name: expected str, got 3"),
        ({"environment": "Pong"}, "--env: unknown name 'Pong'"),
        ({"rounds": "many"}, r"agent\.rounds: expected int, got 'many'"),
        ({"depth": 3}, "--depth does not apply"),
        ({"options": {}}, r"agent\.options: expected the fields steps, .*, got the fields \(none\)"),
        (
            {"environment": "Pendulum-v1", "name": "dqn", "options": dict(defaults("dqn", "Catch"))},
            "--agent dqn chooses",
        ),
    ],
)
def test_a_damaged_plan_is_refused_and_the_field_named(change, message):
    details = json.loads(files.one_line(plan(*POLE).details()))
    details["agent"] |= change
    with pytest.raises(RunError, match=f"was not made by `stepax train`, .*{message}"):
        AgentPlan.of(details)
    with pytest.raises(RunError, match="agent: expected the fields name, environment"):
        AgentPlan.of({"agent": None})


def test_a_setting_of_another_kind_is_damage():
    details = json.loads(files.one_line(plan(*POLE).details()))
    details["agent"]["options"]["discount"] = "much"
    with pytest.raises(RunError, match=r"agent\.options\.discount: expected float, got 'much'"):
        AgentPlan.of(details)
    assert replace(plan(*POLE), seed=3).details()["agent"]["seed"] == 3
