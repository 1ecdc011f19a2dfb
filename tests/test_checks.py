"""What a caller hands in is refused early, by name, and only when it must be."""

import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepax.checks import (
    check,
    check_count,
    check_data,
    check_dropout,
    check_function,
    check_key,
    check_patience,
    nearest,
)


def rows(n=4):
    return {"x": np.ones((n, 3), np.float32), "y": np.arange(n)}


def test_good_data_pass_with_their_number_of_rows():
    tree = {"x": {"image": jnp.zeros((5, 2, 2, 1)), "text": np.zeros((5, 7), np.int32)}, "y": jnp.zeros(5, bool)}
    assert check(tree) == 5
    assert check(np.zeros((3, 2))) == 3
    assert check({"x": jnp.zeros((2, 3), jnp.bfloat16), "key": jax.random.split(jax.random.key(0), 2)}) == 2


@pytest.mark.parametrize("empty", [None, {}, {"x": {}}, ()])
def test_data_without_arrays_are_refused(empty):
    with pytest.raises(ValueError, match="validation holds no arrays"):
        check(empty, "validation")


def test_data_without_rows_are_refused():
    with pytest.raises(ValueError, match=r'data\["x"\] is empty, with shape \(0, 3\)'):
        check(rows(0))


def test_different_lengths_name_both_arrays():
    with pytest.raises(ValueError, match=r'data\["y"\] has 3 rows, but data\["x"\] has 4'):
        check(rows() | {"y": np.arange(3)})
    with pytest.raises(ValueError, match=r'data\[1\]\["image"\] has 2 rows, but data\[0\] has 4'):
        check((np.ones(4), {"image": jnp.ones((2, 3))}))


@pytest.mark.parametrize(
    ("leaf", "error", "message"),
    [
        (None, TypeError, "is of type NoneType"),
        ("text", TypeError, "is of type str"),
        (3.0, TypeError, "is of type float"),
        (np.array(["a", "b", "c", "d"]), TypeError, "has dtype <U1"),
        (np.array([1, None, 2, 3], object), TypeError, "has dtype object"),
        (np.zeros(4, "datetime64[s]"), TypeError, "has dtype datetime64"),
        (np.float32(1) * np.ones(()), TypeError, "is of type float"),
        (np.array(1.0), ValueError, "is a scalar"),
        (jnp.ones(()), ValueError, "is a scalar"),
    ],
)
def test_a_leaf_that_is_no_array_of_numbers_is_named(leaf, error, message):
    with pytest.raises(error, match=rf'train\["z"\] {message}'):
        check(rows() | {"z": leaf}, "train")


@pytest.mark.parametrize("library", [np, jnp])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_bad_values_are_counted_by_row(library, value):
    x = np.zeros((10, 2, 3), np.float32)
    x[4, 1, 2], x[4, 0, 0], x[7, 0, 1] = value, value, value
    with pytest.raises(
        ValueError, match=r'data\["a"\]\["x"\] holds NaN or inf in 2 of 10 rows, the first of them row 4 '
    ):
        check({"a": {"x": library.asarray(x)}})


def test_infinities_that_cancel_are_found():
    with pytest.raises(ValueError, match="in 2 of 2 rows"):
        check(np.array([np.inf, -np.inf]))


def test_finite_values_whose_sum_overflows_pass():
    assert check(np.full((8, 4), 3e38, np.float32)) == 8
    assert check(jnp.full((8, 4), 6e4, jnp.float16)) == 8


@pytest.mark.filterwarnings("error")
def test_numbers_that_become_infinite_when_jax_casts_them_are_found():
    x = np.array([[1.0, 1e30], [1e300, 0], [-1e300, 1e300]])
    message = r"in 2 of 3 rows, the first of them row 1 .*: expected finite numbers \(float64 is cast to float32\)"
    with pytest.raises(ValueError, match=message):
        check({"x": x})
    assert check({"x": x[:1]}) == 1
    with jax.enable_x64(True):
        assert check({"x": x}) == 3


def test_data_are_a_dict_with_weights_of_at_least_0():
    assert check_data(rows() | {"weight": np.float32([0, 1, 2, 3])}) == 4
    for wrong in ((np.ones(4), np.ones(4)), np.ones(4), [{"x": np.ones(4)}], None):
        with pytest.raises(TypeError, match=r'test: expected a dict of arrays such as \{"x": …, "y": …\}, got'):
            check_data(wrong, "test")
    for library in (np, jnp):
        with pytest.raises(ValueError, match=r'test\["weight"\] is negative in places'):
            check_data(rows() | {"weight": library.array([[1, 1], [1, -1], [1, 1], [1, 1]])}, "test")


def test_dropout():
    for value in (0, 0.5, np.float32(0.99)):
        check_dropout(value)
    for wrong in (-0.1, 1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"dropout: expected a number in \[0, 1\), got"):
            check_dropout(wrong)
    with pytest.raises(ValueError, match=r"^dropout_in: expected a number in \[0, 1\), got 1"):
        check_dropout(1, "dropout_in")
    with pytest.raises(TypeError, match=r"^dropout_in: expected a number in \[0, 1\), got str 'x'"):
        check_dropout("x", "dropout_in")


def test_large_data_are_checked_without_a_copy():
    data = {"x": np.ones((6_000, 784), np.float32)}
    tracemalloc.start()
    try:
        check(data)
        assert tracemalloc.get_traced_memory()[1] < data["x"].nbytes / 100
    finally:
        tracemalloc.stop()


def test_what_is_no_function_is_refused():
    check_function("activation", jnp.tanh)
    for wrong in ("tanh", None, 1):
        with pytest.raises(TypeError, match=r"activation: expected a function such as jax\.nn\.relu, got"):
            check_function("activation", wrong)


def test_nearest_lists_and_suggests():
    assert nearest("MINST", ["iris", "mnist"]) == "'MINST': known are 'iris', 'mnist'; did you mean 'mnist'?"
    assert nearest("qqq", ["iris", "mnist"]) == "'qqq': known are 'iris', 'mnist'"
    assert nearest("price", ["Price"]).endswith("did you mean 'Price'?")
    assert nearest("x", []) == "'x': known are none"


def test_keys():
    check_key(jax.random.key(0))
    for wrong in (0, jax.random.PRNGKey(0), np.zeros(2, np.uint32), None):
        with pytest.raises(TypeError, match="key: expected a typed key"):
            check_key(wrong)
    with pytest.raises(ValueError, match=r"key: expected one key, got an array of shape \(3,\)"):
        check_key(jax.random.split(jax.random.key(0), 3))


def test_counts():
    check_count("epochs", 1)
    check_count("epochs", np.int64(3))
    check_count("epochs", 0, least=0)
    for wrong in (1.0, True, "3", None):
        with pytest.raises(TypeError, match="epochs: expected a whole number"):
            check_count("epochs", wrong)
    with pytest.raises(ValueError, match="epochs: expected at least 1, got 0"):
        check_count("epochs", 0)


def test_patience():
    check_patience(None, None)
    check_patience(2, rows())
    with pytest.raises(ValueError, match=r"patience: 2 epochs .* need validation data"):
        check_patience(2, None)
    with pytest.raises(ValueError, match="need validation data"):
        check_patience(2, None, "validation/accuracy")
    check_patience(2, None, "loss")  # a measure of the training itself
    check_patience(2, None, "gradient_norm")
    with pytest.raises(ValueError, match="patience: expected at least 1"):
        check_patience(0, rows())
