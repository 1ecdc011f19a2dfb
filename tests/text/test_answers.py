"""Answers that are no numbers."""

import jax
import jax.numpy as jnp
import pytest

from stepax.text.answers import check_answers


def test_rows_without_an_answer_are_told():
    check_answers(jnp.zeros(3, bool), "params", "numbers")
    with pytest.raises(
        ValueError, match="params: the model answers NaN for 2 of 3 rows, the first row 1: expected numb"
    ):
        check_answers(jnp.array([False, True, True]), "params", "numbers")


def test_what_is_traced_cannot_be_looked_at():
    def f(broken):
        check_answers(broken, "params", "numbers")
        return broken

    assert jax.jit(f)(jnp.ones(2, bool)).all()
