"""Output sizes against the shapes that XLA's convolution has."""

from itertools import product

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepax.nn.shapes import conv_output_size


def real_size(n, kernel, stride, padding, dilation):
    """The output size of a real convolution, which is 0 where nothing is left."""
    if isinstance(padding, int):
        padding = (padding, padding)
    if padding == "CAUSAL":
        padding = (dilation * (kernel - 1), 0)
    if padding in ("CIRCULAR", "REFLECT"):
        padding = (dilation * (kernel - 1) // 2, dilation * (kernel - 1) - dilation * (kernel - 1) // 2)

    def convolve(x, w):
        pads = padding if isinstance(padding, str) else [padding]
        return jax.lax.conv_general_dilated(
            x, w, (stride,), pads, rhs_dilation=(dilation,), dimension_numbers=("NHC", "HIO", "NHC")
        )

    shapes = (jax.ShapeDtypeStruct(shape, np.float32) for shape in ((1, n, 1), (kernel, 1, 1)))
    return jax.eval_shape(convolve, *shapes).shape[1]


def check(n, kernel, stride, padding, dilation):
    expected = real_size(n, kernel, stride, padding, dilation)
    if expected:
        assert conv_output_size(n, kernel, stride, padding, dilation) == expected
    else:
        with pytest.raises(ValueError, match="no output is left"):
            conv_output_size(n, kernel, stride, padding, dilation)


def test_by_hand():
    assert conv_output_size(28, 5) == 24
    assert conv_output_size(227, 11, stride=4) == 55  # AlexNet
    assert conv_output_size(224, 7, stride=2, padding=3) == 112  # ResNet
    assert conv_output_size(7, 3, stride=2, padding="SAME") == 4
    assert conv_output_size(10, 3, padding=(4, 0), dilation=2) == 10
    assert conv_output_size(10, 3, padding="CAUSAL", dilation=4) == 10


@pytest.mark.parametrize("padding", [0, 1, 3, (0, 1), (2, 0), "SAME", "VALID", "CAUSAL", "CIRCULAR"])
def test_over_a_grid(padding):
    for n, kernel, stride, dilation in product((1, 2, 3, 6, 7), (1, 2, 3, 5), (1, 2, 3), (1, 2, 3)):
        check(n, kernel, stride, padding, dilation)


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(1, 200),
    kernel=st.integers(1, 20),
    stride=st.integers(1, 12),
    padding=st.one_of(
        st.integers(0, 12),
        st.tuples(st.integers(0, 12), st.integers(0, 12)),
        st.sampled_from(["SAME", "VALID", "CAUSAL", "CIRCULAR", "REFLECT"]),
    ),
    dilation=st.integers(1, 9),
)
def test_any_shape(n, kernel, stride, padding, dilation):
    check(n, kernel, stride, padding, dilation)


@pytest.mark.parametrize("name", ["n", "kernel", "stride", "dilation"])
def test_arguments_are_positive_integers(name):
    arguments = {"n": 16, "kernel": 3}
    for value in (0, -1):
        with pytest.raises(ValueError, match=f"{name}: expected at least 1, got {value}"):
            conv_output_size(**{**arguments, name: value})
    for value in (2.0, "3", None):
        with pytest.raises(TypeError, match=f"{name}: expected an integer"):
            conv_output_size(**{**arguments, name: value})
    assert conv_output_size(**{**arguments, name: np.int64(4)}) == conv_output_size(**{**arguments, name: 4})


def test_padding_is_checked():
    for padding in (-1, (0, -1), "same", (1, 2, 3)):
        with pytest.raises(ValueError, match="padding: expected"):
            conv_output_size(8, 3, padding=padding)
    with pytest.raises(TypeError, match=r"padding: expected an integer, got 0\.5"):
        conv_output_size(8, 3, padding=0.5)


def test_what_leaves_no_output_is_named():
    with pytest.raises(ValueError, match=r"reaches over 9 and the padded input has 8 \(1 \+ 6 \+ 1\)"):
        conv_output_size(6, 5, padding=1, dilation=2)
