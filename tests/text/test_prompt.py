"""Padding goes to the left, whichever side it came from, and nothing more is kept than is needed."""

import numpy as np
import pytest

from stepax.text.prompt import prepared_prompt


def test_without_a_mask_tokens_stay():
    tokens, real = prepared_prompt([[1, 2, 3]], None, 4, None)
    assert (tokens.tolist(), tokens.dtype, real) == ([[1, 2, 3]], np.int32, None)


def test_padding_goes_to_the_left():
    tokens, real = prepared_prompt(
        [[1, 2, 0, 0, 0], [0, 0, 3, 4, 0], [5, 0, 6, 0, 7]],
        [[True, True, False, False, False], [False, False, True, True, False], [True, False, True, False, True]],
        8,
        None,
    )
    assert tokens.tolist() == [[0, 1, 2], [0, 3, 4], [5, 6, 7]]
    assert real.tolist() == [[False, True, True], [False, True, True], [True, True, True]]


def test_a_mask_without_padding_is_none():
    assert prepared_prompt([[0, 1, 2]], [[0, 1, 1]], 4, None)[1] is None
    assert prepared_prompt([[1, 2, 3], [0, 1, 1]], [[1, 1, 1], [0, 1, 1]], 4, 2)[1] is None


def test_the_last_tokens_fit_the_context():
    tokens, real = prepared_prompt([[1, 2, 3, 4], [5, 0, 0, 0]], [[1, 1, 1, 1], [1, 0, 0, 0]], 8, 2)
    assert tokens.tolist() == [[3, 4], [0, 5]]
    assert real.tolist() == [[True, True], [False, True]]


@pytest.mark.parametrize(
    ("prompt", "mask", "error", "message"),
    [
        ([1, 2], None, ValueError, r"prompt: expected tokens of shape \[batch, time\], got the shape \(2,\)"),
        ([[]], None, ValueError, r"prompt: expected at least one token, got the shape \(1, 0\)"),
        ([[1.0]], None, TypeError, "prompt: expected whole numbers, got float64"),
        ([[1, 4]], None, ValueError, "prompt: expected tokens from 0 to 3, as the vocabulary has them, got 4"),
        ([[-1, 2]], None, ValueError, "prompt: expected tokens from 0 to 3, as the vocabulary has them, got -1"),
        ([[1, 2]], [[1]], ValueError, r"mask: expected the shape of the prompt, \(1, 2\), got \(1, 1\)"),
        ([[1, 2]], [[1.0, 1.0]], TypeError, "mask: expected true or false, got float64"),
        ([[1], [2]], [[1], [0]], ValueError, "mask: expected a real token in every row, and row 1 is hidden"),
    ],
)
def test_bad_input(prompt, mask, error, message):
    with pytest.raises(error, match=message):
        prepared_prompt(prompt, mask, 4, None)
