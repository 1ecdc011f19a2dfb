"""Searches over points whose outcome can be worked out, and what their trials hold."""

import operator

import jax
import numpy as np
import optax
import pytest
from flax import linen

import stepax as sx
from stepax import searching
from stepax.searching import Trial, sorted_trials

KEY = jax.random.key(0)


def line(start: int, n: int = 24) -> dict[str, np.ndarray]:
    x = np.random.default_rng(start).uniform(-1, 1, (n, 1)).astype(np.float32)
    return {"x": x, "y": 2 * x[:, 0] + 1}


def linear(rate, width=None, decay=0.0):
    features = (1,) if width is None else (width, 1)
    return sx.supervised(
        sx.nn.MLP(features),
        sx.losses.mean_squared_error,
        optax.chain(optax.add_decayed_weights(decay), optax.sgd(rate)),
        metrics={"mae": sx.metrics.absolute_error},
    )


def found(space, **options):
    settings = {"validation": line(1), "key": KEY, "epochs": 4, "batch_size": 8, **options}
    return sx.search(settings.pop("make", linear), space, line(0), **settings)


def test_given_points_come_back_sorted_and_the_best_is_the_first():
    result = found({"rate": [1e-4, 0.3, 1e-2, 30.0]})
    assert [trial.values["rate"] for trial in result.trials] == [0.3, 1e-2, 1e-4, 30.0]
    assert (result.best, result.monitor) == ({"rate": 0.3}, "validation/loss")
    assert all(trial.mean == trial.history["validation/loss"][-1] for trial in result.trials[:3])
    assert result.trials[0].history["epoch"] == [1, 2, 3, 4]
    assert all(isinstance(value, float) for value in result.trials[0].history["loss"])


def test_each_point_is_the_training_of_its_own_values():
    rates = [0.05, 0.3]
    result = found({"rate": rates}, seeds=2)
    data_key = jax.random.fold_in(jax.random.split(KEY)[1], 0)
    # The lanes of one sweep: each rate twice, from four keys.
    many = sx.sweep(linear, rate=[0.05, 0.05, 0.3, 0.3])
    run = sx.fit(many, line(0), key=data_key, epochs=4, batch_size=8, validation=line(1), progress=False)
    last = run.history["validation/loss"][-1]
    by_rate = {trial.values["rate"]: trial for trial in result.trials}
    assert by_rate[0.05].scores == last[:2]
    assert by_rate[0.3].scores == last[2:]
    assert by_rate[0.3].mean == np.mean(last[2:])
    assert by_rate[0.3].deviation == np.std(last[2:]) > 0
    assert by_rate[0.3].history["loss"] == [row[2:] for row in run.history["loss"]]


def test_shapes_and_choices_of_python_train_one_after_the_other(monkeypatch):
    sizes = []

    def counted(learner, data, **settings):
        run = fit(learner, data, **settings)
        sizes.append(len(run.history["loss"][0]))
        return run

    fit = searching.fit
    monkeypatch.setattr(searching, "fit", counted)
    points = sx.grid(rate=[0.1, 0.2, 0.3], width=[4, 8])
    result = found(points, epochs=1)
    assert sizes == [3, 3]  # one program for each width, with all rates side by side
    assert len(result.trials) == 6
    sizes.clear()
    found({"rate": [0.1, 0.2, 0.3]}, epochs=1, lanes=2, seeds=2)
    assert sizes == [4, 2]
    sizes.clear()
    activations = {"activation": [linen.relu, linen.tanh], "bias": [True, False]}

    def make(activation, bias):
        model = linen.Sequential([linen.Dense(4, use_bias=bias), activation, linen.Dense(1)])
        return sx.supervised(model, sx.losses.mean_squared_error, optax.sgd(0.1))

    assert "tanh" in str(found(activations, make=make, epochs=1, seeds=2))
    assert sizes == [2, 2]


def test_random_points_cover_every_axis_evenly_and_depend_on_the_key_alone():
    space = {"rate": sx.log_uniform(1e-3, 1e-1), "decay": sx.uniform(0.0, 0.1), "width": sx.choice(2, 3)}
    drawn = [searching._settings(space, 10, jax.random.key(seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    # One in each fifth of a power of ten.
    rates = np.sort([point["rate"] for point in drawn[0]])
    assert np.floor((np.log10(rates) + 3) * 5).astype(int).tolist() == list(range(10))
    decays = np.sort([point["decay"] for point in drawn[0]])
    assert np.floor(decays * 100).astype(int).tolist() == list(range(10))
    assert [point["width"] for point in drawn[0]].count(2) == 5
    result = found(space, points=3, epochs=1)
    assert [trial.values for trial in result.trials] != drawn
    assert {trial.values["width"] for trial in result.trials} == {2, 3}


def test_more_can_be_better():
    assert found({"rate": [1e-3, 0.3]}, monitor="validation/mae", better=operator.gt).best == {"rate": 1e-3}


def test_sources_will_do():
    source = sx.in_order(line(1), 8)
    assert found({"rate": [1e-3, 0.3]}, validation=source).best == {"rate": 0.3}


def trial(name, mean, pruned=None):
    return Trial({"name": name}, [mean], mean, 0.0, {}, pruned)


def test_what_is_not_finite_is_last_and_before_it_what_was_given_up():
    trials = [trial("nan", np.nan), trial("b", 2.0), trial("early", 0.5, 1), trial("inf", np.inf, 1), trial("a", 1.0)]
    assert [t.values["name"] for t in sorted_trials(trials, operator.lt)] == ["a", "b", "early", "nan", "inf"]
    assert [t.values["name"] for t in sorted_trials(trials, operator.gt)] == ["b", "a", "early", "nan", "inf"]


def test_where_nothing_is_finite_there_is_no_best():
    result = found({"rate": [1e20, 1e21]})
    assert "nan" in str(result)  # the table and the histories are there
    assert len(result.trials[0].history["loss"]) == 4
    with pytest.raises(ValueError, match="best: expected a trial with a finite validation/loss, got none in 2"):
        result.best  # noqa: B018
    assert sx.Search((trial("a", 1.0), trial("b", np.nan)), "loss", {"name": "a"}).best == {"name": "a"}


def test_the_table_lines_up():
    lines = str(found({"rate": [0.3, 1e-2], "width": [4, 4]}, seeds=2)).splitlines()
    assert lines[0].split() == ["place", "rate", "width", "validation/loss", "±", "sd"]
    assert [line.split()[:3] for line in lines[1:]] == [["1", "0.3", "4"], ["2", "0.01", "4"]]
    pruned = sx.Search((trial("x", 1.0), trial("y", 2.0, 3)), "validation/loss", {"name": "x"})
    assert str(pruned).splitlines()[2].endswith("given up after epoch 3")


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: sx.uniform(1, 1), "low: expected two finite numbers with low < high"),
        (lambda: sx.log_uniform(0, 1), "low: expected 0 < low < high, got low=0 and high=1"),
        (lambda: sx.choice(), "values: expected at least one, got none"),
    ],
)
def test_draws_of_nothing_are_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


@pytest.mark.parametrize(
    ("space", "options", "error", "message"),
    [
        ({}, {}, ValueError, "space: expected values by name"),
        ({"rate": [0.1], "decay": [0.1, 0.2]}, {}, ValueError, "expected lists of one length"),
        ({"rate": [0.1], "decay": sx.uniform(0, 1)}, {}, ValueError, "'decay' are drawn and 'rate' given"),
        ({"rate": 0.1}, {}, ValueError, "space: expected a list of values for 'rate'"),
        ({"rate": [0.1]}, {"points": 0}, ValueError, "points: expected at least 1"),
        ({"rate": [0.1]}, {"seeds": 0}, ValueError, "seeds: expected at least 1"),
        ({"rate": [0.1]}, {"validation": None}, ValueError, "validation: expected data"),
        ({"rate": [0.1]}, {"monitor": "loss"}, ValueError, "known are 'validation/loss', 'validation/mae'"),
        ({"rate": [0.1]}, {"monitor": "validation/mae"}, ValueError, "better: nothing says whether more or less"),
        ({"rate": [0.1]}, {"make": 3}, TypeError, "make: expected a function that makes a learner"),
        ({"rate": [0.1]}, {"make": lambda rate: rate}, TypeError, "learner: expected a stepax.Learner"),
        ({"rate": [0.1]}, {"key": 0}, TypeError, "key: expected a typed key"),
        ({"speed": [0.1]}, {}, TypeError, "unexpected keyword argument 'speed'"),
    ],
)
def test_what_cannot_be_searched_is_refused(space, options, error, message):
    with pytest.raises(error, match=message):
        found(space, **options)
