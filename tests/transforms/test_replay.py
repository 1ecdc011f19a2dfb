"""Which operation was it? Of steps that are made to fail in a known place."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.transforms.learners import batch_of, cnn, mlp, start

import stepax as sx


def failing(loss):
    return sx.supervised(sx.nn.MLP((4, 3)), loss, optax.sgd(0.1))


def root_of_negative(output, batch):
    return jnp.sqrt(output[:, 0] * 0 - 1)


def root_in_a_loop(output, batch):
    return jax.lax.fori_loop(0, 3, lambda i, values: jnp.sqrt(values - 1), output[:, 0] * 0 + 1)


def exponential(output, batch):
    return jnp.exp(output[:, 0] * 0 + 100)


@pytest.mark.parametrize(
    ("loss", "operation"),
    [
        (root_of_negative, "sqrt, "),
        (root_in_a_loop, "sqrt, "),
        (exponential, "exp, "),
    ],
)
@pytest.mark.parametrize("transform", [lambda learner: learner, sx.guard, lambda learner: sx.population(learner, 2)])
def test_the_operation_is_named_with_its_line(loss, operation, transform):
    learner, data = transform(failing(loss)), batch_of(6)
    found = sx.replay(learner, start(learner, data), data)
    assert found.startswith(operation)
    assert "test_replay.py" in found


@pytest.mark.parametrize("learner", [mlp(), cnn(optax.sgd(0.1)), sx.guard(mlp(dropout=0.2))])
def test_of_a_finite_step_there_is_nothing_to_tell(learner):
    data = batch_of(6, (6, 6, 1))
    assert sx.replay(learner, start(learner, data), data) == ""


def test_a_training_that_ends_tells_where_and_can_be_replayed():
    data = batch_of(20)
    data["x"][7, 2] = -1e30  # its square is too large

    def loss(output, batch):
        return sx.losses.cross_entropy(output, batch) + (batch["x"] ** 2).sum(-1) * output[:, 0]

    learner = sx.guard(failing(loss), 1)
    with pytest.raises(sx.NotFinite) as raised:
        sx.fit(learner, data, key=jax.random.key(0), epochs=2, batch_size=4, progress=False)
    error = raised.value
    assert error.position == divmod(error.step, 5)
    assert int(error.state.step) == error.step
    assert (error.batch["x"] == -1e30).sum() == 1
    again, _ = jax.jit(learner.step)(error.state._replace(step=jnp.int32(error.step)), error.batch)
    assert again.extra["guard"]["at"] == error.step
    np.testing.assert_array_equal(again.params["head"]["kernel"], error.state.params["head"]["kernel"])
    assert sx.replay(learner, error.state, error.batch).startswith("integer_pow, ")


def test_a_model_is_no_learner_and_no_state_is_refused():
    with pytest.raises(TypeError, match="learner: expected"):
        sx.replay(sx.nn.MLP((3,)), None, batch_of(3))
    with pytest.raises(TypeError, match=r"state: expected .* got None"):
        sx.replay(mlp(), None, batch_of(3))


def test_of_a_mask_over_everything_the_nan_is_named():
    def loss(output, batch):
        hidden = jnp.where(jnp.zeros(output.shape, bool), output, -jnp.inf)
        return jax.nn.softmax(hidden)[:, 0]

    learner, data = failing(loss), batch_of(6)
    assert "sub, " in sx.replay(learner, start(learner, data), data)


def broken(data, name, index, value):
    data = {field: np.array(array) for field, array in data.items()}
    data[name][index] = value
    return data


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("transform", [sx.guard, lambda learner: sx.population(learner, 2)])
def test_numbers_of_the_batch_that_are_none_are_named_by_row(value, transform):
    learner, data = transform(mlp()), batch_of(6)
    found = sx.replay(learner, start(learner, data), broken(data, "x", (4, 2), value))
    assert found.startswith(
        f'batch["x"] holds {value} in row 4, at [4, 2]: 1 of {data["x"].size} numbers are not finite'
    )


@pytest.mark.parametrize(
    ("field", "path"),
    [("params", 'params["head"]["bias"]'), ("opt_state", 'opt_state[0].trace["head"]["bias"]')],
)
def test_numbers_of_the_state_that_are_none_are_named_by_path(field, path):
    learner, data = sx.supervised(sx.nn.MLP((4, 3)), sx.losses.cross_entropy, optax.sgd(0.1, 0.9)), batch_of(6)
    state = start(learner, data)

    def spoil(at, leaf):
        return leaf.at[1].set(jnp.nan) if jax.tree_util.keystr(at).endswith("['head']['bias']") else leaf

    bad = state._replace(**{field: jax.tree_util.tree_map_with_path(spoil, getattr(state, field))})
    assert sx.replay(learner, bad, data).startswith(f"{path} holds nan at [1]: 1 of 3 numbers")


@pytest.mark.parametrize("transform", [sx.guard, lambda learner: sx.accumulate(learner, 2)])
@pytest.mark.parametrize("label", [7, -1])
def test_a_label_outside_the_classes_is_named_by_row(transform, label):
    learner, data = transform(failing(sx.losses.cross_entropy)), batch_of(6)
    found = sx.replay(learner, start(learner, data), broken(data, "y", 5, label))
    said = f"batch: y: 1 of 6 labels are not in [0, 3): the first is {label}, in row 5"
    assert found.startswith(said)


def other_cross_entropy(output, batch):
    return optax.softmax_cross_entropy_with_integer_labels(output, jnp.asarray(batch["y"]))


def chosen(output, batch):
    return jnp.where(jnp.asarray(batch["y"]) < 3, output[:, 0], jnp.nan)


@pytest.mark.parametrize(("loss", "operation"), [(other_cross_entropy, "gather, "), (chosen, "select_n, ")])
def test_an_operation_that_fills_with_nan_is_named_with_its_line(loss, operation):
    learner, data = failing(loss), batch_of(6)
    assert sx.replay(learner, start(learner, data), data) == ""  # NaN that is not taken
    found = sx.replay(learner, start(learner, data), broken(data, "y", 5, 7))
    assert found.startswith(operation)
    assert ".py:" in found
