"""Optuna proposes, stepax trains: through the real library."""

import operator
import sys

import jax
import numpy as np
import optax
import pytest

import stepax as sx

optuna = pytest.importorskip("optuna", reason="Optuna is not here: it comes with the extra `search`")


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def line(start: int, n: int = 24) -> dict[str, np.ndarray]:
    x = np.random.default_rng(start).uniform(-1, 1, (n, 1)).astype(np.float32)
    return {"x": x, "y": 2 * x[:, 0] + 1}


def linear(rate):
    return sx.supervised(
        sx.nn.MLP((1,)), sx.losses.mean_squared_error, optax.sgd(rate), metrics={"mae": sx.metrics.absolute_error}
    )


def suggest(trial):
    return {"rate": trial.suggest_float("rate", 1e-4, 1.0, log=True)}


def found(**options):
    settings = {"validation": line(1), "key": jax.random.key(0), "epochs": 3, "batch_size": 8, "trials": 4, **options}
    return sx.search_optuna(settings.pop("make", linear), settings.pop("suggest", suggest), line(0), **settings)


def test_trials_are_trainings_sorted_and_repeatable():
    first, second = found(), found()
    assert len(first.trials) == 4
    assert [trial.values for trial in first.trials] == [trial.values for trial in second.trials]
    assert [trial.scores for trial in first.trials] == [trial.scores for trial in second.trials]
    means = [trial.mean for trial in first.trials if trial.pruned is None]
    assert means == sorted(means)
    best = first.trials[0]
    run = sx.fit(
        linear(**best.values),
        line(0),
        key=jax.random.split(jax.random.key(0))[1],
        epochs=3,
        batch_size=8,
        validation=line(1),
        progress=False,
    )
    assert best.mean == run.history["validation/loss"][-1]
    assert best.history["loss"] == run.history["loss"]


def fixed(*rates):
    """A study that tries these rates in turn, and prunes what is worse than the median at once."""
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=0))
    for rate in rates:
        study.enqueue_trial({"rate": rate})
    return study


def test_the_pruner_gives_up_between_two_epochs():
    study = fixed(0.3, 1e-4, 0.4)
    result = found(trials=3, study=study)
    assert [trial.pruned for trial in result.trials] == [None, None, 1]
    hopeless = result.trials[-1]
    assert (hopeless.values, hopeless.history["epoch"]) == ({"rate": 1e-4}, [1])
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert list(study.trials[0].intermediate_values) == [1, 2, 3]


def test_what_is_not_finite_is_given_up():
    def diverging(trial):
        return {"rate": trial.suggest_float("rate", 1e20, 1e30)}

    result = found(trials=1, suggest=diverging)
    assert result.trials[0].pruned == 1
    assert not np.isfinite(result.trials[0].mean)
    with pytest.raises(ValueError, match="best: expected a trial with a finite validation/loss, got none in 1"):
        result.best  # noqa: B018


def test_more_can_be_better():
    result = found(monitor="validation/mae", better=operator.gt)
    whole = [trial.mean for trial in result.trials if trial.pruned is None]
    assert whole == sorted(whole, reverse=True)
    with pytest.raises(ValueError, match="study: expected direction='maximize', as `better` has it, got 'minimize'"):
        found(monitor="validation/mae", better=operator.gt, study=optuna.create_study())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"trials": 0}, ValueError, "trials: expected at least 1"),
        ({"suggest": 3}, TypeError, "suggest: expected a function from an Optuna trial to values, got int"),
        ({"suggest": lambda trial: 3}, TypeError, "suggest: expected a dict of values by name, got 3"),
        ({"monitor": "loss"}, ValueError, "monitor: unknown measure"),
        ({"validation": None}, ValueError, "validation: expected data"),
        ({"make": lambda rate: rate}, TypeError, "learner: expected a stepax.Learner"),
    ],
)
def test_what_cannot_be_searched_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        found(**options)


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'stepax\[search\]'"):
        found()
