import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepax import targets


def test_a_batch_without_a_target_says_what_it_has() -> None:
    with pytest.raises(KeyError, match=r"got one with .*x"):
        targets.target({"x": np.zeros(1)})
    with pytest.raises(KeyError, match="got None"):
        targets.target(None)
    assert targets.target({"y": [1, 2]}).shape == (2,)


@pytest.mark.parametrize(
    ("given", "computed"),
    [("bfloat16", "float32"), ("float16", "float32"), ("int32", "float32"), ("float32", "float32")],
)
def test_sums_are_made_in_float32_at_least(given: str, computed: str) -> None:
    assert targets.at_least_float32(jnp.zeros(2, given)).dtype == computed


def test_float64_stays(x64: None) -> None:
    assert targets.at_least_float32(jnp.zeros(2, "float64")).dtype == "float64"


def test_several_outputs_need_a_loss_of_their_own() -> None:
    with pytest.raises(TypeError, match="output: expected one array, got dict"):
        targets.at_least_float32({"a": np.zeros(2)})


def test_values_are_those_of_concrete_arrays_only() -> None:
    np.testing.assert_array_equal(targets.host_values(jnp.arange(3)), [0, 1, 2])
    seen = []
    jax.eval_shape(lambda a: seen.append(targets.host_values(a)), jnp.arange(3))
    assert seen == [None]


def test_one_trailing_axis_is_dropped_and_nothing_else() -> None:
    output, y = targets.aligned(jnp.ones((3, 1)), np.array([1, 2, 3]))
    assert output.shape == y.shape == (3,)
    assert y.dtype == output.dtype == jnp.float32
    for shape in ((3, 3), (1, 3)):
        with pytest.raises(ValueError, match="does not match the output's shape"):
            targets.aligned(jnp.ones(shape), np.zeros(3))


@pytest.mark.parametrize("labels", [[0, 1, 1], [-1, 1, 1], [False, True, True]])
def test_binary_labels_of_every_kind(labels: list) -> None:
    _, y = targets.binary_labels(jnp.zeros(3), np.array(labels))
    np.testing.assert_array_equal(y, [False, True, True])


def test_mixed_binary_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="got both 0 and -1"):
        targets.binary_labels(jnp.zeros(3), np.array([0, -1, 1]))
    with pytest.raises(ValueError, match=r"1 of 3 labels are not in \{0, 1\} or \{-1, 1\}: the first is 2.0, in row 1"):
        targets.binary_labels(jnp.zeros(3), np.array([0, 2, 1]))


def test_probabilities_stay_in_their_range() -> None:
    targets.probabilities(jnp.zeros(2), np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"1 of 2 targets are not in \[0, 1\]: the first is 1.5, in row 1"):
        targets.probabilities(jnp.zeros(2), np.array([0.0, 1.5]))


@pytest.mark.parametrize(
    ("output", "y", "binary"),
    [((4,), (4,), True), ((4, 1), (4,), True), ((4, 1), (4, 1), True), ((4, 2), (4, 2), False)],
)
def test_one_logit_is_told_from_several(output: tuple, y: tuple, binary: bool) -> None:
    assert targets.is_binary(jnp.zeros(output), np.zeros(y)) is binary


def test_labels_of_classes() -> None:
    scores = jnp.zeros((2, 3))
    np.testing.assert_array_equal(targets.class_labels(scores, np.array([2, 0])), [2, 0])
    np.testing.assert_array_equal(targets.class_labels(scores, np.eye(3)[[2, 0]]), [2, 0])
    for y, error, message in (
        (np.array([2, 3]), ValueError, r"1 of 2 labels are not in \[0, 3\): the first is 3, in row 1"),
        (np.array([2.0, 0.0]), TypeError, "expected labels of an integer dtype, got float64"),
        (np.zeros((2, 4)), ValueError, "does not match the output's shape"),
        (np.full((2, 3), 0.5), ValueError, "rows that sum to 1"),
    ):
        with pytest.raises(error, match=message):
            targets.class_labels(scores, y)


def test_picking_by_label_and_by_distribution() -> None:
    scores = jnp.array([[1.0, 2.0, -jnp.inf], [3.0, 4.0, 5.0]])
    np.testing.assert_array_equal(targets.pick(scores, np.array([1, 2])), [2, 5])
    np.testing.assert_array_equal(targets.pick(scores, np.array([[0.5, 0.5, 0], [0, 0, 1]])), [1.5, 5])


def test_a_label_that_cannot_be_checked_gives_nan_where_it_is_wrong() -> None:
    picked = jax.jit(targets.pick)(jnp.ones((2, 3)), jnp.array([1, 7]))
    np.testing.assert_array_equal(picked, [1, np.nan])


def test_complex_numbers_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match="output: expected real numbers, got complex64"):
        targets.at_least_float32(jnp.zeros(2, jnp.complex64))
    with pytest.raises(TypeError, match="y: expected real numbers, got complex128"):
        targets.aligned(jnp.zeros(2), np.zeros(2, complex))


def test_checks_of_labels_are_noted_where_one_asks_for_them() -> None:
    y, scores = np.array([0, 2]), jnp.zeros((2, 3))
    with targets.classes_noted() as noted:
        jax.eval_shape(lambda scores: targets.pick(scores, y), scores)
        jax.eval_shape(targets.pick, scores, y)  # of abstract labels nothing is checked
    targets.class_labels(scores, y)
    ((values, classes),) = noted
    assert values is y
    assert classes == 3
