"""One loop over stacked parameters computes what layers do that are written out, in a program of one layer's size."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import stepax as sx
from stepax.nn.layers import check_stack
from stepax.program import equations

X = np.random.default_rng(0).normal(size=(2, 6, 8)).astype(np.float32)
TOKENS = np.random.default_rng(0).integers(0, 11, size=(2, 6))


def encoder(stack, layers=3, **settings):
    return sx.nn.Encoder(None, 8, layers, 2, 6, stack=stack, **settings)


def size(layers, stack, gradient=True):
    """How many equations a model's program has."""
    model = sx.nn.Decoder(11, 8, layers, 2, 6, stack=stack)
    params = jax.eval_shape(model.init, jax.random.key(0), TOKENS)

    def loss(params):
        return model.apply(params, TOKENS).sum()

    return sum(1 for _ in equations(jax.make_jaxpr(jax.grad(loss) if gradient else loss)(params).jaxpr))


@pytest.mark.parametrize("stack", [sx.nn.scanned(), sx.nn.scanned(remat=True)], ids=["scanned", "remat"])
def test_one_loop_computes_what_written_out_layers_do(stack, x64):
    written = encoder(sx.nn.unrolled())
    params = written.init(jax.random.key(0), X)["params"]
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), params)
    stacked = sx.nn.stacked_parameters(params)
    assert stacked["blocks"]["attention"]["qkv"]["kernel"].shape == (3, 8, 24)

    def loss(model, params):
        y = model.apply({"params": params}, X)
        return jnp.sin(y).sum(), y

    by_one, one = jax.grad(partial(loss, written), has_aux=True)(params)
    by_other, other = jax.grad(partial(loss, encoder(stack)), has_aux=True)(stacked)
    np.testing.assert_allclose(one, other, 1e-10, 1e-12)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, 1e-9, 1e-11), by_one, sx.nn.unstacked_parameters(by_other)
    )


def test_a_loop_draws_each_layers_parameters_and_they_fit():
    params = encoder(sx.nn.scanned()).init(jax.random.key(0), X)["params"]
    kernels = params["blocks"]["attention"]["qkv"]["kernel"]
    assert not np.allclose(kernels[0], kernels[1])
    np.testing.assert_allclose(kernels.std((1, 2)), 8**-0.5, 0.25)
    other = encoder(sx.nn.unrolled()).init(jax.random.key(0), X)["params"]
    assert jax.tree.map(jnp.shape, sx.nn.unstacked_parameters(params)) == jax.tree.map(jnp.shape, other)


def test_parameters_there_and_back():
    model = sx.nn.Transformer(11, 7, 8, 2, 2, 6)
    params = model.init(jax.random.key(0), {"source": TOKENS, "target": TOKENS % 7})["params"]
    stacked = sx.nn.stacked_parameters(params)
    assert set(stacked["decoder"]) == {"tokens", "places", "blocks", "norm", "head"}
    back = sx.nn.unstacked_parameters(stacked)
    jax.tree.map(np.testing.assert_array_equal, back, params)
    assert jax.tree.structure(back) == jax.tree.structure(params)


@pytest.mark.parametrize("remat", [False, True])
def test_depth_costs_no_program(remat):
    few, many = (size(layers, sx.nn.scanned(remat=remat)) for layers in (2, 24))
    assert many == few
    few, many = (size(layers, sx.nn.unrolled()) for layers in (2, 24))
    assert many > 8 * few


def test_what_is_computed_anew_is_not_kept():
    def kept(stack):
        model = encoder(stack, layers=8)
        params = model.init(jax.random.key(0), X)
        residuals = jax.tree.leaves(jax.vjp(lambda params: model.apply(params, X), params)[1])
        return sum(leaf.size for leaf in residuals) - sum(leaf.size for leaf in jax.tree.leaves(params))

    assert kept(sx.nn.scanned(remat=True)) < 0.2 * kept(sx.nn.scanned())


class Noisy(linen.Module):
    """What dropout leaves of ones."""

    @linen.compact
    def __call__(self, x):
        return sx.nn.Dropout(0.5)(jnp.ones_like(x))


@pytest.mark.parametrize(
    "stack", [sx.nn.unrolled(), sx.nn.scanned(), sx.nn.scanned(remat=True)], ids=["unrolled", "scanned", "remat"]
)
def test_each_layer_drops_values_of_its_own(stack):
    class Model(linen.Module):
        @linen.compact
        def __call__(self, x):
            def step(layer, x, each):
                return x, (layer(x), each + 1)

            return stack.run(Noisy, 3, step, x, stack.together([jnp.zeros(()), jnp.ones(()), jnp.ones(())]))[1]

    def outputs(seed):
        each = Model().apply({}, jnp.ones(100), rngs={"dropout": jax.random.key(seed)})
        drawn, counted = each if isinstance(each[0], jax.Array) else stacked(each)
        np.testing.assert_array_equal(counted, [1, 2, 2])
        return drawn

    def stacked(each):
        return (jnp.stack(leaves) for leaves in zip(*each, strict=True))

    first = outputs(0)
    assert first.shape == (3, 100)
    assert len({layer.tobytes() for layer in np.asarray(first)}) == 3
    np.testing.assert_array_equal(first, outputs(0))
    assert not np.array_equal(first, outputs(1))


@pytest.mark.parametrize("stack", [sx.nn.unrolled(), sx.nn.scanned()], ids=["unrolled", "scanned"])
def test_no_layers(stack):
    model = encoder(stack, layers=0)
    params = model.init(jax.random.key(0), X)
    assert model.apply(params, X).shape == (2, 6, 8)


def test_what_is_not_stacked_is_named():
    with pytest.raises(ValueError, match="params: expected layers named 'block_0', found none"):
        sx.nn.stacked_parameters({"dense_0": np.ones(2)})
    with pytest.raises(ValueError, match="params: expected layers named 'blocks', found none"):
        sx.nn.unstacked_parameters({"block_0": np.ones(2)})
    with pytest.raises(ValueError, match=r"params: expected layers numbered from 0 without a gap, got \[0, 2\]"):
        sx.nn.stacked_parameters({"block_0": np.ones(2), "block_2": np.ones(2)})
    with pytest.raises(ValueError, match="params: expected layers of one kind"):
        sx.nn.stacked_parameters({"block_0": np.ones(2), "block_1": np.ones(3)})
    with pytest.raises(TypeError, match=r"stack: expected a Stack such as scanned\(\), got <"):
        check_stack(sx.nn.scanned)


def test_equal_settings_make_equal_stacks():
    assert sx.nn.scanned() == sx.nn.scanned(remat=False)
    assert sx.nn.scanned(remat=True) == sx.nn.scanned(remat=True) != sx.nn.scanned()
