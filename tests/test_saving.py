"""Trainings that are cut short go on to the same bits; what cannot be used is refused or passed over."""

import json
import operator
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import optax
import pytest
from tests.kills import killed

import stepax as sx
from stepax.checkpoint import CheckpointError, Mismatch
from stepax.saving import Saver, fingerprint, is_locked

DATA = {"x": np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32), "y": np.arange(40, dtype=np.int32) % 2}


def learner(width=4, rate=0.01):
    return sx.supervised(sx.nn.MLP((width, 2)), sx.losses.cross_entropy, optax.adam(rate))


LEARNER = learner()


def started():
    return LEARNER.init(jax.random.key(9), DATA)


def training(folder, **settings):
    settings = {"key": jax.random.key(0), "epochs": 6, "batch_size": 8, **settings}
    if not isinstance(folder, sx.Checkpoints):
        folder = sx.Checkpoints(folder, seconds=0)
    return sx.training(settings.pop("learner", LEARNER), settings.pop("data", DATA), checkpoints=folder, **settings)


def run(folder, **settings):
    return sx.collected(training(folder, **settings), {})


def stopped_after(folder, epoch, **settings):
    """A training that is left at the end of an epoch, as by an error outside of it."""
    reports = training(folder, **settings)
    for report in reports:
        if report.row and report.row["epoch"] == epoch:
            reports.close()


def same(first, second):
    assert first.record["parameters"] == second.record["parameters"]
    assert first.record.get("best") == second.record.get("best")
    histories = [{name: values for name, values in r.history.items() if name != "seconds"} for r in (first, second)]
    assert histories[0] == histories[1]


def names(folder):
    return sorted(path.name for path in pathlib.Path(folder).glob("step-*"))


# Of `python -m tests.kills 200`, which kills trainings of all kinds and is for changes to checkpoints, a few.
@pytest.mark.parametrize(("name", "kills"), [("in memory", 1), ("stream", 1), ("population", 1), ("guard", 2)])
def test_killed_at_random_moments_it_ends_in_the_same_bits(name, kills, tmp_path):
    outcome = killed(name, kills, tmp_path)
    assert outcome.kills == kills
    assert outcome.same


@pytest.mark.parametrize("settings", [{}, {"validation": DATA, "patience": 2}])
def test_the_same_call_goes_on_where_it_was_left(tmp_path, settings):
    stopped_after(tmp_path, 3, **settings)
    reports = list(training(tmp_path, **settings))
    assert reports[0].step == 16
    whole = sx.collected(sx.training(LEARNER, DATA, key=jax.random.key(0), epochs=6, batch_size=8, **settings), {})
    same(sx.collected(iter(reports), {}), whole)


def test_the_call_after_the_end_returns_at_once(tmp_path):
    first = run(tmp_path)
    reports = list(training(tmp_path))
    assert len(reports) == 1
    same(sx.collected(iter(reports), {}), first)


def test_more_epochs_go_on_from_the_end(tmp_path):
    run(tmp_path, epochs=3)
    same(run(tmp_path, epochs=6), run(tmp_path / "other", epochs=6))


def test_fit_takes_a_folder(tmp_path):
    settings = {"key": jax.random.key(0), "epochs": 2, "batch_size": 8, "progress": False}
    first = sx.fit(LEARNER, DATA, checkpoints=tmp_path, **settings)
    assert names(tmp_path) == ["step-000000000010"]  # a minute is not over, and the end is saved
    same(first, sx.fit(LEARNER, DATA, checkpoints=tmp_path, **settings))
    same(first, sx.fit(LEARNER, DATA, **settings))


def test_fewer_epochs_than_were_made_are_refused(tmp_path):
    run(tmp_path, epochs=3)
    with pytest.raises(ValueError, match="epochs: the checkpoint has made 15 steps already, and 2 epochs are 10"):
        run(tmp_path, epochs=2)


def test_only_the_newest_and_the_best_are_kept(tmp_path):
    saved = sx.Checkpoints(tmp_path, seconds=0, keep=2, best=2, monitor="height", better=operator.gt)

    def step(state, batch, gradient=sx.gradient):
        heights = jax.numpy.float32([1, 9, 3, 8, 2, 0])
        return state._replace(step=state.step + 1), {"loss": 0.0 * state.params, "height": heights[state.step]}

    init = lambda key, batch: sx.new_state(key, jax.numpy.float32(0), {}, ())  # noqa: E731
    stub = sx.Learner(init, step, lambda *_: {}, lambda *_: None)
    list(sx.training(stub, sx.generated(1), key=jax.random.key(0), epochs=6, batch_size=None, checkpoints=saved))
    assert [int(name.split("-")[1]) for name in names(tmp_path)] == [2, 4, 5, 6]


def test_an_unknown_monitor_is_named(tmp_path):
    for monitor, message in {"los": "monitor: unknown measure 'los'", "weight": "monitor: unknown"}.items():
        with pytest.raises(ValueError, match=message):
            training(sx.Checkpoints(tmp_path, best=1, monitor=monitor))
    accurate = sx.supervised(
        sx.nn.MLP((4, 2)), sx.losses.cross_entropy, optax.sgd(0.1), metrics={"accuracy": sx.metrics.accuracy}
    )
    with pytest.raises(ValueError, match="better: nothing says whether more or less of 'accuracy' is better"):
        training(sx.Checkpoints(tmp_path, best=1, monitor="accuracy"), learner=accurate)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seconds": -1}, "seconds: expected 0 or more, got -1"),
        ({"seconds": float("nan")}, "seconds: expected 0 or more"),
        ({"keep": 0}, "keep: expected at least 1, got 0"),
        ({"best": -1}, "best: expected at least 0, got -1"),
    ],
)
def test_settings(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        sx.Checkpoints(tmp_path, **settings)


def damage(folder, name):
    for path in (folder / name).rglob("*"):
        if path.is_file() and path.stat().st_size and path.name != "index.json":
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)


def test_of_a_damaged_one_the_last_good_one_is_used(tmp_path):
    stopped_after(tmp_path, 3)
    damage(tmp_path, names(tmp_path)[-1])
    with pytest.warns(UserWarning, match=r"is damaged.*going on from step-000000000010"):
        reports = list(training(tmp_path))
    same(sx.collected(iter(reports), {}), run(tmp_path / "other"))


def test_when_all_are_damaged_it_says_so_and_touches_nothing(tmp_path):
    stopped_after(tmp_path, 3)
    before = names(tmp_path)
    for name in before:
        damage(tmp_path, name)
    with pytest.raises(CheckpointError, match="there is no other to go on from"):
        run(tmp_path)
    assert names(tmp_path) == before


def test_what_was_cut_short_is_cleared_away(tmp_path):
    stopped_after(tmp_path, 3)
    shutil.copytree(tmp_path / names(tmp_path)[-1], tmp_path / "step-000000000099")
    (tmp_path / "step-000000000099" / "index.json").unlink()
    (tmp_path / "notes.txt").write_text("mine")
    run(tmp_path)
    assert names(tmp_path) == ["step-000000000025", "step-000000000030"]
    assert (tmp_path / "notes.txt").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"key": jax.random.key(1)}, r"key was \[0, 0\] and is \[0, 1\]"),
        ({"batch_size": 4}, "steps an epoch was 5 and is 10"),
        ({"data": {**DATA, "x": DATA["x"] + 1}}, r"data \(SHA-256 of rows\) was"),
        ({"data": {**DATA, "x": DATA["x"][:, :2]}}, r"data\['x'\] was 'float32\[40, 3\]' and is 'float32\[40, 2\]'"),
        ({"validation": DATA}, "validation was False and is None; "),
        ({"patience": 3, "validation": DATA}, "patience was None and is 3"),
        (
            {"learner": learner(rate=0.02)},
            r"learner \(a checksum of its step\) was '\w{64}' and is '\w{64}'\. Name another",
        ),
        ({"state": started()}, r"state was None and is \[0, '"),
        ({"data": sx.shuffled(DATA, 8, jax.random.key(7)), "batch_size": None}, "batch_size was 8 and is None; data"),
        ({"learner": learner(5)}, r"\['dense_0'\]\['bias'\] is float32\[4\] where float32\[5\] was expected"),
    ],
)
def test_another_training_is_refused(tmp_path, settings, message):
    stopped_after(tmp_path, 3)
    with pytest.raises(Mismatch, match=message):
        run(tmp_path, **settings)
    run(tmp_path)


def test_two_trainings_do_not_share_a_folder(tmp_path):
    reports = training(tmp_path)
    next(reports)
    with pytest.raises(CheckpointError, match="another training saves there"):
        training(tmp_path)
    reports.close()
    run(tmp_path)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_else(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="the folder cannot be written"):
        training(tmp_path / "file")


def test_after_a_refusal_the_folder_is_free_and_so_it_is_after_the_end(tmp_path):
    stopped_after(tmp_path, 2)
    with pytest.raises(Mismatch) as kept:
        run(tmp_path, key=jax.random.key(1))
    assert kept.traceback
    assert not is_locked(tmp_path)
    reports = training(tmp_path)
    next(reports)
    assert is_locked(tmp_path)
    reports.close()
    assert not is_locked(tmp_path)
    run(tmp_path)
    list(training(tmp_path))
    assert not is_locked(tmp_path)


def test_what_is_passed_over_does_not_count_as_new(tmp_path):
    saved = sx.Checkpoints(tmp_path, seconds=0, keep=1)
    stopped_after(saved, 2)
    shutil.copytree(tmp_path / names(tmp_path)[0], tmp_path / "step-000000000029")
    damage(tmp_path, "step-000000000029")
    with pytest.warns(UserWarning, match="going on from step-000000000010"):
        stopped_after(saved, 4)
    assert names(tmp_path) == ["step-000000000020"]
    assert len(list(tmp_path.glob("damaged-step-000000000029-*"))) == 1
    same(run(saved), run(tmp_path / "other"))


def test_what_cannot_be_read_is_passed_over_too(tmp_path, monkeypatch):
    stopped_after(tmp_path, 3)
    newest, read = names(tmp_path)[-1], sx.checkpoint.read_json

    def broken(path):
        if newest in str(path):
            raise OSError(5, "Input/output error")
        return read(path)

    monkeypatch.setattr(sx.checkpoint, "read_json", broken)
    with pytest.warns(UserWarning, match="Input/output error.*going on from step-000000000010"):
        training(tmp_path).close()


def test_a_signal_while_the_last_step_is_saved_is_not_lost(tmp_path):
    def interrupting():
        for report in training(tmp_path, epochs=2):
            if report.stopped:
                os.kill(os.getpid(), signal.SIGINT)
            yield report

    with pytest.raises(KeyboardInterrupt):
        list(interrupting())
    same(run(tmp_path, epochs=2), run(tmp_path / "other", epochs=2))


def test_a_weakly_typed_state_goes_on_as_it_was(tmp_path):
    def init(key, batch):
        return sx.new_state(key, jax.numpy.bfloat16(1), {}, (), {"rate": jax.numpy.asarray(0.1)})

    def step(state, batch, gradient=sx.gradient):
        params = (state.params * (1 + state.extra["rate"])).astype(state.params.dtype)
        return state._replace(params=params, step=state.step + 1), {"loss": params.astype(float)}

    weak = sx.Learner(init, step, lambda *_: {}, lambda *_: None)
    settings = {"learner": weak, "data": sx.generated(3), "batch_size": None, "epochs": 3}
    stopped_after(tmp_path, 1, **settings)
    same(run(tmp_path, **settings), run(tmp_path / "other", **settings))


def test_a_full_disk_is_a_warning_and_the_last_good_one_stays(tmp_path, monkeypatch):
    stopped_after(tmp_path, 2)
    kept = names(tmp_path)[-1]

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sx.checkpoint, "write_json", full)
        with pytest.warns(
            UserWarning, match="checkpoint not saved .* No space left on device; the last one is of step 10"
        ):
            reports = list(training(tmp_path))
    assert reports[-1].stopped == "all epochs done"
    assert names(tmp_path)[-1] == kept
    same(sx.collected(iter(reports), {}), run(tmp_path / "other"))


def test_a_population_goes_on_with_the_best_of_every_lane(tmp_path):
    settings = {"learner": sx.population(LEARNER, 3), "validation": DATA, "patience": 2, "epochs": 8}
    stopped_after(tmp_path, 3, **settings)
    same(run(tmp_path, **settings), run(tmp_path / "other", **settings))


CHILD = """
import sys
import jax, numpy as np
import tests.conftest
import tests.test_saving as t
reports = t.training(t.sx.Checkpoints(sys.argv[1]), epochs=10**6)
for report in reports:
    print("training", flush=True)
"""


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "SIGINT")])
def test_a_signal_ends_it_between_two_steps_and_saves(tmp_path, number, name):
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        cwd=pathlib.Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert f"stopped by {name} after step" in errors
    assert "the same call goes on from there" in errors
    (saved,) = names(tmp_path)
    step = int(saved.split("-")[1])
    assert f"after step {step}, saved" in errors
    reports = training(tmp_path, epochs=10**6)
    assert next(reports).step > step
    reports.close()


def test_data_are_told_apart_by_any_of_the_rows_looked_at():
    big = {"x": np.zeros((5000, 2), np.float32)}
    changed = {"x": big["x"].copy()}
    changed["x"][-1, 1] = 1
    assert fingerprint(big) == fingerprint({"x": np.zeros((5000, 2), np.float32)})
    assert fingerprint(big) != fingerprint(changed)
    assert fingerprint(big) != fingerprint({"x": np.zeros((5000, 2))})
    json.dumps(fingerprint(big))


def test_a_saver_that_is_forgotten_gives_its_folder_back(tmp_path):
    saver = Saver(sx.Checkpoints(tmp_path), {})
    del saver
    Saver(sx.Checkpoints(tmp_path), {}).close()
