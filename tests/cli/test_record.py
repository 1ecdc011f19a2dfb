import jax
import numpy as np

from stepax import data, rl


def test_a_file_of_demonstrations_is_written_and_its_returns_are_told(call, tmp_path):
    done = call("record", "--env", "DeepSea", "--depth", 4, "--episodes", 3, "--out", "new/d.npz")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        "3 episodes, 12 steps of a rule in DeepSea, in new/d.npz",
        "returns    0.99, 0.99, 0.99",
        "mean       0.99, from 0.99 to 0.99",
    ]
    steps = data.demonstrations(tmp_path / "new" / "d.npz")
    right = rl.deep_sea(rl.right_actions(jax.random.key(4), 4))
    assert rl.check_demonstrations(right, steps).keys() == steps.keys()


def test_a_trained_agent_is_recorded(call, pole_run, tmp_path):
    done = call("record", pole_run, "--episodes", 2)
    assert done.status == 0, done.err
    steps = data.demonstrations(tmp_path / "demonstrations.npz")
    total = f"2 episodes, {len(steps['reward'])} steps of ppo of {pole_run} in CartPole-v1, in demonstrations.npz"
    assert done.out.splitlines()[0] == total
    lengths = np.diff(np.flatnonzero([True, *(steps["terminated"] | steps["truncated"])]))
    assert done.out.splitlines()[1] == f"returns    {lengths[0]}, {lengths[1]}"


def test_what_is_wrong_is_one_line(call, iris_run, tmp_path):
    for options, message in {
        ("--env", "Catch", "--episodes", 0): "--episodes: expected at least 1, got 0",
        ("--env", "Catch", "--out", "d.csv"): "--out: expected a file called .npz, got d.csv",
        (iris_run,): f"run {iris_run}: it is a model's, which learnt from data: expected an agent's",
        ("none",): "run none: no such folder",
    }.items():
        done = call("record", *options)
        assert (done.status, done.err) == (2, f"error: {message}\n")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "d.npz").write_bytes(b"")
    done = call("record", "--env", "Catch", "--out", "d.npz")
    assert done.err == "error: --out: d.npz exists already; remove it, or name another file\n"
