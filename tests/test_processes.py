"""Two real processes agree with one; what ends one of them ends both."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from tests import together

import stepax as sx
from stepax import processes
from stepax.placement import share
from stepax.transforms.shard import mesh

ROOT = pathlib.Path(__file__).parents[1]
STARTER = (
    "import sys; from stepax.processes import start; sys.exit(start([sys.executable, *sys.argv[2:]], int(sys.argv[1])))"
)


def environment():
    return {**os.environ, "STEPAX_CACHE": str(ROOT / ".cache" / "together"), "PYTHONPATH": str(ROOT)}


def starter(*arguments, count=2):
    """A process of its own that starts the others, as a command line is."""
    command = [sys.executable, "-c", STARTER, str(count), *arguments]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A training of two processes, finished."""
    folder = tmp_path_factory.mktemp("both")
    running = starter("-m", "tests.together", "train", str(folder))
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 0, errors[-3000:]
    return folder


def arrays(folder, name, index=0):
    with np.load(folder / f"{name}-{index}.npz") as file:
        return dict(file)


def told(folder, index):
    return json.loads((folder / f"told-{index}.json").read_text())


def distance(first, second):
    assert first.keys() == second.keys()
    return max(float(np.abs(first[name] - second[name]).max()) for name in first)


def test_two_processes_agree_with_one(both):
    run = together.trained(together.learner(), None)
    assert distance(arrays(both, "params"), together.arrays(run.state.params)) < 1e-5
    np.testing.assert_allclose(told(both, 0)["loss"], run.history["validation/loss"], 1e-5)
    output = sx.predict(together.learner(), run.state, together.DATA["x"])
    np.testing.assert_allclose(arrays(both, "predicted")["y"], output, 1e-4, 1e-5)


def test_lanes_of_a_population_on_the_devices_of_both(both):
    run = together.trained(together.lanes(None), None)
    assert distance(arrays(both, "lanes"), together.arrays(run.state.params)) < 1e-5
    np.testing.assert_allclose(told(both, 1)["lanes"], run.history["loss"], 1e-5)


def test_each_process_has_the_same_to_the_bit(both):
    for name in ("params", "streamed", "lanes", "predicted"):
        assert distance(arrays(both, name, 0), arrays(both, name, 1)) == 0
    assert told(both, 0)["hash"] == told(both, 1)["hash"]
    assert told(both, 0)["loss"] == told(both, 1)["loss"]


def test_each_process_reads_its_share_of_a_stream(both):
    assert [told(both, index)["share"] for index in range(2)] == [[0, 2], [1, 2]]
    state = together.read(together.learner(), (0, 1))
    assert distance(arrays(both, "streamed"), together.arrays(state.params)) < 1e-5


def test_one_process_goes_on_where_two_have_stopped(both, tmp_path):
    run = together.trained(together.learner(), both / "checkpoints", epochs=3)
    whole = together.trained(together.learner(), None, epochs=3)
    assert run.history["epoch"] == [1, 2, 3]
    assert run.history["validation/loss"][:2] == told(both, 0)["loss"]
    assert distance(together.arrays(run.state.params), together.arrays(whole.state.params)) < 1e-5


def test_two_processes_go_on_where_one_has_stopped_and_a_signal_stops_both_saved(tmp_path):
    started = together.trained(together.learner(), tmp_path / "checkpoints", epochs=1)
    running = starter("-m", "tests.together", "go on", str(tmp_path))
    try:
        for _ in range(600):
            if len(list(tmp_path.glob("start-*.json"))) == 2 or running.poll() is not None:
                break
            time.sleep(0.1)
        running.send_signal(signal.SIGTERM)
        _, errors = running.communicate(timeout=60)
    finally:
        running.kill()
    assert "stopped by SIGTERM after step" in errors, errors[-3000:]
    assert "saved in" in errors
    assert running.returncode == 1  # what Python makes of a KeyboardInterrupt that nobody catches
    rows = [json.loads((tmp_path / f"start-{index}.json").read_text()) for index in range(2)]
    assert rows[0] == rows[1]
    assert rows[0]["validation/loss"] == started.history["validation/loss"][0]
    newest = max((tmp_path / "checkpoints").glob("step-*"))
    assert sx.checkpoint.about(newest)["step"] > started.state.step


def test_a_process_that_fails_ends_all_and_is_shown(tmp_path):
    running = starter("-m", "tests.together", "fail", str(tmp_path))
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "process 1 of 2 ended with status 1, and the others were ended" in errors
    assert "ValueError: broken here" in errors


def test_the_first_process_is_heard_and_the_status_is_that_of_a_shell():
    running = starter("-c", "import os; print('process', os.environ['STEPAX_PROCESS'])", count=3)
    output, errors = running.communicate(timeout=60)
    assert (output, errors, running.returncode) == ("process 0\n", "", 0)
    running = starter("-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)", count=1)
    assert "was ended by SIGTERM" in running.communicate(timeout=60)[1]
    assert running.returncode == 128 + signal.SIGTERM


def test_alone_nothing_is_joined():
    assert processes.join() is False
    assert processes.first()
    assert processes.agreed(3, 5) == [3, 5]
    assert processes.told({"a": 1.5}) == {"a": 1.5}


def test_the_first_processs_bytes_are_kept():
    array = np.array([[-0.0, np.nan], [np.inf, 1]], np.float32)
    found = processes.from_first(array)
    assert found.tobytes() == array.tobytes()
    assert (found.shape, found.dtype) == (array.shape, array.dtype)


def test_arrays_and_keys_are_placed_and_fetched_whole():
    grid = mesh(data=8)
    rows = NamedSharding(grid, PartitionSpec("data"))
    placed = processes.place(np.arange(16.0), rows)
    assert placed.sharding == rows
    assert processes.place(placed, rows) is placed
    np.testing.assert_array_equal(processes.whole(placed), np.arange(16.0))
    keys = processes.place(jax.random.split(jax.random.key(0), 8), rows)
    assert keys.sharding.num_devices == 8
    assert not processes.is_shared({"a": placed, "b": keys, "c": 1})
    assert share(grid) == (0, 1)


@pytest.mark.parametrize(
    ("count", "error", "message"),
    [(0, ValueError, "count: expected at least 1, got 0"), ("2", TypeError, "count: expected a whole number")],
)
def test_bad_counts_are_refused(count, error, message):
    with pytest.raises(error, match=message):
        processes.start([sys.executable, "-c", ""], count)
