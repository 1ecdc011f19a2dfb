import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepax import rl
from stepax.cli.agents import play
from stepax.cli.agents.learners import BuiltAgent
from stepax.cli.agents.play import Played, measured, note_left, played, summary, table
from stepax.cli.agents.record import rule


@pytest.fixture(scope="module")
def best():
    return jax.tree_util.Partial(rule("CliffWalking-v1", None))


def test_episodes_are_played_to_their_end(best):
    of = played(rl.cliff_walking(), best, jax.random.key(0), 3, 50)
    np.testing.assert_array_equal(of.returns, [-13] * 3)
    np.testing.assert_array_equal(of.lengths, [13] * 3)
    assert of.ended.all()


def test_more_episodes_than_lanes_are_all_played_and_differ(best, monkeypatch):
    monkeypatch.setattr(play, "LANES", 4)
    of = played(rl.frozen_lake(), jax.tree_util.Partial(rule("FrozenLake-v1", None)), jax.random.key(0), 10, 100)
    assert len(of.returns) == len(of.lengths) == len(of.ended) == 10
    assert len(set(of.lengths[:4].tolist()) ^ set(of.lengths[4:8].tolist())) > 0


def test_episodes_without_end_are_left_and_told_of(capsys):
    still = jax.tree_util.Partial(lambda seen, key: (jnp.zeros(len(seen), jnp.int32), {}))
    of = played(rl.cliff_walking(), still, jax.random.key(0), 2, 20)
    np.testing.assert_array_equal(of.returns, [-20, -20])
    assert not of.ended.any()
    note_left(of, 20)
    assert capsys.readouterr().err.startswith("warning: 2 of 2 episodes had not ended after 20 steps")
    note_left(of._replace(ended=np.ones(2, bool)), 20)
    assert capsys.readouterr().err == ""


def test_they_are_other_episodes_for_another_seed():
    environment = rl.frozen_lake()
    learner = rl.q_learning(environment)
    state = learner.init(jax.random.key(0), None)
    found = [measured(BuiltAgent(environment, learner), state, seed, 8, 100).lengths.tolist() for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_numbers_by_hand():
    told = summary(Played(np.array([1.0, 3.0, 5.0, 3.0]), np.array([2, 4, 4, 2]), np.array([True, True, True, False])))
    spread = np.sqrt(8 / 3)
    assert told == {
        "episodes": 4,
        "return": 3.0,
        "return_deviation": pytest.approx(spread),
        "return_error": pytest.approx(spread / 2),
        "return_least": 1.0,
        "return_most": 5.0,
        "length": 3.0,
        "ended": 0.75,
    }
    assert summary(Played(np.array([2.0]), np.array([1]), np.array([True])))["return_error"] == 0


def test_places_stand_beside_each_other():
    told = summary(Played(np.array([1.0, 3.0]), np.array([2, 4]), np.array([True, True])))
    drawn = table({"stepax": told, "Gymnasium": told}, "title")
    assert [column.header for column in drawn.columns] == ["", "stepax", "Gymnasium"]
    assert list(drawn.columns[2].cells) == ["2.00 ± 1.00", "1.41", "1.00 to 3.00", "3.0", "2"]
