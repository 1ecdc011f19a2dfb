"""``x W + b`` in values, derivatives and messages."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from stepax.ops import dense
from stepax.ops.dense import product


@pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
def test_equals_the_formula(leading, x64):
    random = np.random.default_rng(0)
    x, kernel, bias = random.normal(size=(*leading, 5)), random.normal(size=(5, 7)), random.normal(size=7)
    np.testing.assert_allclose(dense(x, kernel, bias), x @ kernel + bias, 1e-12)
    np.testing.assert_allclose(dense(x, kernel), x @ kernel, 1e-12)
    check_grads(lambda *a: jnp.sin(dense(*a)), (x, kernel, bias), order=2, modes=["fwd", "rev"])


def test_the_biases_gradient_is_the_sum_over_all_leading_axes(x64):
    g = np.random.default_rng(0).normal(size=(62, 3, 4))
    x = jnp.ones((62, 3, 2))
    gradient = jax.grad(lambda b: (dense(x, jnp.ones((2, 4)), b) * g).sum())(jnp.zeros(4))
    np.testing.assert_allclose(gradient, g.sum((0, 1)), 1e-12)


def gradients(multiply):
    """Of a function that is linear in neither operand."""
    return jax.grad(lambda a, b: jnp.sin(multiply(a, b)).sum(), (0, 1))


@pytest.mark.parametrize("axes", [(0, None), (2, None), (None, 0), (None, 1), (0, 0), (1, 2)])
def test_lanes_of_vmap_equal_those_of_matmul(axes, x64):
    random = np.random.default_rng(0)
    a, b = (
        random.normal(size=(*shape[:axis], 5, *shape[axis:]) if axis is not None else shape)
        for shape, axis in zip([(3, 4), (4, 6)], axes, strict=True)
    )
    for function in (lambda f: f, gradients, lambda f: gradients(lambda a, b: gradients(f)(a, b)[0])):
        for ours, stock in zip(
            *(jax.tree.leaves(jax.jit(jax.vmap(function(f), axes))(a, b)) for f in (product, jnp.matmul)), strict=True
        ):
            np.testing.assert_allclose(ours, stock, 1e-12, 1e-12)


# Rows, inputs and outputs by which the gradients meet every form that a product has on a CPU.
FORMS = [(5, 7, 2), (33, 7, 2), (5, 3, 6), (130, 70, 9), (3, 4, 260), (5, 2, 1), (5, 1, 300), (130, 64, 8)]


@pytest.mark.parametrize("sizes", FORMS)
@pytest.mark.parametrize("lanes", [(), (3,), (2, 2)])
def test_every_form_on_a_cpu_equals_matmul(sizes, lanes, x64):
    rows, inputs, outputs = sizes
    random = np.random.default_rng(0)
    a, b = random.normal(size=(*lanes, rows, inputs)), random.normal(size=(*lanes, inputs, outputs))

    def both(multiply):
        run = gradients(multiply)
        for _ in lanes:
            run = jax.vmap(run)
        return jax.jit(run)(a, b)

    for ours, stock in zip(both(product), both(jnp.matmul), strict=True):
        np.testing.assert_allclose(ours, stock, 1e-11, 1e-11)


def test_products_with_few_columns_are_no_matrix_products_on_a_cpu():
    def text(outputs, platform):
        shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((32, 16), (16, outputs))]
        traced = jax.jit(gradients(product)).trace(*shapes)
        return traced.lower(lowering_platforms=(platform,)).as_text()

    # One is the way forward; of the gradients, one by each side.
    assert [text(2, platform).count("dot_general") for platform in ("cpu", "cuda", "tpu")] == [1, 3, 3]
    assert text(16, "cpu").count("dot_general") == 3


def test_lanes_within_lanes(x64):
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 3, 4)), random.normal(size=(5, 4, 6))
    ours = jax.vmap(jax.vmap(product, (None, 0)), (0, None))(a, b)
    np.testing.assert_allclose(ours, a[:, None] @ b, 1e-12)


def test_many_models_on_the_same_data_are_products_side_by_side():
    """Not one wide product, for which the weights of all models would be put in another order at every step."""

    def step(w, x):
        return jax.grad(lambda w: jnp.square(product(x, w)).sum())(w)

    weights, x = jnp.zeros((5, 4, 6)), jnp.zeros((3, 4))
    text = str(jax.make_jaxpr(jax.vmap(step, (0, None)))(weights, x))
    assert text.count("stepax_product[") == 2
    assert "f32[5,3,6] = stepax_product[" in text
    assert "f32[5,4,6] = stepax_product[" in text
    assert "transpose" not in text
    shared = str(jax.make_jaxpr(jax.vmap(product, (0, None)))(jnp.zeros((5, 3, 4)), jnp.zeros((4, 6))))
    assert "dot_general" not in shared
    assert "stepax_product" in shared


def test_dtypes_are_promoted_as_by_matmul():
    kinds = (jnp.bfloat16, jnp.float32, jnp.int32)
    for a, b in itertools.product(kinds, kinds):
        assert product(jnp.ones((2, 2), a), jnp.ones((2, 2), b)).dtype == jnp.promote_types(a, b)


@pytest.mark.parametrize("leading", [(), (3,), (0,), (2, 0), (0, 3)])
@pytest.mark.parametrize(("inputs", "features"), [(0, 3), (3, 0), (0, 0), (2, 3)])
def test_what_is_empty_is_so_for_matmul_too(leading, inputs, features, x64):
    random = np.random.default_rng(0)
    operands = [random.normal(size=shape) for shape in ((*leading, inputs), (inputs, features), (features,))]

    def gradients(layer):
        return jax.value_and_grad(lambda *a: jnp.cos(layer(*a)).sum(), (0, 1, 2))

    def stock(x, kernel, bias):
        return x @ kernel + jnp.broadcast_to(bias, (*leading, features))

    lanes = [np.stack([a, a]) for a in operands]
    for run, arguments in ((jax.jit, operands), (lambda f: jax.jit(jax.vmap(f)), lanes)):
        ours, theirs = (jax.tree.leaves(run(gradients(layer))(*arguments)) for layer in (dense, stock))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, 1e-12, strict=True)


def test_a_batch_of_any_size_can_be_exported():
    (rows,) = jax.export.symbolic_shape("rows")
    shapes = [jax.ShapeDtypeStruct(shape, np.float32) for shape in ((rows, 4, 2), (2, 3), (3,))]
    exported = jax.export.export(jax.jit(dense))(*shapes)
    assert exported.call(np.ones((5, 4, 2), np.float32), np.ones((2, 3), np.float32), np.ones(3, np.float32)).shape == (
        5,
        4,
        3,
    )


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((3,), (3, 2)), ((1, 2, 3), (3, 2))])
def test_operands_of_a_product_that_do_not_fit_are_named(shapes):
    with pytest.raises(ValueError, match=r"a and b: expected the shapes \[n, k\] and \[k, m\], got"):
        product(*(jnp.zeros(shape) for shape in shapes))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            ((2, 3), (4, 5), (5,)),
            r"kernel: expected .* for x of shape \(2, 3\), got \(4, 5\)",
        ),
        (((2, 3), (3,), (5,)), "kernel: expected"),
        (((), (3, 5), (5,)), "x: expected the shape"),
        (((2, 3), (3, 5), (3,)), r"bias: expected the shape \(5,\), got \(3,\)"),
    ],
)
def test_bad_shapes_name_the_argument(shapes, message):
    with pytest.raises(ValueError, match=message):
        dense(*(jnp.zeros(shape) for shape in shapes))


def test_the_precision_asked_for_where_it_is_used_is_kept():
    def layer(x, w):
        with jax.default_matmul_precision("float32"):
            return dense(x, w)

    shapes = [jax.ShapeDtypeStruct((2, 2), jnp.float32)] * 2
    assert "HIGHEST" in jax.jit(layer).trace(*shapes).lower(lowering_platforms=("cuda",)).as_text()
    assert "HIGHEST" not in jax.jit(dense).trace(*shapes).lower(lowering_platforms=("cuda",)).as_text()
