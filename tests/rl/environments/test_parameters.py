"""Parameters: what is let through, what is refused, and what is traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepax.rl.environments.parameters import number, positive, probability


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.array(2), jnp.float32(2)], ids=lambda v: type(v).__name__)
def test_what_is_known_becomes_a_float(value):
    for check in (number, positive):
        assert type(check("x", value)) is float
        assert check("x", value) == 2
    with pytest.raises(ValueError, match=r"^x: expected a number from 0 to 1, got 2"):
        probability("x", value)


def test_what_is_traced_becomes_float32():
    dtypes = []
    jax.eval_shape(lambda x: dtypes.append([check("x", x).dtype for check in (number, positive, probability)]), 1)
    assert dtypes == [[np.float32] * 3]


@pytest.mark.parametrize("check", [number, positive, probability])
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (True, TypeError, "x: expected a number, got bool True"),
        ("1", TypeError, "x: expected a number, got str '1'"),
        (None, TypeError, "x: expected a number, got NoneType None"),
        (np.nan, ValueError, "x: expected a finite number, got nan"),
        (np.inf, ValueError, "x: expected a finite number, got inf"),
        (np.ones(1), ValueError, r"x: expected one number, got an array of shape \(1,\)"),
    ],
    ids=str,
)
def test_what_is_no_number(check, value, error, message):
    with pytest.raises(error, match=message):
        check("x", value)


def test_ranges():
    assert probability("x", 0) == 0
    assert probability("x", 1) == 1
    assert number("x", -3) == -3
    with pytest.raises(ValueError, match="x: expected a number above 0, got -3"):
        positive("x", -3)
    with pytest.raises(ValueError, match=r"x: expected a number from 0 to 1, got -0\.1"):
        probability("x", -0.1)
