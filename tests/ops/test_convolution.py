"""The convolution is lax's, in values and derivatives of any kind, and stays in the fast layout inside a loop."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.test_util import check_grads

from stepax.ops import conv, conv_general_dilated

NUMBERS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


def operands(space, window, channels=2, features=3, batch=2, groups=1, dtype=np.float64):
    random = np.random.default_rng(0)
    x = random.normal(size=(batch, *space, channels)).astype(dtype)
    return x, random.normal(size=(*window, channels // groups, features)).astype(dtype)


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
    assert_equal(ours, stock, tolerance)


def assert_equal(ours, stock, tolerance=1e-12):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(stock), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, tolerance, tolerance * (1 + np.abs(b).max(initial=0)))


@st.composite
def forms(draw):
    axes = draw(st.sampled_from([1, 2]))

    def each(values):
        return tuple(draw(values) for _ in range(axes))

    window, dilation = each(st.integers(1, 3)), each(st.integers(1, 2))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    ends = st.tuples(st.integers(-1, 3), st.integers(0, 3))
    groups = draw(st.sampled_from([1, 1, 2, 9]))
    padding = draw(st.sampled_from(["SAME", "VALID"]) | st.tuples(*[ends] * axes))
    return {
        "space": tuple(draw(st.integers(r + 1, r + 4)) for r in reach),
        "window": window,
        "channels": groups * draw(st.integers(1, 6 if groups == 1 else 2)),
        "features": groups * draw(st.integers(1, 3)),
        "groups": groups,
        "strides": each(st.integers(1, 3)),
        "padding": padding,
        # lax refuses to spread an input that is padded by name.
        "spread": (1,) * axes if isinstance(padding, str) else each(st.sampled_from([1, 1, 2, 3])),
        "dilation": dilation,
    }


@given(forms())
@settings(max_examples=16, deadline=None, derandomize=True)
def test_values_and_gradients_are_those_of_lax(form):
    with jax.enable_x64(True):
        x, kernel = operands(form["space"], form["window"], form["channels"], form["features"], groups=form["groups"])
        assert_as_lax(
            x,
            kernel,
            form["strides"],
            form["padding"],
            lhs_dilation=form["spread"],
            rhs_dilation=form["dilation"],
            dimension_numbers=NUMBERS[len(form["space"])],
            feature_group_count=form["groups"],
        )


@pytest.mark.parametrize("channels", [3, 4])
def test_few_and_many_channels_with_strides_that_leave_input_unused(channels, x64):
    x, kernel = operands((8, 7), (2, 3), channels)
    assert_as_lax(x, kernel, (3, 2), ((0, 1), (2, 0)), rhs_dilation=(2, 1), dimension_numbers=NUMBERS[2])


@pytest.mark.parametrize(
    ("padding", "strides", "dilation", "groups", "explicit"),
    [
        ("CAUSAL", 1, 2, 1, [(4, 0)]),
        ("CAUSAL", 2, 1, 3, [(2, 0)]),
        ("SAME", 2, 1, 1, [(1, 1)]),
        ("VALID", 1, 2, 6, [(0, 0)]),
    ],
)
def test_conv_in_one_dimension_by_hand(padding, strides, dilation, groups, explicit, x64):
    x, kernel = operands((7,), (3,), 6, 12, groups=groups)
    y = conv(x, kernel, strides=strides, padding=padding, dilation=dilation, groups=groups)
    padded = np.pad(x, [(0, 0), *explicit, (0, 0)])
    for n, t, f in np.ndindex(*y.shape):
        channels = np.arange(6 // groups) + f // (12 // groups) * (6 // groups)
        places = t * strides + dilation * np.arange(3)
        np.testing.assert_allclose(y[n, t, f], (padded[n, places][:, channels] * kernel[..., f]).sum(), 1e-12)


@pytest.mark.parametrize(("name", "expected"), [("CIRCULAR", [412, 123, 234, 341]), ("REFLECT", [212, 123, 234, 343])])
def test_padding_with_the_inputs_own_values_by_hand(name, expected):
    x = jnp.array([1.0, 2.0, 3.0, 4.0])[None, :, None]
    y = conv(x, jnp.array([100.0, 10.0, 1.0])[:, None, None], padding=name)[0, :, 0]
    assert y.tolist() == expected


def test_no_output_of_a_causal_convolution_sees_a_later_input(x64):
    x, kernel = operands((6,), (3,), 2, 3, batch=1)
    jacobian = jax.jacfwd(lambda x: conv(x, kernel, padding="CAUSAL", dilation=2))(x)[0, :, :, 0]
    seen = np.abs(jacobian).sum((1, 3))
    assert (seen[np.triu_indices(6, 1)] == 0).all()
    assert (np.diag(seen) > 0).all()


@pytest.mark.parametrize(
    ("shapes", "settings", "message"),
    [
        (((2, 4), (3, 4, 5)), {}, "x and kernel: expected .* got the shapes"),
        (((2, 5, 4), (3, 3, 4, 5)), {}, "x and kernel: expected"),
        (((2, 5, 4), (3, 3, 5)), {}, "groups: 1 groups of 3 channels"),
        (((2, 5, 4), (3, 2, 5)), {"groups": 2}, "groups: 2 groups .* divide 4 channels and 5 features"),
        (((2, 5, 4), (3, 4, 5)), {"groups": 0}, "groups: expected at least 1, got 0"),
        (((2, 5, 4), (0, 4, 5)), {}, "kernel: expected a window of at least 1 along each axis"),
        (
            ((2, 5, 4), (3, 4, 5)),
            {"strides": (1, 1)},
            "strides: expected a whole number of at least 1, or one per axis",
        ),
        (((2, 5, 4), (3, 4, 5)), {"strides": -2}, "strides: expected a whole number of at least 1"),
        (((2, 5, 4), (3, 4, 5)), {"dilation": 0}, "dilation: expected a whole number of at least 1"),
        (((2, 5, 5, 4), (3, 3, 4, 5)), {"padding": "CAUSAL"}, "padding: expected one of 'SAME', 'VALID', 'CIRC"),
        (((2, 5, 4), (3, 4, 5)), {"padding": "same"}, "padding: expected one of 'SAME', 'VALID', 'CAUSAL'"),
        (((2, 5, 4), (3, 4, 5)), {"padding": [(1, 1), (1, 1)]}, r"padding: .* pair per axis of space \(1\), got"),
        (((2, 5, 4), (3, 4, 5)), {"padding": (1, 1)}, r"padding: .* axis of space \(1\), got \(1, 1\)"),
        (((2, 5, 4), (3, 4, 5)), {"padding": "VALID", "dilation": 3}, r"kernel: a window of \[7\] does not fit"),
    ],
)
def test_bad_input_names_the_argument(shapes, settings, message):
    x, kernel = (np.zeros(shape, np.float32) for shape in shapes)
    with pytest.raises(ValueError, match=message):
        conv(x, kernel, **settings)


@pytest.mark.parametrize("name", ["strides", "padding", "dilation", "groups"])
@pytest.mark.parametrize("value", [1.5, None, True])
def test_what_is_no_whole_number_names_the_argument(name, value):
    x, kernel = operands((5,), (3,), 4, dtype=np.float32)
    with pytest.raises(TypeError, match=rf"{name}: expected .*, got {value}"):
        conv(x, kernel, **{name: value})


@pytest.mark.parametrize(
    ("settings", "flax"),
    [
        ({"padding": 1}, {}),
        ({"padding": (np.int64(2), 0)}, {"padding": (2, 0)}),
        ({"padding": (1, (0, 2))}, {}),
        ({"padding": ((2, 1), (0, 0)), "strides": np.int64(2)}, {}),
        ({"strides": np.array([2, 1]), "padding": 3, "dilation": np.int32(2)}, {"strides": (2, 1)}),
    ],
    ids=str,
)
def test_numbers_are_taken_as_by_flax(settings, flax):
    x, kernel = operands((6, 5), (3, 2), dtype=np.float32)
    known = {"padding": settings["padding"], "strides": int(np.max(settings.get("strides", 1))), **flax}
    known["kernel_dilation"] = int(settings.get("dilation", 1))
    module = linen.Conv(3, (3, 2), use_bias=False, **known)
    np.testing.assert_allclose(conv(x, kernel, **settings), module.apply({"params": {"kernel": kernel}}, x), 1e-4, 1e-5)


EMPTY = [
    ((2, 5, 4, 0), (3, 2, 0, 3), {}),
    ((2, 5, 4, 4), (3, 2, 4, 0), {}),
    ((2, 5, 4, 0), (3, 2, 0, 2), {"feature_group_count": 2}),
    ((2, 5, 4, 18), (3, 2, 2, 0), {"feature_group_count": 9}),
    ((2, 5, 4, 3), (3, 2, 1, 0), {"feature_group_count": 3}),
    ((0, 5, 4, 2), (3, 2, 2, 3), {}),
    ((0, 5, 4, 2), (3, 2, 1, 2), {"feature_group_count": 2}),
    ((2, 0, 4, 2), (3, 2, 2, 3), {}),
    ((2, 5, 4, 2), (7, 2, 2, 3), {"padding": "VALID"}),
    ((2, 5, 4, 8), (7, 2, 4, 2), {"padding": "VALID", "feature_group_count": 2}),
    ((2, 5, 4, 8), (7, 2, 8, 2), {"padding": "VALID", "window_strides": (2, 1)}),
    ((2, 5, 4, 2), (3, 2, 2, 3), {"padding": ((-2, -2), (0, 0))}),
    ((2, 5, 4, 2), (3, 2, 2, 3), {"padding": ((-5, -2), (0, 0)), "lhs_dilation": (2, 1)}),
]


@pytest.mark.parametrize(("input_shape", "kernel_shape", "settings"), EMPTY)
def test_what_is_empty_is_so_for_lax_too(input_shape, kernel_shape, settings, x64):
    x, kernel = (np.random.default_rng(0).normal(size=shape) for shape in (input_shape, kernel_shape))
    settings = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": NUMBERS[2], **settings}
    assert_as_lax(x, kernel, **settings)
    lanes = with_gradients(
        jax.vmap(partial(conv_general_dilated, **settings)), np.stack([x, x]), np.stack([kernel] * 2)
    )
    stock = with_gradients(
        jax.vmap(partial(lax.conv_general_dilated, **settings)), np.stack([x, x]), np.stack([kernel] * 2)
    )
    assert_equal(lanes, stock)


def test_shapes_that_do_not_fit_are_refused_where_one_is_empty_too():
    with pytest.raises(ValueError, match="lhs feature dimension size"):
        conv_general_dilated(np.zeros((2, 5, 0)), np.zeros((3, 4, 5)), (1,), "SAME", dimension_numbers=NUMBERS[1])


@pytest.mark.parametrize("strides", [(1, 1), (-1,)])
def test_strides_that_fit_no_form_are_refused_by_lax(strides):
    x, kernel = operands((5,), (3,), dtype=np.float32)
    with pytest.raises((TypeError, ValueError), match=r"stride|same"):
        conv_general_dilated(x, kernel, strides, "VALID", dimension_numbers=NUMBERS[1])


@pytest.mark.parametrize(
    ("space", "window", "settings"),
    [((3, 3, 3), (2, 2, 2), {}), ((4, 4), (3, 3), {"batch_group_count": 2})],
    ids=["three axes", "groups of the batch"],
)
def test_other_forms_fall_back_to_lax(space, window, settings, x64):
    x, kernel = operands(space, window, 4, 2)
    strides, padding, numbers = (1,) * len(space), [(1, 0)] * len(space), NUMBERS[len(space)]
    assert_as_lax(x, kernel, strides, padding, dimension_numbers=numbers, tolerance=0, **settings)


def test_a_spread_input_padded_by_name_is_refused_as_by_lax():
    x, kernel = operands((5,), (3,))
    with pytest.raises(ValueError, match="padding"):
        conv_general_dilated(x, kernel, (1,), "SAME", (2,), dimension_numbers=NUMBERS[1])


def test_channels_first_falls_back_to_lax(x64):
    x, kernel = operands((3,), (4,), 5, 2)
    x, kernel = np.moveaxis(x, -1, 1), np.transpose(kernel, (2, 1, 0))
    assert_as_lax(x, kernel, (1,), "SAME", tolerance=0)


def test_gradients_are_those_of_pytorch(torch):
    x, kernel = operands((7, 6), (3, 2), 4, 6, groups=2, dtype=np.float32)
    ours = with_gradients(conv, x, kernel, strides=(2, 1), padding=((1, 1), (0, 0)), groups=2)
    tx = torch.tensor(np.moveaxis(x, -1, 1), requires_grad=True)
    tk = torch.tensor(np.transpose(kernel, (3, 2, 0, 1)), requires_grad=True)
    y = torch.nn.functional.conv2d(tx, tk, stride=(2, 1), padding=(1, 0), groups=2)
    g = np.cos(np.arange(y.numel(), dtype=np.float32)).reshape(ours[0].shape)
    y.backward(torch.tensor(np.moveaxis(g, -1, 1)))
    np.testing.assert_allclose(np.moveaxis(ours[0], -1, 1), y.detach(), 1e-4, 1e-5)
    np.testing.assert_allclose(np.moveaxis(ours[1], -1, 1), tx.grad, 1e-4, 1e-5)
    np.testing.assert_allclose(np.transpose(ours[2], (3, 2, 0, 1)), tk.grad, 1e-4, 1e-5)


@pytest.mark.parametrize("groups", [1, 2], ids=["one group", "two groups"])
def test_derivatives_are_finite_differences(groups, x64):
    x, kernel = operands((4,), (2,), 2, 2, groups=groups)
    convolve = jax.jit(partial(conv, strides=2, padding=((1, 0),), groups=groups))
    check_grads(convolve, (x, kernel), order=2, modes=["fwd", "rev"])


def second_derivatives(convolve, x, kernel):
    def gradients(x, kernel):
        return jax.grad(lambda x, k: jnp.sin(convolve(x, k)).sum(), (0, 1))(x, kernel)

    return jax.grad(lambda x, k: sum((g**2).sum() for g in gradients(x, k)), (0, 1))(x, kernel)


def test_second_derivatives_are_those_of_lax(x64):
    x, kernel = operands((5, 4), (3, 2), 4, 2, groups=2)
    arguments = {
        "window_strides": (2, 1),
        "padding": ((1, 0), (0, 1)),
        "dimension_numbers": NUMBERS[2],
        "feature_group_count": 2,
    }
    ours, stock = (
        jax.jit(partial(second_derivatives, partial(c, **arguments)))(x, kernel)
        for c in (conv_general_dilated, lax.conv_general_dilated)
    )
    assert_equal(ours, stock)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)], ids=["inputs", "kernels", "both"])
@pytest.mark.parametrize("groups", [1, 2], ids=["one group", "two groups"])
def test_lanes_of_vmap_equal_those_of_lax(groups, axes, x64):
    x, kernel = operands((4, 3), (3, 2), 4, 2, groups=groups)
    x, kernel = (
        np.stack([a, np.sin(a), np.cos(a)]) if axis == 0 else a for a, axis in zip((x, kernel), axes, strict=True)
    )

    def gradients(convolution):
        def one(x, kernel):
            return convolution(x, kernel, (1, 1), "SAME", dimension_numbers=NUMBERS[2], feature_group_count=groups)

        def lane(x, kernel):
            return jax.grad(lambda x, k: jnp.sin(one(x, k)).sum(), (0, 1))(x, kernel)

        def total(x, kernel):
            return jnp.sin(jax.vmap(one, axes)(x, kernel)).sum()

        return jax.jit(lambda *a: (jax.vmap(lane, axes)(*a), jax.grad(total, (0, 1))(*a)))(x, kernel)

    assert_equal(gradients(conv_general_dilated), gradients(lax.conv_general_dilated))


def test_under_scan_cond_and_remat(x64):
    x, kernel = operands((4, 4), (3, 3), 3, 3)

    def loss(convolve):
        def body(x, _):
            return lax.cond(
                x.sum() > 0, lambda x: jnp.tanh(convolve(x, kernel)), lambda x: convolve(x, kernel), x
            ), None

        return lambda x: lax.scan(jax.checkpoint(body), x, None, length=3)[0].sum()

    stock = partial(lax.conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=NUMBERS[2])
    ours, theirs = (jax.jit(jax.grad(loss(c)))(x) for c in (conv, stock))
    assert_equal(ours, theirs)


@pytest.mark.parametrize("groups", [1, 4], ids=["one group", "depthwise"])
def test_bfloat16(groups):
    x, kernel = (jnp.asarray(a, jnp.bfloat16) for a in operands((4, 4), (3, 3), 4, 4, groups=groups))
    results = with_gradients(conv, x, kernel, groups=groups)
    wide = with_gradients(conv, *(a.astype(np.float32) for a in (x, kernel)), groups=groups)
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
    return set(re.findall(r" convolution\(.*dim_labels=([\w>-]+)", text))


CANONICAL = {1: {"b0f_0io->b0f"}, 2: {"b01f_01io->b01f"}}


@pytest.mark.parametrize(
    ("space", "channels", "window", "strides"),
    [((8, 8), 4, (3, 3), (1, 1)), ((8, 8), 1, (3, 3), (2, 2)), ((2, 2), 4, (3, 3), (1, 1)), ((9,), 4, (3,), (1,))],
    ids=["plain", "strides, few channels", "kernel larger than the image", "one axis"],
)
def test_a_loop_holds_no_convolution_in_a_slow_layout(space, channels, window, strides):
    assert labels_in_loop(conv_general_dilated, space, channels, window, strides) <= CANONICAL[len(space)]


def test_lax_has_slow_layouts_so_that_the_check_would_see_them():
    assert labels_in_loop(lax.conv_general_dilated, (8, 8), 4) > CANONICAL[2]


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_lowers_everywhere_and_to_stock_convolutions_off_the_cpu(platform):
    x, kernel = operands((5, 5), (3, 3), 6, 6, groups=6, dtype=np.float32)
    gradients = jax.jit(jax.grad(lambda x, k: conv(x, k, groups=6).sum(), (0, 1)))
    text = jax.export.export(gradients, platforms=(platform,))(x, kernel).mlir_module()
    assert ("stablehlo.convolution" in text) == (platform != "cpu")


def test_the_precision_asked_for_where_it_is_used_is_kept():
    def layer(x, kernel):
        with jax.default_matmul_precision("float32"):
            return conv(x, kernel)

    shapes = [jax.ShapeDtypeStruct(shape, np.float32) for shape in ((1, 4, 4, 5), (3, 3, 5, 5))]
    assert "HIGHEST" in jax.jit(layer).trace(*shapes).lower(lowering_platforms=("cuda",)).as_text()
    assert "HIGHEST" not in jax.jit(conv).trace(*shapes).lower(lowering_platforms=("cuda",)).as_text()
