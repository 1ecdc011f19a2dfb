"""Exact means over data, whole outputs, and nothing changed by either."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stepax as sx
from stepax import evaluation

N = 11
DATA = {"x": np.linspace(-1, 1, 2 * N, dtype=np.float32).reshape(N, 2), "y": np.arange(N, dtype=np.float32)}


def squares(loss=sx.losses.mean_squared_error):
    """``x w`` for fixed weights, without training."""

    def measure(state, batch, key):
        return sx.reduce(loss(predict(state, batch["x"]), batch), {"first": batch["x"][:, 0]}, batch)

    def predict(state, x):
        return x @ state.params

    return sx.Learner(None, None, measure, predict)


LEARNER = squares()
STATE = sx.new_state(jax.random.key(0), jnp.float32([2, -1]), {}, ())


@pytest.mark.parametrize("size", [1, 4, 11, 256])
@pytest.mark.parametrize("weight", [None, np.linspace(0, 3, N, dtype=np.float32)])
def test_means_are_exact_for_any_batch_size(size, weight):
    data = DATA if weight is None else {**DATA, "weight": weight}
    w = np.ones(N) if weight is None else weight
    result = sx.evaluate(LEARNER, STATE, data, batch_size=size)
    assert {type(value) for value in result.values()} == {float}
    assert result["loss"] == pytest.approx(np.average((DATA["x"] @ [2, -1] - DATA["y"]) ** 2, weights=w), rel=1e-5)
    assert result["first"] == pytest.approx(np.average(DATA["x"][:, 0], weights=w), abs=1e-6)
    assert result["weight"] == pytest.approx(w.sum(), rel=1e-6)


def test_rows_of_weight_zero_may_give_anything():
    data = {
        **DATA,
        "y": np.where(np.arange(N) == 4, 1e30, DATA["y"]).astype(np.float32),
        "weight": np.ones(N, np.float32),
    }
    data["weight"][4] = 0
    kept = np.arange(N) != 4
    expected = ((DATA["x"] @ [2, -1] - DATA["y"]) ** 2)[kept].mean()
    assert sx.evaluate(LEARNER, STATE, data, batch_size=4)["loss"] == pytest.approx(expected, rel=1e-5)


def test_nothing_weighs_nothing():
    data = {**DATA, "weight": np.zeros(N, np.float32)}
    for batches in (data, sx.in_order(data, 4)):
        measured = sx.evaluate(LEARNER, STATE, batches, batch_size=4)
        assert measured.pop("weight") == 0
        assert sorted(measured) == ["first", "loss"]
        assert np.isnan([*measured.values()]).all()  # as in a history


def test_a_population_of_which_one_lane_counts_nothing():
    def measure(state, batch, key):
        return {"loss": state.params, "weight": (state.params > 0) * batch["weight"].sum()}

    single = sx.Learner(lambda key, batch: sx.new_state(key, jnp.float32(0), {}, ()), None, measure, None)
    many = sx.population(single, 2)
    state = many.init(jax.random.key(0), DATA)._replace(params=jnp.float32([0, 3]))
    measured = sx.evaluate(many, state, {**DATA, "weight": np.ones(N, np.float32)}, batch_size=4)
    np.testing.assert_array_equal(measured["loss"], [np.nan, 3])
    np.testing.assert_array_equal(measured["weight"], [0, N])


def test_a_source_is_measured_over_one_epoch():
    whole = sx.evaluate(LEARNER, STATE, DATA)
    source = sx.shuffled(DATA, 3, jax.random.key(1))
    assert sx.evaluate(LEARNER, STATE, source) == pytest.approx(whole, rel=1e-5, abs=1e-6)


def random_measure(state, batch, key):
    return {"loss": jax.random.uniform(key), "weight": jnp.float32(1)}


def test_the_key_of_a_random_measure():
    learner = sx.Learner(None, None, random_measure, None)
    measure = sx.Evaluation(learner, sx.generated(3))
    assert measure(STATE) == measure(STATE)
    keys = [jax.random.fold_in(jax.random.key(9), i) for i in range(3)]
    expected = np.mean([float(jax.random.uniform(key)) for key in keys])
    assert float(measure(STATE, jax.random.key(9))["loss"]) == pytest.approx(expected, rel=1e-6)
    assert float(measure(STATE)["loss"]) != pytest.approx(expected)


def test_no_step_has_the_measures_key():
    seen = []

    def measure(state, batch, key):
        jax.debug.callback(lambda data: seen.append(data.tolist()), jax.random.key_data(key))
        return {"loss": jnp.float32(0), "weight": jnp.float32(1)}

    sx.evaluate(sx.Learner(None, None, measure, None), STATE, sx.generated(1))
    jax.effects_barrier()
    last = jax.random.fold_in(STATE.key, np.uint32(2**32 - 1))
    assert seen == [jax.random.key_data(jax.random.fold_in(last, 0)).tolist()]


def test_equal_shapes_share_one_program(monkeypatch):
    compiled = []
    monkeypatch.setattr(evaluation, "jit", lambda f: compiled.append(f) or jax.jit(f))
    learner = squares()
    for key in (None, jax.random.key(0)):
        sx.evaluate(learner, STATE, DATA, key=key, batch_size=5)
    sx.evaluate(learner, STATE, {**DATA, "y": DATA["y"] + 1}, batch_size=5)
    assert len(compiled) == 1


@pytest.mark.parametrize("count", [1, 2, 3, N])
@pytest.mark.parametrize("size", [2, 256])
def test_predict_has_one_row_per_input(count, size):
    output = sx.predict(LEARNER, STATE, DATA["x"][:count], batch_size=size)
    assert isinstance(output, np.ndarray)
    np.testing.assert_allclose(output, DATA["x"][:count] @ [2, -1], rtol=1e-5, atol=1e-6)


def test_predict_takes_trees_and_gives_them():
    learner = LEARNER._replace(predict=lambda state, x: {"sum": x["a"] + x["b"], "twice": (2 * x["a"],)})
    x = {"a": jnp.arange(5.0), "b": np.ones(5, np.float32)}
    output = sx.predict(learner, STATE, x, batch_size=2)
    np.testing.assert_array_equal(output["sum"], np.arange(5) + 1)
    np.testing.assert_array_equal(output["twice"][0], 2 * np.arange(5))


def test_the_state_stays_as_it_is():
    before = np.array(STATE.params)
    sx.evaluate(LEARNER, STATE, DATA)
    sx.predict(LEARNER, STATE, DATA["x"])
    np.testing.assert_array_equal(STATE.params, before)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((0, 2), np.float32), ValueError, "x is empty"),
        (np.float32([[1, np.nan]]), ValueError, "x holds NaN or inf in 1 of 1 rows"),
        ([[1.0, 2.0]], TypeError, r"x\[0\]\[0\] is of type float"),
    ],
)
def test_bad_inputs_are_refused(x, error, message):
    with pytest.raises(error, match=message):
        sx.predict(LEARNER, STATE, x)
    with pytest.raises(error):
        sx.evaluate(LEARNER, STATE, {"x": x, "y": np.zeros(1, np.float32)})


def classifier(classes=3):
    learner = sx.supervised(sx.nn.MLP((classes,)), sx.losses.cross_entropy, optax.sgd(0.1))
    return learner, learner.init(jax.random.key(0), DATA)


@pytest.mark.parametrize(
    ("y", "message"),
    [(np.arange(N) % 4, r"y: 2 of 11 labels are not in \[0, 3\): the first is 3, in row 3"), (None, "data: .*target")],
)
def test_wrong_labels_are_refused_before_anything_is_compiled(monkeypatch, y, message):
    monkeypatch.setattr(evaluation, "jit", lambda f: pytest.fail)
    data = {"x": DATA["x"]} if y is None else {"x": DATA["x"], "y": y}
    with pytest.raises(ValueError, match=message):
        sx.evaluate(*classifier(), data)


def test_inputs_that_do_not_fit_the_parameters_are_refused():
    with pytest.raises(ValueError, match=r"x: examples of shape \(3,\) do not fit"):
        sx.evaluate(*classifier(), {"x": np.zeros((4, 3)), "y": np.zeros(4, int)})


@pytest.mark.parametrize("data", [(DATA["x"], DATA["y"]), DATA["x"]])
def test_data_that_are_no_dict_are_refused(data):
    with pytest.raises(TypeError, match=r'data: expected a dict of arrays such as \{"x": …, "y": …\}, got'):
        sx.evaluate(LEARNER, STATE, data)


def test_a_dict_for_a_model_of_one_array_is_refused():
    for learner, state in (classifier(), (LEARNER, STATE)):
        with pytest.raises(TypeError, match=r"""x: the model cannot take a dict with \['x', 'y'\]; .* data\["x"\]"""):
            sx.predict(learner, state, DATA)
    taken = LEARNER._replace(predict=lambda state, x: x["x"] @ state.params + x["y"])
    assert sx.predict(taken, STATE, DATA).shape == (N,)


@pytest.mark.parametrize("call", [sx.evaluate, sx.predict])
def test_what_is_no_learner_or_state_is_refused(call):
    with pytest.raises(TypeError, match=r"learner: expected a stepax.Learner, .* got MLP"):
        call(sx.nn.MLP((2,)), STATE, DATA)
    with pytest.raises(TypeError, match=r"state: expected a stepax.State, .* got ArrayImpl"):
        call(LEARNER, STATE.params, DATA)


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_of_nothing_is_refused(size):
    with pytest.raises(ValueError, match="batch_size: expected at least 1"):
        sx.evaluate(LEARNER, STATE, DATA, batch_size=size)
    with pytest.raises(ValueError, match="batch_size: expected at least 1"):
        sx.predict(LEARNER, STATE, DATA["x"], batch_size=size)


@pytest.mark.parametrize("wrapped", [dict, lambda data: sx.in_order(data, 4)])
def test_the_state_of_another_number_of_lanes_is_refused(wrapped):
    single = sx.supervised(sx.nn.MLP((3,)), sx.losses.cross_entropy, optax.sgd(0.1))
    many = sx.population(single, 2)
    data = {"x": DATA["x"], "y": np.zeros(N, np.int32)}
    one, two = (learner.init(jax.random.key(0), data) for learner in (single, many))
    message = r"state: this is the state of 2 lanes, .* single one; take one with stepax.lane\(state, k\)"
    with pytest.raises(ValueError, match=message):
        sx.evaluate(single, two, wrapped(data))
    with pytest.raises(ValueError, match=message):
        sx.predict(single, two, data["x"])
    for call in (lambda: sx.evaluate(many, one, wrapped(data)), lambda: sx.predict(many, one, data["x"])):
        with pytest.raises(ValueError, match="state: this is the state of a single model, and the learner has 2 lanes"):
            call()
    assert sx.evaluate(single, sx.lane(two, 1), wrapped(data))["weight"] == N
