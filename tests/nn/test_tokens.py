"""Tokens that are none are named, as far as they can be seen."""

import re

import jax
import numpy as np
import pytest

from stepax.nn.tokens import check_as_many, check_tokens, source_and_target

TOKENS = np.array([[1, 4], [0, 9]])


@pytest.mark.parametrize(
    ("tokens", "vocabulary", "error", "message"),
    [
        (TOKENS, 9, ValueError, "source: expected tokens from 0 to 8 (the vocabulary), got 9"),
        (TOKENS - 2, 10, ValueError, "source: expected tokens from 0 to 9 (the vocabulary), got -2"),
        (TOKENS / 2, 10, TypeError, "source: expected whole numbers, got float64"),
        (TOKENS == 1, 10, TypeError, "source: expected whole numbers, got bool"),
    ],
)
def test_what_are_no_tokens_is_refused(tokens, vocabulary, error, message):
    with pytest.raises(error, match=re.escape(message)):
        check_tokens("source", tokens, vocabulary)


def test_what_is_masked_or_not_seen_or_not_there_passes():
    check_tokens("x", TOKENS, 10)
    check_tokens("x", TOKENS, 5, TOKENS < 9)
    check_tokens("x", TOKENS[:0], 1)
    with pytest.raises(ValueError, match="got 9"):
        check_tokens("x", TOKENS, 5, TOKENS > 0)
    jax.eval_shape(lambda tokens: check_tokens("x", tokens, 1), TOKENS)
    jax.eval_shape(lambda mask: check_tokens("x", TOKENS, 1, mask), TOKENS > 0)
    with pytest.raises(TypeError, match="x: expected whole numbers, got float32"):
        jax.eval_shape(lambda tokens: check_tokens("x", tokens, 1), TOKENS.astype(np.float32))


def test_a_pair_is_a_dict_of_as_many():
    source, target = source_and_target({"target": TOKENS[:, :1], "source": TOKENS})
    assert source is TOKENS
    assert target.shape == (2, 1)
    with pytest.raises(TypeError, match=r"""x: expected a dict with "source" and "target", got \['source'\]"""):
        source_and_target({"source": TOKENS})
    with pytest.raises(TypeError, match="got ndarray"):
        source_and_target(TOKENS)
    with pytest.raises(ValueError, match="x: 2 sources, but 1 targets: expected as many"):
        check_as_many(TOKENS, TOKENS[:1])
    check_as_many(TOKENS, TOKENS[:, :1])
