import jax
import pytest

from stepax import rl
from stepax.cli.agents.environments import ENVIRONMENTS, environment, place, places, spaces


@pytest.mark.parametrize("name", list(ENVIRONMENTS))
def test_every_place_tells_the_truth_about_its_environment(name):
    where, made = place(name, None), environment(name, None)
    rl.check_environment(made)
    assert len(where.actions) == (made.action_space.n if isinstance(made.action_space, rl.Discrete) else 0)
    assert (where.table is not None) == isinstance(made.observation_space, rl.Discrete)
    if where.table is not None:
        assert where.table().next_state.shape[:2] == (made.observation_space.n, made.action_space.n)


@pytest.mark.parametrize("name", [name for name, where in ENVIRONMENTS.items() if where.gymnasium])
def test_those_of_gymnasium_are_there_under_their_names_with_their_limits(name):
    gymnasium = pytest.importorskip("gymnasium", reason="Gymnasium is not here: it comes with the extra `gym`")
    limit = gymnasium.spec(name).max_episode_steps
    assert limit in (ENVIRONMENTS[name].limit, None)
    assert (limit is None) == (name == "CliffWalking-v1")


@pytest.mark.parametrize("name", ["Catch", "DeepSea"])
def test_without_a_time_limit_the_limit_is_where_episodes_end(name):
    made, limit = environment(name, None), place(name, None).limit
    state, _ = made.reset(jax.random.key(0))
    ends = []
    for _ in range(limit):
        step = made.step(state, 0, jax.random.key(1))
        state = step.state
        ends.append(bool(step.terminated))
    assert ends == [False] * (limit - 1) + [True]


def test_a_sea_is_as_deep_as_is_asked_and_always_the_same():
    assert environment("DeepSea", 4).observation_space.shape == (4, 4)
    assert place("DeepSea", 4).limit == 4
    one, other = (place("DeepSea", 4).make() for _ in range(2))
    for action in (0, 1):
        state, _ = one.reset(jax.random.key(0))
        rewards = [float(of.step(state, action, jax.random.key(0)).reward) for of in (one, other)]
        assert rewards[0] == rewards[1]


@pytest.mark.parametrize(
    ("name", "depth", "message"),
    [
        ("CartPol-v1", None, "--env: unknown name 'CartPol-v1': .*did you mean 'CartPole-v1'"),
        ("Taxi-v3", None, "--env: unknown name 'Taxi-v3': .*did you mean 'Taxi-v4'"),
        ("CartPole-v1", 3, "--depth does not apply to --env CartPole-v1: it is DeepSea's"),
        ("DeepSea", 0, "--depth: expected at least 1, got 0"),
    ],
)
def test_what_there_is_not_is_refused(name, depth, message):
    with pytest.raises(ValueError, match=message):
        place(name, depth)


def test_places_by_what_they_take():
    tables = ["FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "Taxi-v4"]
    assert places(counted=True) == tables
    assert set(ENVIRONMENTS) - set(places(single=True)) == {"Pendulum-v1", "MountainCarContinuous-v0"}


def test_spaces_in_words():
    assert spaces("CartPole-v1", None) == ("observations of 4 numbers", "2 actions")
    assert spaces("Pendulum-v1", None) == ("observations of 3 numbers", "actions of 1 number")
    assert spaces("Taxi-v4", None) == ("500 observations", "6 actions")
    assert spaces("DeepSea", 3) == ("observations of 3×3 numbers", "2 actions")
