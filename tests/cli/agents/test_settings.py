import pytest

from stepax.cli.agents.environments import ENVIRONMENTS
from stepax.cli.agents.plan import AgentPlan, checked
from stepax.cli.agents.settings import AGENTS, BETTER, OFFERED, TABULAR, defaults
from stepax.cli.options import Agent, Train


@pytest.mark.parametrize("pair", list(BETTER), ids=" in ".join)
def test_what_is_better_somewhere_are_settings_of_the_same_kinds(pair):
    agent, environment = pair
    assert environment in ENVIRONMENTS
    usual = AGENTS[agent]
    assert {name: type(value) for name, value in BETTER[pair].items()} == {
        name: type(usual[name]) for name in BETTER[pair]
    }


@pytest.mark.parametrize("agent", list(AGENTS))
@pytest.mark.parametrize("environment", list(ENVIRONMENTS))
def test_every_agent_that_fits_an_environment_has_settings_that_are_in_range(agent, environment):
    plan = AgentPlan(agent, environment, None, defaults(agent, environment), 1, 1, 0)
    fits = not (agent in TABULAR and ENVIRONMENTS[environment].table is None)
    fits &= bool(ENVIRONMENTS[environment].actions) or agent in ("ppo", "a2c", "reinforce")
    if fits:
        assert checked(plan) is plan
    else:
        with pytest.raises(ValueError, match=f"--agent {agent} "):
            checked(plan)


def test_what_is_offered_belongs_to_some_agent():
    assert set(OFFERED) <= {name for settings in AGENTS.values() for name in settings}
    own = {name for name in vars(Agent()) if name not in ("env", "agent", "depth", "demonstrations")}
    assert own <= set(OFFERED)
    assert Train().agent.env is None


def test_the_settings_of_a_place_take_the_place_of_the_usual_ones():
    assert defaults("ppo", "CartPole-v1")["batch_size"] == 256
    assert defaults("ppo", "Catch") == AGENTS["ppo"]
