import jax.numpy as jnp
import numpy as np
import pytest

from stepax.text import BEGIN, END, PADDING, UNKNOWN, characters
from stepax.text.tokens import as_texts, check_text, fields, first_ordinary, ordinary

PLAIN, BOUNDED = characters("abc"), characters("abc", begin=True, end=True)


def test_the_numbers_are_those_that_are_promised():
    assert (PADDING, UNKNOWN, BEGIN, END) == (0, 1, 2, 3)
    assert (first_ordinary(PLAIN), first_ordinary(BOUNDED), first_ordinary(characters("a", end=True))) == (2, 4, 4)


@pytest.mark.parametrize("kind", [list, np.array, jnp.array, lambda row: np.array(row, np.uint8)])
def test_ordinary_tokens(kind):
    assert ordinary(kind([0, 2, 1, 0, 4, 3, 0]), PLAIN) == [2, 1, 4, 3]
    assert ordinary(kind([0, 2, 4, 1, 0, 6, 3, 5, 2]), BOUNDED) == [4, 1, 6]


def test_no_tokens_are_ordinary_too():
    assert ordinary([], PLAIN) == []
    assert ordinary([2, 3, 4], BOUNDED) == []


@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        ([2, 5], ValueError, r"tokens\[1\]: expected a number from 0 to 4, got 5"),
        ([-1], ValueError, r"tokens\[0\]: expected a number from 0 to 4, got -1"),
        ([1.0], TypeError, r"tokens: expected a row of whole numbers, got float64 of shape \[1\]"),
        ([[1, 2]], TypeError, r"got int64 of shape \[1, 2\]"),
        (3, TypeError, r"got int64 of shape \[\]"),
        ("ab", TypeError, r"expected a row of whole numbers"),
    ],
)
def test_what_are_no_tokens_is_refused(tokens, error, message):
    with pytest.raises(error, match=message):
        ordinary(tokens, PLAIN)


def test_texts_are_one_or_several():
    assert as_texts("ab") == ["ab"]
    assert as_texts(iter(["a", ""])) == ["a", ""]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", 3], r"texts\[1\]: expected a string, got int"),
        (b"ab", "texts: expected a text or several, got bytes"),
        (3, "texts: expected a text or several, got int"),
    ],
)
def test_what_are_no_texts_is_refused(texts, message):
    with pytest.raises(TypeError, match=message):
        as_texts(texts)


def test_a_text_is_a_string():
    assert check_text("a") == "a"
    with pytest.raises(TypeError, match="text: expected a string, got list"):
        check_text(["a"])


def test_fields_are_all_there_and_of_their_type():
    kinds = {"a": str, "b": bool}
    assert fields({"b": True, "a": "x"}, kinds) == ["x", True]
    for value, message in [
        ({"a": "x"}, r"expected a dict with \['a', 'b'\], got \['a'\]"),
        ({"a": "x", "b": True, "c": 1}, r"got \['a', 'b', 'c'\]"),
        ([1], "got list"),
        ({"a": "x", "b": 1}, r"vocabulary\['b'\]: expected bool, got int"),
    ]:
        with pytest.raises(ValueError, match=message):
            fields(value, kinds)
