import numpy as np
import pytest

from stepax.data.targets import as_float32, encode


@pytest.mark.parametrize(
    ("values", "labels", "classes"),
    [
        (np.array(["b", "a", "b"]), [1, 0, 1], ("a", "b")),
        (np.array([3, 1, 10, 1]), [1, 0, 2, 0], ("1", "3", "10")),
        (np.array([-1.0, 1.0, 1.0, -1.0]), [0, 1, 1, 0], ("-1", "1")),
        (np.array([True, False]), [1, 0], ("0", "1")),
        (np.arange(100), list(range(100)), tuple(map(str, range(100)))),
    ],
)
def test_classes(values, labels, classes):
    goal = encode(values, "y")
    assert (goal.y.tolist(), goal.y.dtype, goal.task, goal.classes) == (labels, np.int32, "classification", classes)


@pytest.mark.parametrize(
    "values",
    [
        np.array([0.5, 1.0, 0.5, 1.0]),  # a fraction
        np.array([0.0, 1.0, 2.0]),  # one row a value
        np.tile(np.arange(21.0), 5),  # 21 distinct values
        np.array([np.inf, 1.0, 1.0, np.inf]),
        np.array([np.nan, 1.0, 1.0, 1.0]),
    ],
)
def test_measurements(values):
    goal = encode(values, "y")
    assert (goal.y.dtype, goal.task, goal.classes) == (np.float32, "regression", None)
    np.testing.assert_array_equal(goal.y, values.astype(np.float32))


def test_the_rule_at_its_edge():
    assert encode(np.tile(np.arange(20.0), 2), "y").task == "classification"
    assert encode(np.tile(np.arange(20.0), 2)[:-1], "y").task == "regression"


def test_the_task_overrules_the_rule():
    assert encode(np.array([1, 2, 1, 2]), "y", "regression").y.tolist() == [1.0, 2.0, 1.0, 2.0]
    assert encode(np.arange(30.0), "y", "classification").classes == tuple(map(str, range(30)))


@pytest.mark.parametrize(
    ("values", "task", "error", "message"),
    [
        (np.array(["a"]), "regression", ValueError, "'y' holds text such as 'a'"),
        (np.array([1.0, 2.5]), "classification", ValueError, "'y' holds 2.5: expected whole numbers or text"),
        (np.array([1.0, np.inf]), "classification", ValueError, "'y' holds inf"),
        (np.array([1.0]), "ranking", ValueError, "task is 'ranking'"),
        (np.array([1j]), None, TypeError, "'y' has dtype complex128"),
    ],
)
def test_refusals(values, task, error, message):
    with pytest.raises(error, match=message):
        encode(values, "'y'", task)


def test_float32_must_hold_the_values():
    assert as_float32(np.array([1, 2], np.int64), "x").dtype == np.float32
    assert np.isinf(as_float32(np.array([np.inf]), "x")).all()
    with pytest.raises(ValueError, match=r"x holds 1e\+39"):
        as_float32(np.array([1.0, 1e39]), "x")
    with pytest.raises(TypeError, match="x has dtype <U1"):
        as_float32(np.array(["1"]), "x")
