"""Operations counted by hand: two for each multiply-and-add."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from stepax import ops
from stepax.arithmetic import flops, flops_by_scope
from stepax.bench import WORKLOADS


def shape(*sizes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


A, B = shape(2, 3), shape(3, 5)
PRODUCT = 2 * 2 * 3 * 5


def test_a_matrix_product() -> None:
    assert flops(jnp.matmul, A, B) == PRODUCT
    assert flops(lambda a, b: jax.jit(jnp.matmul)(a, b) + jnp.sin(b).sum(), A, B) == PRODUCT


def test_a_product_with_a_batch_and_two_contracted_axes() -> None:
    assert flops(partial(jnp.einsum, "bij,bijk->bk"), shape(7, 2, 3), shape(7, 2, 3, 4)) == 2 * 7 * 2 * 3 * 4


def test_vmap_multiplies() -> None:
    assert flops(jax.vmap(jnp.matmul, (0, None)), shape(7, 2, 3), B) == 7 * PRODUCT
    assert flops(jax.vmap(jnp.matmul), shape(7, 2, 3), shape(7, 3, 5)) == 7 * PRODUCT


@pytest.mark.parametrize(
    ("x", "kernel", "settings", "expected"),
    [
        # 9 places of 4 features, each of a window of 2 over 3 channels, for 5 examples
        ((5, 10, 3), (2, 3, 4), {"padding": "VALID"}, 2 * 5 * 9 * 4 * 2 * 3),
        ((5, 10, 3), (2, 3, 4), {"padding": "CAUSAL", "dilation": 2}, 2 * 5 * 10 * 4 * 2 * 3),
        ((5, 8, 6, 3), (3, 3, 3, 4), {}, 2 * 5 * 48 * 4 * 9 * 3),
        ((5, 8, 6, 3), (3, 3, 3, 4), {"strides": 2}, 2 * 5 * 12 * 4 * 9 * 3),
        # 2 groups: each feature sees 3 of the 6 channels
        ((5, 8, 6, 6), (3, 3, 3, 4), {"groups": 2}, 2 * 5 * 48 * 4 * 9 * 3),
        ((5, 10, 6), (2, 1, 6), {"padding": "VALID", "groups": 6}, 2 * 5 * 9 * 6 * 2),
    ],
)
def test_convolutions(x: tuple[int, ...], kernel: tuple[int, ...], settings: dict, expected: int) -> None:
    assert flops(partial(ops.conv, **settings), shape(*x), shape(*kernel)) == expected


def test_stock_convolutions_in_any_layout() -> None:
    # 5 examples, 48 places, 4 features, 9 · 3 numbers under the window
    expected = 2 * 5 * 48 * 4 * 9 * 3
    channels_last = partial(
        lax.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    assert flops(channels_last, shape(5, 8, 6, 3), shape(3, 3, 3, 4)) == expected
    channels_first = partial(lax.conv, window_strides=(1, 1), padding="SAME")
    assert flops(channels_first, shape(5, 3, 8, 6), shape(4, 3, 3, 3)) == expected
    grouped = partial(lax.conv_general_dilated, window_strides=(1, 1), padding="SAME", feature_group_count=2)
    assert flops(grouped, shape(5, 6, 8, 6), shape(4, 3, 3, 3)) == expected


def test_both_gradients_of_a_convolution() -> None:
    x, kernel = shape(5, 10, 3), shape(2, 3, 4)
    forward = flops(partial(ops.conv, padding="VALID"), x, kernel)
    by_kernel = jax.value_and_grad(lambda k, x: ops.conv(x, k, padding="VALID").sum())
    by_both = jax.grad(lambda x, k: jnp.square(ops.conv(x, k, padding="VALID")).sum(), (0, 1))
    assert flops(by_kernel, kernel, x) == 2 * forward
    # The gradient by the input is at 10 places, where the output is at 9.
    assert flops(by_both, x, kernel) == 2 * forward + 2 * 5 * 10 * 3 * 2 * 4


def test_a_scan_counts_every_step() -> None:
    def run(x: jax.Array, weights: jax.Array) -> jax.Array:
        return lax.scan(lambda x, w: (x @ w, None), x, weights)[0]

    assert flops(run, shape(2, 3), shape(11, 3, 3)) == 11 * 2 * 2 * 3 * 3
    twice = partial(lax.fori_loop, 0, 2, lambda _, pair: (run(*pair), pair[1]))
    assert flops(twice, (shape(2, 3), shape(11, 3, 3))) == 2 * 11 * 2 * 2 * 3 * 3


def test_a_loop_of_unknown_length_counts_once() -> None:
    def run(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.while_loop(lambda x: x.sum() < 1, lambda x: x @ w, x)

    assert flops(run, shape(2, 3), shape(3, 3)) == 2 * 2 * 3 * 3


def test_of_branches_the_largest_counts() -> None:
    def run(i: jax.Array, x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.switch(i, [lambda x, w: x, lambda x, w: x @ w @ w, lambda x, w: x @ w], x, w)

    assert flops(run, jax.ShapeDtypeStruct((), jnp.int32), shape(2, 3), shape(3, 3)) == 2 * 2 * 2 * 3 * 3


def by_platform(x: jax.Array, w: jax.Array) -> jax.Array:
    """One product on a GPU of one maker, two elsewhere, and three on a TPU."""
    return lax.platform_dependent(
        x, w, cuda=lambda x, w: x @ w, tpu=lambda x, w: x @ w @ w @ w, default=lambda x, w: x @ w @ w
    )


@pytest.mark.parametrize(
    ("platform", "products"), [("cpu", 2), ("cuda", 1), ("gpu", 1), ("rocm", 2), ("tpu", 3), (None, 2)]
)
def test_of_platforms_the_one_asked_for_counts_wherever_it_stands(platform: str | None, products: int) -> None:
    def looped(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.fori_loop(0, 5, lambda _, x: jax.jit(by_platform)(x, w), x)

    shapes, one = (shape(2, 3), shape(3, 3)), 2 * 2 * 3 * 3
    assert flops(by_platform, *shapes, platform=platform) == products * one
    assert flops(looped, *shapes, platform=platform) == 5 * products * one
    # The gradient by ``x`` needs no product of the way forward.
    backward = jax.grad(lambda x, w: by_platform(x, w).sum())
    assert flops(backward, *shapes, platform=platform) == products * one


def test_a_platform_without_a_branch_is_named() -> None:
    run = partial(lax.platform_dependent, cpu=lambda x, w: x @ w, cuda=lambda x, w: x)
    with pytest.raises(ValueError, match="platform: the function has no branch for 'tpu'; there are cpu, cuda"):
        flops(run, shape(2, 3), shape(3, 3), platform="tpu")


def test_the_gradient_of_a_small_table_is_a_product_on_a_cpu_alone() -> None:
    table, indices = shape(7, 3), jax.ShapeDtypeStruct((4, 5), jnp.int32)
    gradient = jax.grad(lambda table, indices: ops.embed(table, indices).sum())
    assert flops(gradient, table, indices, platform="cpu") == 2 * 7 * 20 * 3
    assert flops(gradient, table, indices, platform="cuda") == 0


def test_a_custom_gradient_counts_what_runs() -> None:
    @jax.custom_vjp
    def product(a: jax.Array, b: jax.Array) -> jax.Array:
        return a @ b

    def forward(a: jax.Array, b: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        return a @ b, (a, b)

    def backward(kept: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
        a, b = kept
        return g @ b.T, a.T @ g

    product.defvjp(forward, backward)
    assert flops(product, A, B) == PRODUCT
    assert flops(jax.value_and_grad(lambda a, b: product(a, b).sum(), (0, 1)), A, B) == 3 * PRODUCT


def test_what_no_result_depends_on_does_not_count() -> None:
    assert flops(lambda a, b: (a @ b, a)[1], A, B) == 0


def test_the_zeros_of_a_spread_convolution_do_not_count() -> None:
    x, kernel = shape(5, 8, 6, 3), shape(2, 2, 3, 4)
    strided = partial(ops.conv, strides=2)
    by_x = jax.grad(lambda x, k: jnp.square(strided(x, k)).sum())
    assert flops(by_x, x, kernel) == 2 * flops(strided, x, kernel)


def step(name: str) -> int:
    workload = WORKLOADS[name]
    learner, batch = workload.learner(), workload.data(workload.batch_size, 0)
    return flops(learner.step, jax.eval_shape(learner.init, jax.random.key(0), batch), batch)


@pytest.mark.parametrize(
    ("name", "first", "others"),
    [
        ("mlp", 784 * 128, 128 * 64 + 64 * 10),
        ("cnn", 28**2 * 9 * 32, 14**2 * 9 * 32 * 64 + 7**2 * 64 * 256 + 256 * 10),
        # The input's gates for 64 steps, the state's too, and the last dense layer.
        ("lstm", 64 * 32 * 4 * 128, 64 * 128 * 4 * 128 + 128 * 10),
        ("gru", 64 * 32 * 3 * 128, 64 * 128 * 3 * 128 + 128 * 10),
    ],
)
def test_a_training_step_is_three_forward_passes_less_the_gradient_by_the_data(
    name: str, first: int, others: int
) -> None:
    assert step(name) == 128 * 2 * (2 * first + 3 * others)


def test_operations_by_scope_at_any_depth() -> None:
    def run(a: jax.Array, b: jax.Array) -> jax.Array:
        with jax.named_scope("outer"):
            once = jax.jit(jnp.matmul)(a, b)
            with jax.named_scope("inner"):
                return lax.scan(lambda x, _: (x + a @ b, None), once, None, length=3)[0]

    assert flops_by_scope(run, A, B) == {"outer": PRODUCT, "outer/inner": 3 * PRODUCT}
