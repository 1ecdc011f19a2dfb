"""Layouts, and examples by number."""

import numpy as np
import pytest

from stepax.data.stream_rows import Arrays, Examples, Layout, decoded, order_of

EXAMPLE = {"x": np.zeros((2, 3), np.uint8), "y": 1, "z": {"w": 0.5, "b": True}}


def test_a_layout_knows_what_jax_makes_of_an_example():
    layout = Layout.of(EXAMPLE, "source")
    assert layout.paths == ('["x"]', '["y"]', '["z"]["b"]', '["z"]["w"]')
    assert [str(dtype) for dtype in layout.dtypes] == ["uint8", "int64", "bool", "float64"]
    like = layout.like(4)
    assert (like["x"].shape, like["x"].dtype) == ((4, 2, 3), np.uint8)
    assert (like["z"]["w"].shape, like["z"]["w"].dtype) == ((4,), np.float32)
    assert like["y"].dtype == np.int32


def test_layouts_of_64_bits(x64):
    assert Layout.of(EXAMPLE, "source").like(1)["z"]["w"].dtype == np.float64


def test_examples_are_stacked():
    batch = Layout.of(EXAMPLE, "source").stacked([("a", EXAMPLE), ("b", {**EXAMPLE, "y": 5})], 2)
    assert batch["y"].tolist() == [1, 5]
    assert batch["z"]["b"].tolist() == [True, True]
    assert batch["x"].shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((3, 2), np.uint8)}, r'b\["x"\] is uint8\[3, 2\], and that of the first is uint8\[2, 3\]'),
        ({"y": 1.0}, r'b\["y"\] is float64\[\], and that of the first is int64\[\]'),
        ({"z": 0}, r"b has another structure than the first"),
        ({"more": 0}, r"b has another structure than the first"),
    ],
)
def test_what_differs_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        Layout.of(EXAMPLE, "a").stacked([("a", EXAMPLE), ("b", {**EXAMPLE, **change})], 2)


@pytest.mark.parametrize("example", [{}, {"x": {}}])
def test_an_empty_example_is_refused(example):
    with pytest.raises(ValueError, match="source holds no arrays"):
        Layout.of(example, "source")


@pytest.mark.parametrize("value", [None, "text", np.array([object()])])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match=r'source\["x"\] has dtype .*: expected numbers'):
        Layout.of({"x": value}, "source")


def test_decode_that_fails_is_told():
    with pytest.raises(RuntimeError, match="decode fails at row 3: ZeroDivisionError"):
        decoded(lambda example: 1 / 0, EXAMPLE, "row 3")
    assert decoded(None, EXAMPLE, "row 3") is EXAMPLE


def test_orders_are_permutations_filled_up_with_their_first_rows():
    order = order_of(7, np.random.default_rng(0), 2)
    assert sorted(order[:7]) == list(range(7))
    assert order[7:].tolist() == order[:2].tolist()
    assert order_of(3, None, 0).tolist() == [0, 1, 2]


def test_arrays_and_sequences_read_the_same():
    data = {"x": np.arange(12).reshape(6, 2), "y": np.arange(6.0)}
    rows = [{"x": data["x"][i], "y": data["y"][i]} for i in range(6)]
    numbers = np.array([5, 0, 0])
    first, second = Arrays(data, None).read(numbers), Examples(rows, None).read(numbers)
    for name in "xy":
        np.testing.assert_array_equal(first[name], data[name][numbers])
        np.testing.assert_array_equal(first[name], second[name])
    doubled = Arrays(data, lambda row: {"sum": row["x"].sum() + row["y"]}).read(numbers)
    np.testing.assert_array_equal(doubled["sum"], (data["x"].sum(1) + data["y"])[numbers])
