"""``fit`` by hand numbers, as a loop over ``epochs``, and everything that it refuses before it compiles."""

import importlib
import operator
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stepax as sx
from stepax import checks

KEY = jax.random.key(0)


def fit(learner, data, **settings):
    return sx.fit(learner, data, **{"key": KEY, "epochs": 2, "batch_size": 4, "progress": False, **settings})


def same_bits(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for (path, a), b in zip(jax.tree_util.tree_flatten_with_path(first)[0], jax.tree.leaves(second), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))


PLANE = sx.Model(
    lambda key, x: ({"w": jnp.zeros(x.shape[-1])}, {}),
    lambda params, variables, x, *, train, key: (x @ params["w"], variables),
)


def plane(rate=0.1, **metrics):
    return sx.supervised(PLANE, sx.losses.mean_squared_error, optax.sgd(rate), metrics=metrics)


def regression(n=10):
    x = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    return {"x": x, "y": (x @ [1, -2, 3] + 1).astype(np.float32)}


def walk(tracing=0.0):
    """Its parameter counts the steps, and its loss on validation data is smallest after six."""

    def init(key, batch):
        return sx.new_state(key, jnp.float32(0), {}, ())

    def step(state, batch, gradient=sx.gradient):
        time.sleep(tracing)
        return state._replace(params=state.params + 1, step=state.step + 1), {"loss": -state.params}

    def evaluate(state, batch, key):
        return {"loss": jnp.abs(state.params - 6), "height": -jnp.abs(state.params - 4), "weight": jnp.float32(1)}

    return sx.Learner(init, step, evaluate, lambda state, x: x)


# Numbers


def test_ten_thousand_examples_in_hundreds_are_a_hundred_steps_an_epoch():
    run = fit(plane(0.01), regression(10_000), batch_size=100)
    assert run.history["step"] == [100, 200]
    assert run.history["epoch"] == [1, 2]
    assert run.state.step == 200
    assert run.record["steps"] == 200
    assert 0 < run.history["seconds"][0] < run.history["seconds"][1]
    assert set(run.history) == {"epoch", "step", "seconds", "loss"}


def test_without_a_batch_size_it_is_gradient_descent_on_all_the_data():
    data = regression()
    w, losses = np.zeros(3), []
    for _ in range(3):
        error = data["x"] @ w - data["y"]
        losses.append((error**2).mean())
        w = w - 0.1 * 2 * data["x"].T @ error / len(error)
    run = fit(plane(), data, epochs=3, batch_size=None)
    np.testing.assert_allclose(run.state.params["w"], w, rtol=1e-5)
    np.testing.assert_allclose(run.history["loss"], losses, rtol=1e-5)


def test_every_example_counts_once_also_in_the_last_batch_and_by_its_weight():
    # Ones with a rate of 0: the history's loss is the mean of y², whatever the batches.
    data = {"x": np.ones((7, 1), np.float32), "y": np.arange(7, dtype=np.float32)}
    assert fit(plane(0.0), data, epochs=1, batch_size=3).history["loss"] == pytest.approx([91 / 7])
    weighted = {**data, "weight": np.float32([0, 1, 0, 0, 3, 0, 0])}
    assert fit(plane(0.0), weighted, epochs=1, batch_size=3).history["loss"] == pytest.approx([49 / 4])


def test_a_schedule_is_that_of_optax():
    # y = 0, x = 1, w from 1 on: each step multiplies w by 1 - 2 · rate, and rates are 0.4, 0.3, 0.2, 0.1, 0.
    one = PLANE._replace(init=lambda key, x: ({"w": jnp.ones(1)}, {}))
    optimizer = optax.inject_hyperparams(optax.sgd)(optax.linear_schedule(0.4, 0.0, 4))
    learner = sx.supervised(one, sx.losses.mean_squared_error, optimizer)
    run = fit(learner, {"x": np.ones((4, 1), np.float32), "y": np.zeros(4, np.float32)}, epochs=5)
    np.testing.assert_allclose(run.history["learning_rate"], [0.4, 0.3, 0.2, 0.1, 0], atol=1e-6)
    np.testing.assert_allclose(run.state.params["w"], [0.2 * 0.4 * 0.6 * 0.8], rtol=1e-5)
    np.testing.assert_allclose(run.history["loss"], np.cumprod([1, 0.2, 0.4, 0.6, 0.8]) ** 2, rtol=1e-5)


# One loop


@pytest.fixture(scope="module")
def network():
    """Everything that a run could disturb: dropout, statistics, an optimizer with memory, a last batch to fill up."""
    learner = sx.supervised(sx.nn.MLP((4, 2), normalize=True, dropout=0.3), sx.losses.cross_entropy, optax.adam(0.05))
    data = {**regression(), "y": np.arange(10, dtype=np.int32) % 2}
    return learner, data, fit(learner, data)


def test_a_loop_by_hand_gives_the_same_bits(network):
    learner, data, run = network
    learner_key, data_key = jax.random.split(KEY)
    source = sx.shuffled(data, 4, data_key)
    first = jax.jit(lambda key, order: learner.init(key, source.take(order, 0)))(learner_key, source.order(0))
    for state, _ in sx.epochs(learner, source, first):
        if state.step == 6:
            break
    same_bits(state, run.state)


def test_validation_changes_no_bit(network):
    learner, data, run = network
    watched = fit(learner, data, validation={"x": data["x"][:5] + 3, "y": data["y"][:5]})
    same_bits(watched.state, run.state)
    assert watched.history["loss"] == run.history["loss"]
    assert len(watched.history["validation/loss"]) == 2
    last = sx.evaluate(learner, watched.state, {"x": data["x"][:5] + 3, "y": data["y"][:5]})
    assert watched.history["validation/loss"][-1] == pytest.approx(last["loss"])
    assert "validation/weight" not in watched.history


def test_a_run_goes_on_to_the_same_bits(network):
    learner, data, run = network
    half = fit(learner, data, epochs=1)
    rest = fit(learner, data, epochs=2, state=half.state)
    same_bits(rest.state, run.state)
    assert rest.history["epoch"] == [2]
    assert rest.history["loss"] == run.history["loss"][1:]
    assert half.state.step == 3  # the given state stays valid


def test_a_run_that_is_done_already_is_refused(network):
    learner, data, run = network
    with pytest.raises(ValueError, match="epochs: the state has made 6 steps already, and 2 epochs are 6"):
        fit(learner, data, state=run.state)


def test_the_same_key_gives_the_same_bits_and_another_key_others(network):
    learner, data, run = network
    same_bits(fit(learner, data).state, run.state)
    other = fit(learner, data, key=jax.random.key(1))
    assert other.record["parameters"] != run.record["parameters"]


def test_the_record(network):
    _, _, run = network
    assert set(run.record) == {"settings", "steps", "stopped", "seconds", "parameters"}
    assert run.record["settings"] == {"epochs": 2, "batch_size": 4, "patience": None, "monitor": None, "key": [0, 0]}
    assert run.record["stopped"] == "all epochs done"
    assert run.record["parameters"] == sx.record.parameter_hash(run.state.params)
    assert set(run.record["seconds"]) == {"compile", "run"}


def test_compiling_and_running_are_timed_apart():
    # Tracing takes long here, and running nothing.
    run = fit(walk(tracing=0.3), sx.generated(2), validation=sx.generated(1))
    assert run.record["seconds"]["compile"] >= 0.6
    assert run.record["seconds"]["run"] == run.history["seconds"][-1] < 0.6


def test_the_last_report_of_a_training_is_what_fit_returns(network):
    learner, data, run = network
    reports = list(sx.training(learner, data, key=KEY, epochs=2, batch_size=4))
    assert [report.row["epoch"] for report in reports if report.row] == [1, 2]
    assert [report.step for report in reports if report.row] == [3, 6]
    assert {report.total for report in reports} == {6}
    assert [report.stopped for report in reports][-1] == "all epochs done"
    same_bits(reports[-1].state, run.state)
    assert sum(len(report.metrics["loss"]) for report in reports) == 6


def test_a_source_and_a_learner_that_makes_its_own_data():
    run = fit(walk(), sx.generated(3), epochs=4, batch_size=None)
    assert run.state.params == 12
    assert run.history["step"] == [3, 6, 9, 12]
    assert run.history["loss"] == [-1, -4, -7, -10]


# Early stopping


def test_early_stopping_returns_the_best_state():
    run = fit(walk(), sx.generated(2), validation=sx.generated(1), patience=2, epochs=9)
    assert run.history["validation/loss"] == [4, 2, 0, 2, 4]
    assert run.state.params == 6
    assert run.state.step == 6
    assert run.record["stopped"] == "validation/loss has not improved for 2 epochs"
    assert run.record["steps"] == 10


def test_early_stopping_of_what_should_grow():
    settings = {"validation": sx.generated(1), "patience": 1, "epochs": 9, "monitor": "validation/height"}
    run = fit(walk(), sx.generated(2), better=operator.gt, **settings)
    assert run.history["validation/height"] == [-2, 0, -2]
    assert run.state.params == 4
    assert run.record["settings"]["monitor"] == "validation/height"


def test_patience_that_is_never_used_up_returns_the_best_all_the_same():
    run = fit(walk(), sx.generated(2), validation=sx.generated(1), patience=9, epochs=5)
    assert run.record["stopped"] == "all epochs done"
    assert (run.state.params, run.record["steps"]) == (6, 10)


def test_anything_is_better_than_nan():
    def evaluate(state, batch, key):
        loss = jnp.where(state.params < 3, jnp.nan, state.params)
        return {"loss": loss, "weight": jnp.float32(1)}

    run = fit(walk()._replace(evaluate=evaluate), sx.generated(2), validation=sx.generated(1), patience=2, epochs=9)
    assert run.state.params == 4


def test_a_measure_that_is_nan_for_ever_does_not_improve():
    never_better = walk()._replace(evaluate=lambda *_: {"loss": jnp.float32(jnp.nan), "weight": jnp.float32(1)})
    for better in (None, lambda new, best: not new >= best):
        settings = {"validation": sx.generated(1), "patience": 2, "epochs": 9, "better": better}
        run = fit(never_better, sx.generated(2), **settings)
        assert (run.state.params, run.record["steps"]) == (2, 6)
        assert run.record["stopped"] == "validation/loss has not improved for 2 epochs"


@pytest.mark.parametrize("validation", [sx.generated(1), regression(4)])
@pytest.mark.parametrize("monitor", ["validation/hight", "lost", "validation/weight", "weight", "epoch"])
def test_an_unknown_monitor_is_named(never, validation, monitor):
    known = "known are 'validation/height', 'validation/loss', 'loss'(;|$)"
    with pytest.raises(ValueError, match=f"monitor: unknown measure {monitor!r}: {known}"):
        fit(walk(), sx.generated(1), validation=validation, patience=1, monitor=monitor)


def test_what_is_better_is_told_by_the_name_of_a_loss_alone(never):
    settings = {"validation": sx.generated(1), "patience": 1, "monitor": "validation/height"}
    with pytest.raises(ValueError, match=r"better: .*'validation/height'.* pass better=operator\.gt"):
        fit(walk(), sx.generated(1), **settings)


def test_the_training_loss_may_be_monitored():
    run = fit(walk(), sx.generated(1), validation=sx.generated(1), patience=1, monitor="loss", better=operator.gt)
    assert run.state.params == 1


def test_a_measure_of_the_training_needs_no_validation():
    run = fit(walk(), sx.generated(1), patience=1, epochs=9, monitor="loss", better=operator.gt)
    assert (run.state.params, run.record["stopped"]) == (1, "loss has not improved for 1 epochs")
    # The error shrinks from epoch to epoch, and its gradient with it.
    settings = {"patience": 2, "epochs": 3, "batch_size": None}
    run = fit(sx.watch(plane()), regression(), monitor="gradient_norm", better=operator.lt, **settings)
    assert run.record["best"] == {"epoch": 3, "gradient_norm": run.history["gradient_norm"][-1]}
    assert fit(plane(), regression(), monitor="loss", **settings).record["best"]["epoch"] == 3


# What is refused, before anything compiles


@pytest.fixture
def never(monkeypatch):
    """Fails where anything is compiled through the one place that does it."""

    def compile(*arguments):
        raise AssertionError("compiled")

    monkeypatch.setattr("stepax.compile.Program.compile", compile)
    monkeypatch.setattr(importlib.import_module("stepax.reports"), "jit", lambda function: compile)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"key": 0}, TypeError, "key: expected a typed key such as jax.random.key"),
        ({"key": np.uint32([0, 1])}, TypeError, "key: expected a typed key"),
        ({"key": jax.random.split(KEY)}, ValueError, "key: expected one key"),
        ({"epochs": 0}, ValueError, "epochs: expected at least 1, got 0"),
        ({"epochs": 1.5}, TypeError, "epochs: expected a whole number"),
        ({"batch_size": 0}, ValueError, "batch_size: expected at least 1"),
        ({"batch_size": True}, TypeError, "batch_size: expected a whole number"),
        ({"patience": 2}, ValueError, "patience: .*validation=None"),
        ({"patience": 2, "monitor": "validation/mae"}, ValueError, "patience: .*validation=None"),
        ({"patience": 2, "monitor": "los"}, ValueError, "monitor: unknown measure 'los': known are 'loss'"),
        ({"patience": 0, "validation": regression()}, ValueError, "patience: expected at least 1"),
    ],
)
def test_settings(never, settings, error, message):
    with pytest.raises(error, match=message):
        fit(plane(), regression(), **settings)


def changed(**fields):
    return {**regression(), **{name: np.asarray(field) for name, field in fields.items()}}


def holed(value):
    x = regression()["x"]
    x[[3, 7], 1] = value
    return changed(x=x)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (holed(np.nan), ValueError, r'\["x"\] holds NaN or inf in 2 of 10 rows, the first of them row 3'),
        (holed(-np.inf), ValueError, r'\["x"\] holds NaN or inf in 2 of 10 rows'),
        (changed(y=np.zeros(9)), ValueError, r'\["y"\] has 9 rows, but .*\["x"\] has 10'),
        ({"x": np.zeros((0, 3)), "y": np.zeros(0)}, ValueError, "is empty"),
        ({}, ValueError, "holds no arrays"),
        (changed(y=["a"] * 10), TypeError, r'\["y"\] has dtype <U1'),
        (changed(y=np.zeros((10, 2))), ValueError, "y: its shape .* does not match"),
        ({"x": regression()["x"]}, ValueError, 'expected a target under the name "y", got one with'),
    ],
)
@pytest.mark.parametrize("name", ["data", "validation"])
def test_data(never, data, error, message, name):
    given = {"data": regression(), "validation": regression(), name: data}
    with pytest.raises(error, match=message) as caught:
        fit(plane(), given["data"], validation=given["validation"])
    assert name in str(caught.value) + "".join(getattr(caught.value, "__notes__", []))


@pytest.mark.parametrize("data", [(regression()["x"], regression()["y"]), regression()["x"], None])
def test_data_that_are_no_dict(never, data):
    with pytest.raises(TypeError, match=r'data: expected a dict of arrays such as \{"x": …, "y": …\}, got'):
        fit(plane(), data)
    if data is not None:
        with pytest.raises(TypeError, match="validation: expected a dict of arrays"):
            fit(plane(), regression(), validation=data)


def test_a_model_is_no_learner_and_parameters_are_no_state(never):
    with pytest.raises(TypeError, match=r"learner: expected a stepax\.Learner, .*supervised.*, got MLP"):
        fit(sx.nn.MLP((2,)), regression())
    with pytest.raises(TypeError, match=r"state: expected a stepax\.State, such as run\.state, got dict"):
        fit(plane(), regression(), state={"w": np.zeros(3)})


def test_a_state_of_other_lanes_is_refused(never):
    many = sx.population(plane(), 2)
    one, two = (learner.init(KEY, regression()) for learner in (plane(), many))
    message = r"state: .* 2 lanes, .* single one; take one with stepax.lane\(state, k\)"
    for data, size in ((regression(), 4), (sx.in_order(regression(), 4), None)):
        with pytest.raises(ValueError, match=message):
            fit(plane(), data, batch_size=size, state=two)
        with pytest.raises(ValueError, match="state: this is the state of a single model, and the learner has 2 lanes"):
            fit(many, data, batch_size=size, state=one)


def test_a_loss_or_metric_that_pairs_examples_is_refused(never):
    def outer(output, batch):
        with jax.numpy_rank_promotion("allow"):
            return (output[:, None] - batch["y"]) ** 2

    for learner in (sx.supervised(PLANE, outer, optax.sgd(0.1)), plane(pairs=outer)):
        for data, size in ((regression(), 10), (sx.in_order(regression(), 4), 4)):
            with pytest.raises(ValueError, match=rf"(loss|pairs): .* got shape \({size}, {size}\) from an output of"):
                fit(learner, data)


def test_data_are_looked_at_once(monkeypatch):
    seen = []
    monkeypatch.setattr(checks, "check", lambda data, name="data", real=checks.check: seen.append(name) or real(data))
    fit(plane(), regression(), validation=regression(4))
    assert seen == ["data", "validation"]


def test_complex_numbers_are_refused(never):
    with pytest.raises(TypeError, match="output: expected real numbers, got complex64"):
        fit(plane(), changed(x=regression()["x"].astype(np.complex64)))


def test_data_without_x(never):
    with pytest.raises(ValueError, match="data: the learner reads the field 'x', and there are only"):
        fit(plane(), {"y": np.zeros(4, np.float32)})


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([0, 1, 2] * 3 + [3], ValueError, r"y: 1 of 10 labels are not in \[0, 3\): the first is 3, in row 9"),
        ([0, -1] * 5, ValueError, "y: 5 of 10 labels .* the first is -1, in row 1"),
        (np.zeros(10, np.float32), TypeError, "y: expected labels of an integer dtype, got float32"),
    ],
)
@pytest.mark.parametrize("name", ["data", "validation"])
def test_labels(never, y, error, message, name):
    learner = sx.supervised(sx.nn.MLP((3,)), sx.losses.cross_entropy, optax.sgd(0.1))
    good = changed(y=np.arange(10) % 3)
    given = {"data": good, "validation": good, name: changed(y=y)}
    with pytest.raises(error, match=message) as caught:
        fit(learner, given["data"], validation=given["validation"])
    assert caught.value.__notes__[-1] == f"(found in the argument {name!r}, before compiling)"


@pytest.mark.parametrize("loss", [lambda o, b: jnp.mean(o - b["y"]), lambda o, b: (o - b["y"])[None]])
def test_losses_that_were_reduced_or_turned(never, loss):
    with pytest.raises(ValueError, match=r"loss: expected one value per example, of shape \[10, …\]"):
        fit(sx.supervised(PLANE, loss, optax.sgd(0.1)), regression())


def test_a_batch_larger_than_the_data_warns_the_caller():
    with pytest.warns(UserWarning, match="batch_size: 99 is more than the 10 examples") as caught:
        run = fit(plane(), regression(), batch_size=99)
    assert run.history["step"] == [1, 2]
    assert caught[0].filename == __file__
