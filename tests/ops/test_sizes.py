"""Sizes in any form that says them, and names of arguments in the messages about others."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from stepax.ops.sizes import check_truth, each, pads, whole


@pytest.mark.parametrize("value", [2, np.int64(2), np.uint8(2), np.array(2), jnp.int32(2)])
def test_any_whole_number(value):
    assert whole("groups", value) == 2
    assert each("strides", value, 3) == (2, 2, 2)
    assert pads(value, (5,), (3,), (1,)) == ((2, 2),)
    assert type(whole("groups", value)) is int
    assert {type(size) for size in each("strides", [value, 1], 2)} == {int}


@pytest.mark.parametrize("value", [1.5, 2.0, "2", None, True, [2], np.array([1, 2])])
def test_what_is_no_whole_number(value):
    with pytest.raises(TypeError, match="groups: expected a whole number, got"):
        whole("groups", value)


def test_what_is_too_small():
    assert whole("layers", 0, 0) == 0
    with pytest.raises(ValueError, match="layers: expected at least 0, got -1"):
        whole("layers", -1, 0)


@pytest.mark.parametrize("value", [(1, 2), [1, 2], np.array([1, 2]), range(1, 3), iter((1, 2))])
def test_one_per_axis(value):
    assert each("window", value, 2) == (1, 2)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        *((value, ValueError) for value in (0, (1, 0), (1,), (1, 2, 3))),
        *((value, TypeError) for value in (1.5, (1, 2.5), None, "ab", ((1, 1), 2), ())),
    ],
)
def test_what_is_no_number_per_axis(value, error):
    with pytest.raises(error, match=r"window: expected a whole number of at least 1, or one per axis of space \(2\)"):
        each("window", value, 2)


@pytest.mark.parametrize(
    ("padding", "pairs"),
    [
        (1, ((1, 1), (1, 1))),
        ((1, 2), ((1, 1), (2, 2))),
        ([1, (2, 3)], ((1, 1), (2, 3))),
        (((1, 0), (-2, 3)), ((1, 0), (-2, 3))),
        (np.array([[1, 0], [2, 3]]), ((1, 0), (2, 3))),
        ("VALID", ((0, 0), (0, 0))),
    ],
)
def test_forms_of_padding(padding, pairs):
    assert pads(padding, (5, 6), (3, 2), (1, 1)) == pairs


def test_names_of_padding_are_those_of_lax():
    for strides in ((1, 1), (2, 3)):
        assert pads("SAME", (5, 6), (3, 2), strides) == tuple(lax.padtype_to_pads((5, 6), (3, 2), strides, "SAME"))
    assert pads("CAUSAL", (5,), (3,), (1,), others=["CAUSAL"]) == ((2, 0),)
    assert pads("REFLECT", (5, 6), (3, 2), (2, 1), others=["REFLECT"]) == ((1, 1), (0, 1))


@pytest.mark.parametrize(
    ("padding", "error"),
    [
        *((padding, ValueError) for padding in ("same", "CAUSAL", (1,), (1, 1, 1), (1, (1, 2, 3)), (1, (1,)))),
        *((padding, TypeError) for padding in (1.5, (1, 0.5), None, (1, None), (1, ()))),
    ],
)
def test_other_padding_is_refused(padding, error):
    with pytest.raises(error, match=r"padding: expected one of 'SAME', 'VALID', a number, .* axis of space \(2\), got"):
        pads(padding, (5, 6), (3, 2), (1, 1), others=["CAUSAL"])


def test_masks():
    for mask in (np.ones(3, bool), np.ones(3, int), jnp.ones(3, jnp.uint8)):
        check_truth("mask", mask)
    with pytest.raises(TypeError, match="mask: expected booleans, true where something is real, got float32"):
        check_truth("mask", jnp.ones(3))
