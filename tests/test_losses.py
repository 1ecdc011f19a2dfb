"""Losses against numbers by hand, PyTorch, and their invariants."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepax import losses

REGRESSION = [losses.mean_squared_error, losses.mean_absolute_error, losses.huber]
BINARY = [losses.binary_cross_entropy, losses.hinge]
MULTICLASS = [losses.cross_entropy, partial(losses.cross_entropy, smoothing=0.1), losses.multiclass_hinge]


def draw(shape, seed=0, scale=3.0):
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def labels(shape, classes, seed=1):
    return np.random.default_rng(seed).integers(0, classes, shape)


def with_gradient(loss, output, y):
    @jax.jit  # one program instead of many operations: the tests are several times faster
    def values_and_gradient(output):
        values, pull = jax.vjp(lambda output: loss(output, {"y": y}), output)
        return values, pull(jnp.ones_like(values))[0]

    return values_and_gradient(output)


def torch_with_gradient(torch, loss, output, y):
    output = torch.tensor(output, requires_grad=True)
    values = loss(output, torch.tensor(y))
    values.sum().backward()
    return values.detach().numpy(), output.grad.numpy()


def same_as_torch(torch, ours, theirs, output, y, torch_y=None):
    expected = torch_with_gradient(torch, theirs, output, y if torch_y is None else torch_y)
    for actual, reference in zip(with_gradient(ours, output, y), expected, strict=True):
        np.testing.assert_allclose(actual, reference, rtol=2e-5, atol=2e-6)


# Numbers by hand


def test_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([[0.02, 0.90, 0.05, 0.01, 0.02]]))
    np.testing.assert_allclose(losses.cross_entropy(logits, {"y": jnp.array([1])}), [0.1053605], rtol=1e-6)


def test_cross_entropy_of_equal_logits_is_the_log_of_their_number():
    np.testing.assert_allclose(
        losses.cross_entropy(jnp.zeros((3, 7)), {"y": jnp.arange(3)}), np.full(3, np.log(7)), rtol=1e-6
    )


def test_smoothing_by_hand():
    # Targets 0.8 + 0.1 and 0.1 against probabilities 0.75 and 0.25.
    logits = jnp.log(jnp.array([[0.75, 0.25]]))
    expected = -0.9 * np.log(0.75) - 0.1 * np.log(0.25)
    np.testing.assert_allclose(
        losses.cross_entropy(logits, {"y": jnp.array([0])}, smoothing=0.2), [expected], rtol=1e-6
    )


def test_regression_by_hand():
    output, batch = jnp.array([1.0, 2.0, -3.0]), {"y": jnp.array([1.5, 2.0, 0.0])}
    np.testing.assert_allclose(losses.mean_squared_error(output, batch), [0.25, 0, 9])
    np.testing.assert_allclose(losses.mean_absolute_error(output, batch), [0.5, 0, 3])
    np.testing.assert_allclose(losses.huber(output, batch), [0.125, 0, 2.5])
    np.testing.assert_allclose(losses.huber(output, batch, delta=2.0), [0.125, 0, 4])


def test_hinges_by_hand():
    np.testing.assert_allclose(
        losses.hinge(jnp.array([0.3, -0.5, 2.0]), {"y": jnp.array([1, 0, 0])}), [0.7, 0.5, 3.0], rtol=1e-6
    )
    scores = jnp.array([[1.0, 0.5, -1.0], [1.0, 0.5, -1.0], [5.0, 1.0, 0.0]])
    np.testing.assert_allclose(losses.multiclass_hinge(scores, {"y": jnp.array([0, 2, 0])}), [0.5, 3.0, 0.0])


def test_binary_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([3.0, 1 / 3]))  # probabilities 3/4 and 1/4
    np.testing.assert_allclose(
        losses.binary_cross_entropy(logits, {"y": jnp.array([1, 1])}), -np.log([0.75, 0.25]), rtol=1e-6
    )


# PyTorch, values and gradients


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_equals_torch(torch, smoothing):
    reference = partial(torch.nn.functional.cross_entropy, reduction="none", label_smoothing=smoothing)
    loss = partial(losses.cross_entropy, smoothing=smoothing)
    same_as_torch(torch, loss, reference, draw((32, 9)), labels(32, 9))
    soft = np.random.default_rng(2).dirichlet(np.ones(9), 32).astype(np.float32)
    same_as_torch(torch, loss, reference, draw((32, 9)), soft)


def test_regression_equals_torch(torch):
    pairs = {
        losses.mean_squared_error: "mse_loss",
        losses.mean_absolute_error: "l1_loss",
        partial(losses.huber, delta=0.7): "huber_loss",
    }
    output, y = draw((16, 3)), draw((16, 3), seed=5)
    y[:4] = output[:4]  # also where the error is 0
    for ours, name in pairs.items():
        settings = {"delta": 0.7} if name == "huber_loss" else {}
        same_as_torch(torch, ours, partial(getattr(torch.nn.functional, name), reduction="none", **settings), output, y)


def test_binary_cross_entropy_equals_torch(torch):
    reference = partial(torch.nn.functional.binary_cross_entropy_with_logits, reduction="none")
    same_as_torch(
        torch,
        losses.binary_cross_entropy,
        reference,
        draw((20, 4), scale=8),
        np.random.default_rng(0).random((20, 4), np.float32),
    )


def test_hinge_equals_torch(torch):
    y = labels(40, 2)
    sign = (2 * y - 1).astype(np.float32)
    same_as_torch(torch, losses.hinge, lambda z, t: torch.clamp(1 - t * z, min=0), draw(40), y, sign)


def test_multiclass_hinge_equals_scikit_learn():
    reference = pytest.importorskip("sklearn.metrics").hinge_loss
    scores, y = draw((50, 6)), labels(50, 6)
    np.testing.assert_allclose(
        losses.multiclass_hinge(scores, {"y": y}).mean(), reference(y, scores, labels=range(6)), rtol=1e-5
    )


# Invariants


@pytest.mark.parametrize("loss", MULTICLASS)
def test_shift_and_permutation_of_classes(loss):
    output, y = draw((16, 5)), labels(16, 5)
    values = loss(output, {"y": y})
    np.testing.assert_allclose(loss(output + 100, {"y": y}), values, atol=2e-5)
    order = np.array([3, 0, 4, 1, 2])
    np.testing.assert_allclose(loss(output[:, order], {"y": np.argsort(order)[y]}), values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", MULTICLASS)
def test_one_hot_equals_integer_labels(loss):
    output, y = draw((4, 6, 5)), labels((4, 6), 5)
    values = loss(output, {"y": y})
    assert values.shape == (4, 6)
    for one_hot in (np.eye(5)[y], np.eye(5, dtype=bool)[y], np.eye(5, dtype=int)[y]):
        np.testing.assert_allclose(loss(output, {"y": one_hot}), values, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, jnp.int32])
def test_labels_of_any_integer_dtype(dtype):
    output, y = draw((8, 300)), labels(8, 100)
    np.testing.assert_array_equal(
        losses.cross_entropy(output, {"y": y.astype(dtype)}), losses.cross_entropy(output, {"y": y})
    )


@pytest.mark.parametrize("loss", BINARY)
def test_binary_labels_of_any_kind(loss):
    output, y = draw(12), labels(12, 2)
    values = loss(output, {"y": y})
    np.testing.assert_array_equal(loss(output, {"y": y.astype(bool)}), values)
    np.testing.assert_array_equal(loss(output[:, None], {"y": y.astype(np.float32)}), values)
    np.testing.assert_array_equal(loss(output[:, None], {"y": y[:, None]}), values[:, None])
    np.testing.assert_array_equal(losses.hinge(output, {"y": 2 * y - 1}), losses.hinge(output, {"y": y}))


def test_binary_cross_entropy_is_cross_entropy_of_two_logits():
    output, y = draw(12), labels(12, 2)
    two = np.stack([np.zeros_like(output), output], axis=-1)
    np.testing.assert_allclose(
        losses.binary_cross_entropy(output, {"y": y}), losses.cross_entropy(two, {"y": y}), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("loss", REGRESSION + BINARY)
def test_a_last_axis_of_one_is_dropped(loss):
    output, y = draw(6), labels(6, 2)
    np.testing.assert_array_equal(loss(output[:, None], {"y": y}), loss(output, {"y": y}))
    assert loss(output[:, None], {"y": y}).shape == (6,)


@pytest.mark.parametrize("loss", REGRESSION + BINARY)
@pytest.mark.parametrize(
    "shapes", [((6, 2), (6,)), ((6,), (6, 1)), ((6, 1), (1, 6)), ((6, 2), (2,)), ((6,), (5,)), ((6,), ())]
)
def test_nothing_is_broadcast(loss, shapes):
    output, y = (np.zeros(shape, np.float32) for shape in shapes)
    with pytest.raises(ValueError, match=r"y: its shape \(.*\) does not match the output's shape \("):
        loss(output, {"y": y})


# Extremes


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("loss", MULTICLASS)
def test_extreme_logits_of_classes(loss, dtype):
    rows = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [-1e4, -1e4, -1e4], [0, 0, 0]])
    output, y = jnp.asarray(np.repeat(rows, 3, axis=0), dtype), np.tile(np.arange(3), 4)
    values, gradient = with_gradient(loss, output, y)
    assert values.dtype == jnp.float32
    assert gradient.dtype == dtype
    assert np.isfinite(values).all()
    assert np.isfinite(np.asarray(gradient, np.float32)).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("loss", REGRESSION + BINARY)
def test_extreme_outputs(loss, dtype):
    output = jnp.array([1e4, -1e4, 0, 1e4, -1e4, 0], dtype)
    values, gradient = with_gradient(loss, output, np.array([0, 0, 0, 1, 1, 1]))
    assert values.dtype == jnp.float32
    assert np.isfinite(values).all()
    assert np.isfinite(np.asarray(gradient, np.float32)).all()


def test_extreme_values_are_the_exact_ones():
    output = jnp.array([[1e4, -1e4]])
    assert losses.cross_entropy(output, {"y": np.array([0])}) == 0
    assert losses.cross_entropy(output, {"y": np.array([1])}) == 2e4
    assert losses.binary_cross_entropy(output[0], {"y": np.array([0, 0])}).tolist() == [1e4, 0]


def test_a_class_ruled_out_by_an_infinite_logit():
    output = jnp.array([[0.0, -jnp.inf, 0.0]])
    for y in (np.array([0]), np.array([[1.0, 0.0, 0.0]])):
        values, gradient = with_gradient(losses.cross_entropy, output, y)
        np.testing.assert_allclose(values, [np.log(2)], rtol=1e-6)
        np.testing.assert_allclose(gradient, [[-0.5, 0, 0.5]], rtol=1e-6)


# Checks


@pytest.mark.parametrize("loss", MULTICLASS)
def test_labels_must_be_integers(loss):
    with pytest.raises(TypeError, match="y: expected labels of an integer dtype, got float32"):
        loss(jnp.zeros((3, 4)), {"y": np.zeros(3, np.float32)})
    with pytest.raises(TypeError, match=r"got bool.*binary_cross_entropy"):
        loss(jnp.zeros((3, 4)), {"y": np.zeros(3, bool)})


@pytest.mark.parametrize("loss", MULTICLASS)
@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_labels_must_be_in_range(loss, array):
    with pytest.raises(ValueError, match=r"y: 2 of 5 labels are not in \[0, 4\): the first is 4, in row 2"):
        loss(jnp.zeros((5, 4)), {"y": array([0, 3, 4, 1, -1])})
    with pytest.raises(ValueError, match=r"1 of 4 labels .* the first is -1, in position \(1, 0\)"):
        loss(jnp.zeros((2, 2, 4)), {"y": array([[0, 3], [-1, 1]])})


@pytest.mark.parametrize("loss", MULTICLASS)
@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_concrete_labels_are_checked_beside_a_traced_output(loss, array):
    y = array([0, 3, 4])
    for transform in (jax.jit, lambda f: partial(jax.eval_shape, f), jax.grad):
        with pytest.raises(ValueError, match="the first is 4, in row 2"):
            transform(lambda output: loss(output, {"y": y}).sum())(jnp.zeros((3, 4)))


@pytest.mark.parametrize("loss", MULTICLASS)
def test_traced_labels_out_of_range_give_nan(loss):
    values = jax.jit(lambda y: loss(jnp.zeros((4, 3)), {"y": y}))(jnp.array([0, 3, -1, 2]))
    np.testing.assert_array_equal(np.isnan(values), [False, True, True, False])


@pytest.mark.parametrize("loss", MULTICLASS)
def test_targets_must_fit_the_classes(loss):
    for shape in ((3, 5), (3, 1), (2,), (3, 4, 1)):
        with pytest.raises(ValueError, match=r"does not match the output's shape \(3, 4\)"):
            loss(jnp.zeros((3, 4)), {"y": np.zeros(shape, int)})
    with pytest.raises(ValueError, match="two classes or more"):
        loss(jnp.zeros((3, 1)), {"y": np.zeros(3, int)})
    with pytest.raises(
        ValueError, match=r"1 of 2 rows .* sum to 1: the first is 2.0, in row 1; for several true classes"
    ):
        loss(jnp.zeros((2, 3)), {"y": np.array([[0, 1, 0], [1, 0, 1]])})
    with pytest.raises(ValueError, match=r"2 of 3 entries are not in \[0, 1\]"):
        loss(jnp.zeros((1, 3)), {"y": np.array([[2.0, -1.0, 0.0]])})


def test_binary_targets_must_be_in_range():
    with pytest.raises(ValueError, match=r"1 of 3 targets are not in \[0, 1\]: the first is 2, in row 1"):
        losses.binary_cross_entropy(jnp.zeros(3), {"y": np.array([0, 2, 1])})
    with pytest.raises(ValueError, match="the first is nan"):
        losses.binary_cross_entropy(jnp.zeros(2), {"y": np.array([0, np.nan])})
    with pytest.raises(ValueError, match=r"1 of 3 labels are not in \{0, 1\} or \{-1, 1\}"):
        losses.hinge(jnp.zeros(3), {"y": np.array([0, 2, 1])})
    with pytest.raises(ValueError, match="got both 0 and -1"):
        losses.hinge(jnp.zeros(3), {"y": np.array([0, -1, 1])})


def test_settings_are_checked():
    batch = {"y": np.zeros(3, int)}
    for delta in (0, -1.0, float("nan"), np.ones(3)):
        with pytest.raises(ValueError, match="delta: expected one positive number"):
            losses.huber(jnp.zeros(3), batch, delta=delta)
    for smoothing in (-0.1, 1.1, np.zeros(3)):
        with pytest.raises(ValueError, match=r"smoothing: expected one number in \[0, 1\]"):
            losses.cross_entropy(jnp.zeros((3, 2)), batch, smoothing=smoothing)


def test_settings_may_be_traced():
    output, batch = draw((4, 3)), {"y": labels(4, 3)}
    values = jax.vmap(lambda smoothing: losses.cross_entropy(output, batch, smoothing=smoothing))(jnp.array([0.0, 0.3]))
    np.testing.assert_allclose(values[1], losses.cross_entropy(output, batch, smoothing=0.3), rtol=1e-6)
    values = jax.vmap(lambda delta: losses.huber(output, {"y": output * 2}, delta=delta))(jnp.array([0.5, 2.0]))
    np.testing.assert_allclose(values[1], losses.huber(output, {"y": output * 2}, delta=2.0), rtol=1e-6)


def test_what_is_no_target_or_output_is_named():
    with pytest.raises(KeyError, match="expected a target under the name"):
        losses.mean_squared_error(jnp.zeros(3), {"x": np.zeros(3)})
    with pytest.raises(KeyError, match="got None"):
        losses.mean_squared_error(jnp.zeros(3), None)
    with pytest.raises(TypeError, match="output: expected one array, got tuple"):
        losses.mean_squared_error((jnp.zeros(3), jnp.zeros(3)), {"y": np.zeros(3)})


# Transformations


@pytest.mark.parametrize("loss", MULTICLASS + REGRESSION + BINARY)
def test_jit_and_vmap(loss):
    multiclass = loss in MULTICLASS
    output = draw((3, 8, 4) if multiclass else (3, 8))
    y = labels((3, 8), 4 if multiclass else 2)
    values = loss(output, {"y": y})
    np.testing.assert_allclose(jax.jit(loss)(output, {"y": y}), values, rtol=1e-5, atol=1e-6)
    lanes = jax.vmap(lambda output, y: loss(output, {"y": y}))(output, y)
    np.testing.assert_allclose(lanes, values, rtol=1e-5, atol=1e-6)
    with jax.numpy_rank_promotion("raise"):
        np.testing.assert_array_equal(loss(output, {"y": y}), values)
