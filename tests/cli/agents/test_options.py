import pytest

from stepax.cli.agents import options
from stepax.cli.agents.environments import ENVIRONMENTS
from stepax.cli.agents.settings import AGENTS, OFFERED
from stepax.cli.options import parse


def test_the_names_in_the_help_are_those_there_are():
    assert options.ENVIRONMENTS.split("|") == list(ENVIRONMENTS)
    assert options.AGENTS.split("|") == list(AGENTS)


def test_what_is_offered_can_be_given():
    wanted = parse(["train", "--env", "Catch", "--agent", "dqn", "--steps", "10", "--epsilon", "0.1", "--depth", "3"])
    given = wanted.agent
    assert (given.env, given.agent, given.steps, given.epsilon, given.depth) == ("Catch", "dqn", 10, 0.1, 3)
    groups = (wanted.agent, wanted.model, wanted.optimization)
    assert [name for name in OFFERED if not any(hasattr(group, name) for group in groups)] == []


def test_a_recording_has_a_run_or_an_environment(tmp_path):
    assert parse(["record", "runs/x", "--episodes", "3"]).run.name == "x"
    wanted = parse(["record", "--env", "DeepSea", "--depth", "4", "--out", "a.npz"])
    assert (wanted.run, wanted.env, wanted.depth, wanted.out.name, wanted.episodes) == (None, "DeepSea", 4, "a.npz", 10)


@pytest.mark.parametrize("option", ["steps", "lanes", "depth"])
def test_what_is_no_number_is_refused(option):
    with pytest.raises(ValueError, match=f"{option}.*expected a whole number, got 'many'"):
        parse(["train", "--env", "Catch", f"--{option}", "many"])
