"""Metrics against numbers by hand, scikit-learn, and their invariants."""

import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepax import metrics

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed: no reference to compare with")

PER_CLASS = [
    (metrics.precision, sklearn.precision_score),
    (metrics.recall, sklearn.recall_score),
    (metrics.f1, sklearn.f1_score),
]
WHOLE = [
    metrics.confusion_matrix,
    *(ours for ours, _ in PER_CLASS),
    *(partial(metrics.f1, average=average) for average in (metrics.macro, metrics.micro, metrics.weighted)),
]
REGRESSION = [metrics.root_mean_squared_error, metrics.r_squared]


def case(n=60, classes=5, seed=0, present=None):
    """Scores, labels (only the present classes, if given) and weights."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(n, classes)).astype(np.float32)
    y = random.choice(np.arange(classes) if present is None else present, n)
    if present is not None:
        scores[:, [c for c in range(classes) if c not in present]] = -9
    return scores, y, random.exponential(size=n).astype(np.float32)


def batch_of(y, weight=None):
    return {"y": y} if weight is None else {"y": y, "weight": weight}


# Numbers by hand


def test_accuracy_by_hand():
    scores = jnp.array([[1.0, 2.0, 0.0], [5.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    for y in (np.array([1, 2, 0]), np.eye(3)[[1, 2, 0]]):
        np.testing.assert_array_equal(metrics.accuracy(scores, {"y": y}), [1, 0, 1])


def test_accuracy_of_one_logit_by_hand():
    logits = jnp.array([0.3, -0.2, 0.0, 2.0])
    for output in (logits, logits[:, None]):
        for y in (np.array([1, 1, 0, 0]), np.array([1, 1, -1, -1]), np.array([True, True, False, False])):
            np.testing.assert_array_equal(metrics.accuracy(output, {"y": y}), [1, 0, 1, 0])
    np.testing.assert_array_equal(
        metrics.accuracy(logits[:, None], {"y": np.array([[1], [1], [0], [0]])}), [[1], [0], [1], [0]]
    )


def test_binary_accuracy_by_hand():
    y = np.array([[1, 0, 1], [0, 0, 1]])
    np.testing.assert_array_equal(
        metrics.binary_accuracy(jnp.array([[2.0, -1.0, -0.1], [0.1, 0.0, 3.0]]), {"y": y}), [[1, 1, 0], [0, 1, 1]]
    )


def test_several_true_classes_are_no_one_hot():
    with pytest.raises(ValueError, match="binary_accuracy"):
        metrics.accuracy(jnp.zeros((2, 3)), {"y": np.array([[1, 0, 1], [0, 0, 1]])})


def test_top_k_by_hand():
    scores, batch = jnp.array([[3.0, 2.0, 1.0, 0.0]] * 4), {"y": np.arange(4)}
    for k in range(1, 5):
        np.testing.assert_array_equal(metrics.top_k(scores, batch, k=k), np.arange(4) < k)


def test_confusion_matrix_by_hand():
    scores = jax.nn.one_hot(jnp.array([0, 1, 1, 2, 0]), 3)
    batch = {"y": np.array([0, 0, 1, 2, 2])}
    matrix = metrics.confusion_matrix(scores, batch)
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [0, 1, 0], [1, 0, 1]])
    np.testing.assert_allclose(metrics.precision(scores, batch), [1 / 2, 1 / 2, 1])
    np.testing.assert_allclose(metrics.recall(scores, batch), [1 / 2, 1, 1 / 2])
    np.testing.assert_allclose(metrics.f1(scores, batch), [1 / 2, 2 / 3, 2 / 3])
    np.testing.assert_allclose(metrics.f1(scores, batch, average=metrics.macro), 11 / 18)


def test_regression_by_hand():
    output, batch = jnp.array([1.0, 2.0, 6.0]), {"y": jnp.array([1.0, 2.0, 3.0])}
    np.testing.assert_allclose(metrics.root_mean_squared_error(output, batch), np.sqrt(3))
    np.testing.assert_allclose(metrics.r_squared(output, batch), 1 - 9 / 2)
    np.testing.assert_array_equal(metrics.absolute_error(output, batch), [0, 0, 3])
    np.testing.assert_array_equal(metrics.squared_error(output[:, None], batch), [0, 0, 9])


# scikit-learn


@pytest.mark.parametrize("present", [None, [1, 3], [2]])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_class_metrics_equal_scikit_learn(present, is_weighted):
    scores, y, weight = case(present=present)
    weight = weight if is_weighted else None
    batch, predicted = batch_of(y, weight), scores.argmax(-1)
    every = {"labels": range(5), "sample_weight": weight}
    np.testing.assert_allclose(
        metrics.confusion_matrix(scores, batch), sklearn.confusion_matrix(y, predicted, **every), rtol=1e-5
    )
    for ours, reference in PER_CLASS:
        expected = reference(y, predicted, average=None, zero_division=0, **every)
        np.testing.assert_allclose(ours(scores, batch), expected, rtol=1e-5)
        for average in (metrics.macro, metrics.micro, metrics.weighted):
            # Without labels=, as most people call it: absent classes are left out.
            expected = reference(y, predicted, average=average.__name__, zero_division=0, sample_weight=weight)
            np.testing.assert_allclose(ours(scores, batch, average=average), expected, rtol=1e-5)


@pytest.mark.parametrize("is_weighted", [False, True])
def test_binary_metrics_equal_scikit_learn(is_weighted):
    scores, y, weight = case(classes=2)
    logits, weight = scores[:, 0].round(1), weight if is_weighted else None
    for output, labels in ((logits, y), (logits[:, None], 2 * y - 1)):
        batch = batch_of(labels, weight)
        for ours, reference in PER_CLASS:
            np.testing.assert_allclose(
                ours(output, batch)[1], reference(y, logits > 0, sample_weight=weight), rtol=1e-5
            )
        np.testing.assert_allclose(
            metrics.roc_auc(output, batch), sklearn.roc_auc_score(y, logits, sample_weight=weight), rtol=1e-5
        )


def test_accuracy_and_top_k_equal_scikit_learn():
    scores, y, _ = case()
    np.testing.assert_allclose(
        metrics.accuracy(scores, {"y": y}).mean(), sklearn.accuracy_score(y, scores.argmax(-1)), rtol=1e-6
    )
    for k in (1, 2, 4):
        expected = sklearn.top_k_accuracy_score(y, scores, k=k, labels=range(5))
        np.testing.assert_allclose(metrics.top_k(scores, {"y": y}, k=k).mean(), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(40,), (40, 3)])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_regression_metrics_equal_scikit_learn(shape, is_weighted):
    random = np.random.default_rng(3)
    y = random.normal(5, 2, shape).astype(np.float32)
    output = (y + random.normal(0, 0.5, shape)).astype(np.float32)
    weight = random.exponential(size=40).astype(np.float32) if is_weighted else None
    batch = batch_of(y, weight)
    np.testing.assert_allclose(
        metrics.root_mean_squared_error(output, batch),
        sklearn.root_mean_squared_error(y, output, sample_weight=weight),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        metrics.r_squared(output, batch), sklearn.r2_score(y, output, sample_weight=weight), rtol=1e-4
    )


def test_r_squared_of_a_constant_target_equals_scikit_learn():
    y = np.full(100, 0.1, np.float32)
    for output in (y, y + np.linspace(0, 1, 100, dtype=np.float32)):
        assert metrics.r_squared(output, {"y": y}) == sklearn.r2_score(y.astype(float), output.astype(float))


def test_r_squared_far_from_zero_keeps_its_digits():
    y = np.linspace(2000, 2001, 64, dtype=np.float32)
    output = y + np.float32(0.125)
    np.testing.assert_allclose(
        metrics.r_squared(output, {"y": y}), sklearn.r2_score(y.astype(float), output.astype(float)), rtol=1e-4
    )


def test_what_is_not_defined_is_nan():
    assert np.isnan(metrics.r_squared(jnp.ones(1), {"y": np.ones(1)}))
    assert np.isnan(metrics.roc_auc(jnp.arange(3.0), {"y": np.ones(3, int)}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isnan(sklearn.r2_score([1.0], [1.0]))
        assert np.isnan(sklearn.roc_auc_score([1, 1, 1], [0, 1, 2]))


# Invariants


@pytest.mark.parametrize("metric", WHOLE)
def test_weight_zero_is_absence(metric):
    scores, y, weight = case()
    weight[::3] = 0
    kept = weight > 0
    expected = metric(scores[kept], batch_of(y[kept], weight[kept]))
    np.testing.assert_allclose(metric(scores, batch_of(y, weight)), expected, rtol=1e-5)


@pytest.mark.parametrize("metric", [*REGRESSION, metrics.roc_auc])
def test_weight_zero_is_absence_of_any_number(metric):
    scores, y, weight = case(classes=2)
    weight[::3] = 0
    output = scores[:, 0]
    output[::3] = 1e30
    kept = weight > 0
    expected = metric(output[kept], batch_of(y[kept], weight[kept]))
    np.testing.assert_allclose(metric(output, batch_of(y, weight)), expected, rtol=1e-5)


@pytest.mark.parametrize("metric", [*WHOLE, *REGRESSION, metrics.roc_auc])
def test_weight_two_is_the_same_row_twice_and_order_does_not_matter(metric):
    scores, y, _ = case(n=20, classes=2)
    output = scores if metric in WHOLE else scores[:, 0]
    weight = np.where(np.arange(20) < 7, 2.0, 1.0)
    order = np.random.default_rng(1).permutation(27)
    twice, labels = np.concatenate([output, output[:7]])[order], np.concatenate([y, y[:7]])[order]
    np.testing.assert_allclose(metric(output, batch_of(y, weight)), metric(twice, batch_of(labels)), rtol=1e-5)


def test_weight_of_a_prefix_of_the_shape():
    scores, y, weight = case(n=12)
    scores, y = scores.reshape(4, 3, 5), y.reshape(4, 3)
    expected = metrics.confusion_matrix(scores, batch_of(y, np.repeat(weight[:4, None], 3, axis=1)))
    np.testing.assert_allclose(metrics.confusion_matrix(scores, batch_of(y, weight[:4])), expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"weight: its shape \(12,\) must be a prefix of the shape \(4, 3\)"):
        metrics.confusion_matrix(scores, batch_of(y, weight))


def test_top_1_is_accuracy_also_of_equal_scores():
    scores, y, _ = case()
    scores = scores.round()
    np.testing.assert_array_equal(metrics.top_k(scores, {"y": y}, k=1), metrics.accuracy(scores, {"y": y}))
    assert metrics.top_k(scores, {"y": np.eye(5)[y]}, k=5).all()


def test_permuted_classes_permute_the_matrix():
    scores, y, weight = case()
    order = np.array([3, 0, 4, 1, 2])
    permuted = metrics.confusion_matrix(scores[:, order], batch_of(np.argsort(order)[y], weight))
    np.testing.assert_allclose(
        permuted, metrics.confusion_matrix(scores, batch_of(y, weight))[order][:, order], rtol=1e-6
    )


def test_no_example_gives_zeros():
    batch = {"y": np.zeros(3, int), "weight": np.zeros(3)}
    for metric in WHOLE:
        assert not np.any(metric(jnp.zeros((3, 4)), batch))


# Checks


def test_k_is_checked():
    for k in (0, 5):
        with pytest.raises(ValueError, match=r"k: expected a number from 1 to 4.* got"):
            metrics.top_k(jnp.zeros((3, 4)), {"y": np.zeros(3, int)}, k=k)


@pytest.mark.parametrize("metric", [metrics.accuracy, partial(metrics.top_k, k=2), metrics.confusion_matrix])
def test_labels_are_checked(metric):
    with pytest.raises(TypeError, match="y: expected labels of an integer dtype, got float64"):
        metric(jnp.zeros((3, 4)), {"y": np.zeros(3)})
    with pytest.raises(ValueError, match=r"y: 1 of 3 labels are not in \[0, 4\): the first is 4, in row 2"):
        jax.eval_shape(lambda output: metric(output, {"y": np.array([0, 1, 4])}), jnp.zeros((3, 4)))
    with pytest.raises(ValueError, match="does not match"):
        metric(jnp.zeros((3, 4)), {"y": np.zeros(2, int)})


def test_traced_labels_out_of_range_count_nowhere():
    counts = jax.jit(lambda y: metrics.confusion_matrix(jnp.eye(3), {"y": y}))(jnp.array([-1, 1, 3]))
    np.testing.assert_array_equal(counts, np.diag([0, 1, 0]))


def test_a_string_is_no_average():
    with pytest.raises(TypeError, match=r"such as stepax\.metrics\.macro, got 'macro'"):
        metrics.f1(jnp.eye(3), {"y": np.arange(3)}, average="macro")


# Transformations


@pytest.mark.parametrize("metric", [*WHOLE, metrics.accuracy, partial(metrics.top_k, k=2)])
def test_jit_and_vmap_of_class_metrics(metric):
    scores, y, weight = case()
    expected = metric(scores, batch_of(y, weight))
    np.testing.assert_allclose(jax.jit(metric)(scores, batch_of(y, weight)), expected, rtol=1e-6)
    lanes = jax.vmap(metric, (0, None))(np.stack([scores, -scores]), batch_of(y, weight))
    np.testing.assert_allclose(lanes[0], expected, rtol=1e-6)
    np.testing.assert_allclose(lanes[1], metric(-scores, batch_of(y, weight)), rtol=1e-6)


@pytest.mark.parametrize(
    "metric", [*REGRESSION, metrics.roc_auc, metrics.absolute_error, metrics.squared_error, metrics.binary_accuracy]
)
def test_jit_and_vmap_of_one_score(metric):
    scores, y, weight = case(classes=2)
    output = scores[:, 0]
    expected = metric(output, batch_of(y, weight))
    np.testing.assert_allclose(jax.jit(metric)(output, batch_of(y, weight)), expected, rtol=1e-5)
    lanes = jax.vmap(metric, (0, None))(np.stack([output, -output]), batch_of(y, weight))
    np.testing.assert_allclose(lanes[0], expected, rtol=1e-5)


def test_macro_leaves_out_a_class_of_weight_0_where_scikit_learn_counts_it_as_0():
    true, predicted, weight = np.array([0, 1, 2]), np.array([0, 1, 0]), np.float32([1, 1, 0])
    output = np.eye(3, dtype=np.float32)[predicted]
    assert metrics.f1(output, {"y": true, "weight": weight}, average=metrics.macro) == 1
    theirs = sklearn.f1_score(true, predicted, average="macro", sample_weight=weight, zero_division=0)
    assert theirs == pytest.approx(2 / 3)
