"""The generator behind ``fit``: what it reports between two chunks of steps, also of populations."""

import jax
import numpy as np
import optax
import pytest
from tests.transforms.learners import batch_of, mlp

import stepax as sx

DATA = batch_of(20)
SETTINGS = {"key": jax.random.key(0), "epochs": 4, "batch_size": 6}


def test_reports_tell_every_step_and_every_epoch():
    reports = list(sx.training(mlp(), DATA, **SETTINGS))
    assert sum(len(report.metrics["loss"]) for report in reports) == reports[-1].step == reports[-1].total == 16
    rows = [report.row for report in reports if report.row]
    assert [row["step"] for row in rows] == [4, 8, 12, 16]
    assert reports[-1].rows == rows
    assert [report.stopped for report in reports if report.stopped] == ["all epochs done"]


def test_a_population_has_a_history_for_every_lane():
    run = sx.fit(sx.population(mlp(), 3), DATA, validation=DATA, progress=False, **SETTINGS)
    assert np.shape(run.history["loss"]) == np.shape(run.history["validation/loss"]) == (4, 3)
    assert run.history["epoch"] == [1, 2, 3, 4]
    measured = sx.evaluate(sx.population(mlp(), 3), run.state, DATA)
    np.testing.assert_allclose(run.history["validation/loss"][-1], measured["loss"], 1e-6)


def test_early_stopping_in_a_population_is_that_of_the_single_trainings(x64):
    # The orders of data are the population's, so the single trainings take all rows at once.
    noisy = {**batch_of(20, seed=1), "y": np.random.default_rng(2).integers(0, 3, 20).astype(np.int32)}
    settings = {"epochs": 30, "batch_size": None, "validation": noisy, "patience": 3, "progress": False}
    learner = mlp((20, 3), optimizer=optax.sgd(2.0))
    many = sx.fit(sx.population(learner, 4), DATA, key=jax.random.key(3), **settings)
    best = many.record["best"]
    assert len(set(best["epoch"])) > 1
    starts = jax.random.split(jax.random.split(jax.random.key(3))[0], 4)
    for k, start in enumerate(starts):
        state = learner.init(start, DATA)
        single = sx.fit(learner, DATA, key=jax.random.key(3), state=state, **settings)
        assert single.record["best"]["epoch"] == best["epoch"][k]
        own = sx.lane(many.state, k).params
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-5), own, single.state.params)


def test_patience_of_a_population_may_watch_the_training_itself():
    learner = sx.sweep(lambda rate: mlp(optimizer=optax.sgd(rate)), rate=[0.1, -0.1])
    many = {**SETTINGS, "epochs": 6, "batch_size": None, "patience": 2, "monitor": "loss"}
    last = list(sx.training(learner, DATA, **many))[-1]
    assert last.found["epoch"] == [6, 1]  # uphill every epoch is worse
    with pytest.raises(ValueError, match="patience: 2 epochs without improvement need validation data"):
        sx.training(learner, DATA, **{**many, "monitor": "validation/loss"})


def test_a_dead_lane_does_not_end_the_others():
    learner = sx.sweep(lambda rate: sx.guard(mlp(optimizer=optax.sgd(rate)), 3), rate=[0.1, 1e38])
    run = sx.fit(learner, DATA, progress=False, **SETTINGS)
    skipped = run.state.extra["guard"]["skipped"]
    assert skipped[0] == 0
    assert skipped[1] > 3
    dead = sx.sweep(lambda rate: sx.guard(mlp(optimizer=optax.sgd(rate)), 3), rate=[1e38, 1e38])
    with pytest.raises(sx.NotFinite, match="steps in a row were not finite"):
        sx.fit(dead, DATA, progress=False, **SETTINGS)
