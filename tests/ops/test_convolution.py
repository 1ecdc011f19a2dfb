"""The convolution is lax's, in values and gradients, and stays in the fast layout inside a loop."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.test_util import check_grads

from stepax.ops import conv_general_dilated

NUMBERS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


def operands(space, window, channels=2, features=3, batch=2, dtype=np.float64):
    random = np.random.default_rng(0)
    x = random.normal(size=(batch, *space, channels)).astype(dtype)
    return x, random.normal(size=(*window, channels, features)).astype(dtype)


def with_gradients(convolution, x, kernel, *arguments, **settings):
    """The result and, for one random cotangent, both gradients."""

    @jax.jit
    def run(x, kernel):
        y, pull = jax.vjp(lambda x, k: convolution(x, k, *arguments, **settings), x, kernel)
        g = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
        return y, *pull(g)

    return run(x, kernel)


def assert_as_lax(x, kernel, *arguments, tolerance=1e-12, **settings):
    ours = with_gradients(conv_general_dilated, x, kernel, *arguments, **settings)
    stock = with_gradients(lax.conv_general_dilated, x, kernel, *arguments, **settings)
    for name, a, b in zip(("value", "by x", "by kernel"), ours, stock, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, tolerance, tolerance * (1 + np.abs(b).max()), err_msg=name)


@st.composite
def forms(draw):
    axes = draw(st.sampled_from([1, 2]))

    def each(values):
        return tuple(draw(values) for _ in range(axes))

    window, dilation = each(st.integers(1, 3)), each(st.integers(1, 2))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    ends = st.tuples(st.integers(0, 3), st.integers(0, 3))
    return {
        "space": tuple(draw(st.integers(r, r + 4)) for r in reach),
        "window": window,
        "channels": draw(st.integers(1, 6)),
        "features": draw(st.integers(1, 3)),
        "strides": each(st.integers(1, 3)),
        "padding": draw(st.sampled_from(["SAME", "VALID"]) | st.tuples(*[ends] * axes)),
        "dilation": dilation,
    }


@given(forms())
@settings(max_examples=8, deadline=None, derandomize=True)
def test_values_and_gradients_are_those_of_lax(form):
    with jax.enable_x64(True):
        x, kernel = operands(form["space"], form["window"], form["channels"], form["features"])
        numbers = NUMBERS[len(form["space"])]
        assert_as_lax(
            x, kernel, form["strides"], form["padding"], rhs_dilation=form["dilation"], dimension_numbers=numbers
        )


@pytest.mark.parametrize("channels", [3, 4])
def test_few_and_many_channels_with_strides_that_leave_input_unused(channels, x64):
    x, kernel = operands((8, 7), (2, 3), channels)
    assert_as_lax(x, kernel, (3, 2), ((0, 1), (2, 0)), rhs_dilation=(2, 1), dimension_numbers=NUMBERS[2])


@pytest.mark.parametrize(
    ("space", "window", "settings"),
    [
        ((4, 4), (3, 3), {"feature_group_count": 2}),
        ((4, 4), (3, 3), {"lhs_dilation": (2, 1)}),
        ((3, 3, 3), (2, 2, 2), {}),
    ],
    ids=["groups", "dilated input", "three axes"],
)
def test_other_forms_fall_back_to_lax(space, window, settings, x64):
    x, kernel = operands(space, window, 4, 2)
    if "feature_group_count" in settings:
        kernel = kernel[..., :2, :]
    strides, padding, numbers = (1,) * len(space), [(1, 0)] * len(space), NUMBERS[len(space)]
    assert_as_lax(x, kernel, strides, padding, dimension_numbers=numbers, tolerance=0, **settings)
    # Lax's own has a forward-mode derivative; the fast form has none.
    jax.eval_shape(
        lambda x: jax.jvp(
            lambda x: conv_general_dilated(x, kernel, strides, padding, dimension_numbers=numbers, **settings),
            (x,),
            (x,),
        ),
        x,
    )


def test_channels_first_falls_back_to_lax(x64):
    x, kernel = operands((3,), (4,), 5, 2)
    x, kernel = np.moveaxis(x, -1, 1), np.transpose(kernel, (2, 1, 0))
    assert_as_lax(x, kernel, (1,), "SAME", tolerance=0)


def test_gradients_are_those_of_pytorch(torch):
    x, kernel = operands((7, 6), (3, 2), 4, dtype=np.float32)
    ours = with_gradients(conv_general_dilated, x, kernel, (2, 1), ((1, 1), (0, 0)), dimension_numbers=NUMBERS[2])
    tx = torch.tensor(np.moveaxis(x, -1, 1), requires_grad=True)
    tk = torch.tensor(np.transpose(kernel, (3, 2, 0, 1)), requires_grad=True)
    y = torch.nn.functional.conv2d(tx, tk, stride=(2, 1), padding=(1, 0))
    g = np.cos(np.arange(y.numel(), dtype=np.float32)).reshape(ours[0].shape)
    y.backward(torch.tensor(np.moveaxis(g, -1, 1)))
    np.testing.assert_allclose(np.moveaxis(ours[0], -1, 1), y.detach(), 1e-4, 1e-5)
    np.testing.assert_allclose(np.moveaxis(ours[1], -1, 1), tx.grad, 1e-4, 1e-5)
    np.testing.assert_allclose(np.transpose(ours[2], (3, 2, 0, 1)), tk.grad, 1e-4, 1e-5)


def test_gradients_are_finite_differences(x64):
    x, kernel = operands((4,), (2,), 2, 2)
    convolve = jax.jit(lambda x, k: conv_general_dilated(x, k, (2,), ((1, 0),), dimension_numbers=NUMBERS[1]))
    check_grads(convolve, (x, kernel), order=1, modes=["rev"])


def test_lanes_of_vmap_equal_single_ones(x64):
    x, kernel = operands((4, 4), (3, 3), 2)
    kernels = np.stack([kernel, 2 * kernel])

    def both(kernel):
        return jax.grad(lambda x, k: jnp.sin(convolve(x, k)).sum(), (0, 1))(x, kernel)

    def convolve(x, kernel):
        return conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=NUMBERS[2])

    lanes = jax.jit(jax.vmap(both))(kernels)
    single = jax.jit(both)
    for lane in (0, 1):
        for a, b in zip(lanes, single(kernels[lane]), strict=True):
            np.testing.assert_allclose(a[lane], b, 1e-12, 1e-12)


def test_bfloat16():
    x, kernel = (jnp.asarray(a, jnp.bfloat16) for a in operands((4, 4), (3, 3), 4))
    results = with_gradients(conv_general_dilated, x, kernel, (1, 1), "SAME", dimension_numbers=NUMBERS[2])
    wide = with_gradients(
        lax.conv_general_dilated,
        *(a.astype(np.float32) for a in (x, kernel)),
        (1, 1),
        "SAME",
        dimension_numbers=NUMBERS[2],
    )
    for a, b in zip(results, wide, strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype(np.float32), b, 0.05, 0.3)


def labels_in_loop(convolution, space, channels, window=(3, 3), strides=(1, 1)):
    """The layouts of all convolutions in a compiled scan whose body takes a gradient through two of them."""
    random = np.random.default_rng(0)
    axes = len(space)
    x = random.normal(size=(3, *space, channels)).astype(np.float32)
    kernels = [random.normal(size=(*window, a, 5)).astype(np.float32) for a in (channels, 5)]

    def loss(kernels):
        h = jax.nn.relu(convolution(x, kernels[0], (1,) * axes, "SAME", dimension_numbers=NUMBERS[axes]))
        return (convolution(h, kernels[1], strides, "SAME", dimension_numbers=NUMBERS[axes]) ** 2).mean()

    def body(kernels, _):
        return jax.tree.map(lambda k, g: k - 0.1 * g, kernels, jax.grad(loss)(kernels)), None

    text = jax.jit(lambda k: lax.scan(body, k, None, length=3)[0]).lower(kernels).compile().as_text()
    assert " while(" in text
    found = re.findall(r" convolution\(.*dim_labels=([\w>-]+)", text)
    assert len(found) >= 4
    return set(found)


CANONICAL = {1: {"b0f_0io->b0f"}, 2: {"b01f_01io->b01f"}}


@pytest.mark.parametrize(
    ("space", "channels", "window", "strides"),
    [((8, 8), 4, (3, 3), (1, 1)), ((8, 8), 1, (3, 3), (2, 2)), ((9,), 4, (3,), (1,))],
    ids=["plain", "strides, few channels", "one axis"],
)
def test_a_loop_holds_no_convolution_in_a_slow_layout(space, channels, window, strides):
    assert labels_in_loop(conv_general_dilated, space, channels, window, strides) == CANONICAL[len(space)]


def test_lax_has_slow_layouts_so_that_the_check_would_see_them():
    assert labels_in_loop(lax.conv_general_dilated, (8, 8), 4) > CANONICAL[2]


@pytest.mark.xfail(
    reason="XLA exchanges the operands where the kernel is larger than the image, in any program", strict=True
)
def test_a_loop_holds_no_slow_layout_where_the_kernel_is_larger_than_the_image():
    assert labels_in_loop(conv_general_dilated, (2, 2), 4) == CANONICAL[2]
