import jax
import numpy as np
import pytest
from PIL import Image

from stepax import rl
from stepax.cli.agents import figures
from stepax.cli.agents.environments import ENVIRONMENTS, environment, place
from stepax.cli.agents.figures import DRAWN, draw, one_episode
from stepax.cli.agents.runs import open_agent

# A step whose action is no number.
NOWHERE = {
    "observation": np.zeros((1, 3)),
    "action": np.full((1, 1), np.nan),
    "reward": np.zeros(1),
    "terminated": np.ones(1, bool),
    "truncated": np.zeros(1, bool),
    "next_observation": np.zeros((1, 3)),
}
NAMES = ["returns.png", "learning_curves.png", "episode.png", "episode.gif"]


@pytest.mark.parametrize("fixture", ["pole_run", "catch_run"])
def test_every_run_has_curves_and_an_episode(request, tmp_path, fixture):
    run = open_agent(request.getfixturevalue(fixture))
    paths = list(draw(run, tmp_path))
    assert [path.name for path in paths] == NAMES
    for path in paths:
        with Image.open(path) as image:
            assert min(image.size) > 150
    with Image.open(tmp_path / "episode.gif") as image:
        assert image.n_frames == min(200, len(one_episode(run, 0)["reward"]) + 1)


def test_an_agent_without_numbers_has_curves_alone(monkeypatch, pole_run, tmp_path, capsys):
    monkeypatch.setattr(figures, "one_episode", lambda *_: rl.check_demonstrations(rl.pendulum(), NOWHERE))
    assert [path.name for path in draw(open_agent(pole_run), tmp_path)] == NAMES[:2]
    assert "no episode is drawn: the agent's actions are not finite" in capsys.readouterr().err


def test_another_number_is_another_episode(pole_run):
    run = open_agent(pole_run)
    first, again, second = (one_episode(run, number)["observation"][0] for number in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()
    with pytest.raises(ValueError, match="--example: expected a number of at least 0, got -1"):
        list(draw(run, pole_run, -1))


@pytest.mark.parametrize("name", list(ENVIRONMENTS))
def test_every_environment_is_drawn_from_what_is_observed_of_it(name):
    made, actions = environment(name, None), place(name, None).actions
    _, seen = made.reset(jax.random.key(0))
    pictures = [DRAWN[name](np.asarray(seen), action, "step 0") for action in (*range(len(actions)), None)]
    assert len({picture.size for picture in pictures}) == 1
    if not actions:
        pictures += [DRAWN[name](np.asarray(seen), np.float32([push]), "step 0") for push in (-1.0, 1.0)]
        assert np.asarray(pictures[-1]).tobytes() != np.asarray(pictures[-2]).tobytes()


def test_they_are_drawn_by_the_command(call, lake_run, tmp_path):
    done = call("plot", lake_run, "--out", tmp_path / "figures", "--example", 3)
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [str(tmp_path / "figures" / name) for name in NAMES]
