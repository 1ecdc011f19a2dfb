"""The ways of a CPU, against lax's; what is built of them is tested in test_convolution.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepax.ops import convolution_forms as forms
from stepax.program import equations

FORM_1 = forms.Form((1,), ((34, 35),), (1,), (1,), 1, None)
FORM = forms.Form((1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 1, None)


def numbers(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


def operands(channels, features, groups=1, space=(5, 4)):
    random = np.random.default_rng(0)
    x = random.normal(size=(2, *space, channels))
    kernel = random.normal(size=(3, 3, channels // groups, features))
    return x, kernel, random.normal(size=(2, *space, features))


@pytest.mark.parametrize(
    ("channels", "features", "groups", "space"),
    [(3, 2, 1, (5, 4)), (4, 2, 1, (5, 4)), (4, 2, 1, (1, 1)), (4, 8, 4, (5, 4)), (6, 4, 2, (5, 4)), (18, 9, 9, (5, 4))],
    ids=["few channels", "plain", "kernel larger than the image", "depthwise", "few groups", "many groups"],
)
@pytest.mark.parametrize("large", [1, 2**18], ids=["in parts", "at once"])
def test_equal_lax(channels, features, groups, space, large, x64, monkeypatch):
    monkeypatch.setattr(forms, "LARGE", large)
    x, kernel, g = operands(channels, features, groups, space)
    form = FORM._replace(groups=groups)
    ours, stock = (
        jax.jit(lambda x, k, f=f: f(x, k, form=form))(x, kernel) for f in (forms.conv_on_cpu, forms.stock_conv)
    )
    np.testing.assert_allclose(ours, stock, 1e-12, 1e-12)
    settings = {"form": form, "window": (3, 3)}
    ours = jax.jit(lambda x, g: forms.kernel_gradient_on_cpu(x, g, **settings))(x, g)
    np.testing.assert_allclose(ours, forms.stock_kernel_gradient(x, g, **settings), 1e-12, 1e-12)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    ("spread", "dilation", "padding"),
    [
        ((2, 2), (1, 1), ((1, 1), (1, 1))),
        ((3, 1), (1, 2), ((-2, 5), (0, 3))),  # a phase without any part of the kernel: 3 > 2
        ((4, 3), (2, 3), ((3, 0), (7, -1))),
        ((2, 5), (4, 3), ((9, 9), (2, 6))),
    ],
)
def test_a_spread_input_is_convolved_by_phases(spread, dilation, padding, groups, x64):
    x, kernel, _ = operands(4, 8, groups, (7, 6))
    form = FORM._replace(spread=spread, dilation=dilation, padding=padding, groups=groups)
    kernel = kernel[:2]
    np.testing.assert_allclose(
        jax.jit(lambda x, k: forms.conv_on_cpu(x, k, form=form))(x, kernel),
        forms.stock_conv(x, kernel, form=form),
        1e-12,
        1e-12,
    )
    text = str(jax.make_jaxpr(lambda x, k: forms.conv_on_cpu(x, k, form=form))(x, kernel))
    assert text.count("lhs_dilation=(") == text.count("lhs_dilation=(1, 1)")


def test_no_loop_for_few_groups_and_one_for_many():
    for groups, loops in ((forms.FEW_GROUPS, False), (forms.FEW_GROUPS + 1, True)):
        x, kernel, _ = operands(2 * groups, groups, groups)
        form = FORM._replace(groups=groups)
        text = str(jax.make_jaxpr(lambda x, k, form=form: forms.conv_on_cpu(x, k, form=form))(x, kernel))
        assert ("scan" in text) == loops


def test_batches_are_cut_into_equal_parts():
    of = lambda batch, size=forms.LARGE: forms._parts(jax.ShapeDtypeStruct((batch, size), np.float32))  # noqa: E731
    assert [of(batch) for batch in (128, 60, 9, 7, 11)] == [8, 6, 3, 7, 1]
    assert of(128, 1) == 1


LARGE_WINDOWS = {
    "depthwise": ((2, 90, 3), (70, 1, 6), FORM_1._replace(groups=3)),
    "depthwise, in two dimensions": ((1, 12, 11, 2), (9, 8, 1, 2), FORM._replace(groups=2, strides=(2, 1))),
    "few channels": ((2, 90, 2), (81, 2, 3), FORM_1._replace(padding=((80, 0),))),
    "larger than the input": ((2, 5, 4), (70, 4, 3), FORM_1._replace(padding=((35, 36),))),
    "larger and dilated": ((2, 5, 1), (65, 1, 3), FORM_1._replace(padding=((64, 66),), dilation=(2,), strides=(2,))),
}


@pytest.mark.parametrize("name", LARGE_WINDOWS)
def test_large_windows_equal_lax(name, x64):
    input_shape, kernel_shape, form = LARGE_WINDOWS[name]
    x, kernel = numbers(*input_shape), numbers(*kernel_shape)
    stock = forms.stock_conv(x, kernel, form=form)
    ours = jax.jit(lambda x, k: forms.conv_on_cpu(x, k, form=form))(x, kernel)
    np.testing.assert_allclose(ours, stock, 1e-11, 1e-11)
    settings, g = {"form": form, "window": kernel_shape[:-2]}, numbers(*stock.shape)
    ours = jax.jit(lambda x, g: forms.kernel_gradient_on_cpu(x, g, **settings))(x, g)
    np.testing.assert_allclose(ours, forms.stock_kernel_gradient(x, g, **settings), 1e-11, 1e-11)


@pytest.mark.parametrize(("channels", "groups", "length"), [(4, 4, 2000), (1, 1, 2000), (4, 1, 20)])
def test_a_program_grows_with_its_window_up_to_a_limit_only(channels, groups, length):
    def size(window):
        """The equations of a convolution and of its gradient by the kernel."""
        form = FORM_1._replace(groups=groups, padding=((window - 1, 0),))
        x, g = (jax.ShapeDtypeStruct((2, length, n), np.float32) for n in (channels, 4))
        kernel = jax.ShapeDtypeStruct((window, channels // groups, 4), np.float32)
        settings = {"form": form, "window": (window,)}
        programs = (
            jax.make_jaxpr(lambda x, k: forms.conv_on_cpu(x, k, form=form))(x, kernel),
            jax.make_jaxpr(lambda x, g: forms.kernel_gradient_on_cpu(x, g, **settings))(x, g),
        )
        return sum(len(list(equations(program.jaxpr))) for program in programs)

    # In two windows of the same rest after whole rounds only numbers differ.
    many, more = (size(forms.MOST_PLACES + extra) for extra in (63, 1023))
    assert many == more
    assert more < 600


def test_few_products_are_summed_and_many_convolved():
    for channels, convolutions in ((3, 0), (4, 1)):
        x, kernel, _ = operands(channels, 2)
        text = str(jax.make_jaxpr(lambda x, k: forms.conv_on_cpu(x, k, form=FORM))(x, kernel))
        assert text.count("conv_general_dilated[") == convolutions


def test_channels_last():
    numbers = forms.channels_last(2)
    assert (numbers.lhs_spec, numbers.rhs_spec) == ((0, 3, 1, 2), (3, 2, 0, 1))
    assert jnp.ndim(np.zeros(forms.channels_last(1).out_spec)) == 3


@pytest.mark.parametrize("dtype", [np.int32, np.uint8])
def test_whole_numbers_are_summed_as_such(dtype):
    x, kernel = (np.full(shape, 200 if dtype is np.uint8 else 5001, dtype) for shape in ((1, 3, 3, 1), (3, 3, 1, 1)))
    ours = jax.jit(lambda x, k: forms.conv_on_cpu(x, k, form=FORM))(x, kernel)
    assert ours.dtype == dtype
    np.testing.assert_array_equal(ours, forms.stock_conv(x, kernel, form=FORM))


@pytest.mark.parametrize("groups", [1, 3])
def test_half_precision_is_summed_in_float32(groups):
    random = np.random.default_rng(0)
    window = (15, 15)
    x, kernel = random.uniform(1, 2, (1, 15, 15, 3)), random.uniform(1, 2, (*window, 3 // groups, 3))
    form = FORM._replace(padding=((0, 0), (0, 0)), groups=groups)
    half = [jnp.asarray(array, jnp.bfloat16) for array in (x, kernel)]
    ours = jax.jit(lambda x, k: forms.conv_on_cpu(x, k, form=form))(*half)
    exact = forms.stock_conv(*(array.astype(jnp.float32) for array in half), form=form)
    np.testing.assert_allclose(ours.astype(jnp.float32), exact, 2**-8)


def test_a_batch_of_any_size_can_be_exported():
    def layer(x, kernel):
        return forms.conv_on_cpu(x, kernel, form=FORM)

    (rows,) = jax.export.symbolic_shape("rows")
    shapes = [jax.ShapeDtypeStruct(shape, np.float32) for shape in ((rows, 32, 32, 1), (3, 3, 1, 64))]
    exported = jax.export.export(jax.jit(layer))(*shapes)
    assert exported.call(np.ones((2, 32, 32, 1), np.float32), np.ones((3, 3, 1, 64), np.float32)).shape[0] == 2
