"""Blocks are PyTorch's layers, with the normalisation before or behind, alone and with a memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from tests.parameters import drawn

import stepax as sx
from stepax.nn import positions
from stepax.nn.attention import KeyValue

RANDOM = np.random.default_rng(0)
X, MEMORY = (RANDOM.normal(size=(2, time, 8)).astype(np.float32) for time in (6, 4))
PADDING = np.arange(6) < np.array([[6], [4]])
MEMORY_MASK = np.arange(4) < np.array([[2], [4]])
RESIDUALS = {"pre_norm": sx.nn.pre_norm, "post_norm": sx.nn.post_norm}


def names(params):
    """A block's parameters under PyTorch's names."""
    parts = {"self_attn.in_proj_": params["attention"]["qkv"], "self_attn.out_proj.": params["attention"]["out"]}
    norms = ["norm_1", "norm_2"]
    if "cross" in params:
        cross = params["cross"]
        both = {name: jnp.concatenate([cross["query"][name], cross["key_value"][name]], -1) for name in cross["query"]}
        parts |= {"multihead_attn.in_proj_": both, "multihead_attn.out_proj.": cross["out"]}
        norms = ["norm_1", "norm_cross", "norm_2"]
    parts |= {"linear1.": params["dense_in"], "linear2.": params["dense_out"]}
    parts |= {f"norm{i + 1}.": params[name] for i, name in enumerate(norms)}
    return {
        prefix + {"kernel": "weight", "scale": "weight", "bias": "bias"}[name]: np.asarray(value).T
        for prefix, part in parts.items()
        for name, value in part.items()
    }


def copied_to_torch(torch, kind, params, residual):
    theirs = getattr(torch.nn, kind)(
        8, 2, 32, 0.0, lambda x: torch.nn.functional.gelu(x, approximate="tanh"), batch_first=True,
        norm_first=residual == "pre_norm",
    ).train()  # fmt: skip
    theirs.load_state_dict({name: torch.tensor(value.copy()) for name, value in names(params).items()})
    return theirs


def same_gradients(gradients, theirs):
    named = names(gradients)
    for name, parameter in theirs.named_parameters():
        np.testing.assert_allclose(named[name], parameter.grad, 1e-5, 1e-5, err_msg=name)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("residual", RESIDUALS)
def test_a_block_is_pytorchs_encoder_layer(residual, causal, torch):
    block = sx.nn.Block(2, causal, residual=RESIDUALS[residual])
    params = drawn(block, X)["params"]
    theirs = copied_to_torch(torch, "TransformerEncoderLayer", params, residual)
    later = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1) if causal else None
    tx = torch.tensor(X, requires_grad=True)
    y = theirs(tx, src_mask=later, src_key_padding_mask=torch.tensor(~PADDING))
    torch.sin(y[torch.tensor(PADDING)]).mean().backward()

    def loss(params, x):
        y = block.apply({"params": params}, x, mask=PADDING)
        return jnp.where(PADDING[..., None], jnp.sin(y), 0).sum() / (8 * PADDING.sum()), y

    (by_params, by_x), ours = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, X)
    np.testing.assert_allclose(ours[PADDING], y.detach().numpy()[PADDING], 1e-5, 1e-5)
    np.testing.assert_allclose(by_x, tx.grad, 1e-5, 1e-5)
    same_gradients(by_params, theirs)


@pytest.mark.parametrize("residual", RESIDUALS)
def test_a_block_with_a_memory_is_pytorchs_decoder_layer(residual, torch):
    block = sx.nn.Block(2, causal=True, residual=RESIDUALS[residual])
    params = drawn(block, X, memory=MEMORY)["params"]
    theirs = copied_to_torch(torch, "TransformerDecoderLayer", params, residual)
    later = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1)
    tx, memory = (torch.tensor(a, requires_grad=True) for a in (X, MEMORY))
    y = theirs(
        tx, memory, tgt_mask=later, tgt_key_padding_mask=torch.tensor(~PADDING),
        memory_key_padding_mask=torch.tensor(~MEMORY_MASK),
    )  # fmt: skip
    torch.sin(y[torch.tensor(PADDING)]).mean().backward()

    def loss(params, x, memory):
        y = block.apply({"params": params}, x, mask=PADDING, memory=memory, memory_mask=MEMORY_MASK)
        return jnp.where(PADDING[..., None], jnp.sin(y), 0).sum() / (8 * PADDING.sum()), y

    (by_params, by_x, by_memory), ours = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(params, X, MEMORY)
    np.testing.assert_allclose(ours[PADDING], y.detach().numpy()[PADDING], 1e-5, 1e-5)
    np.testing.assert_allclose(by_x, tx.grad, 1e-5, 1e-5)
    np.testing.assert_allclose(by_memory, memory.grad, 1e-5, 1e-5)
    same_gradients(by_params, theirs)


def test_residuals_done_by_hand():
    double, square = (lambda x: 2 * x), (lambda x: x**2)
    assert sx.nn.pre_norm(3, double, square) == 3 + 36
    assert sx.nn.post_norm(3, double, square) == 24


@pytest.mark.parametrize("residual", RESIDUALS)
def test_step_by_step_with_a_memory_equals_at_once(residual, x64):
    block = sx.nn.Block(2, True, rotation=positions.rotary().rotation, residual=RESIDUALS[residual])
    variables = drawn(block, X, memory=MEMORY, dtype=np.float64)
    whole = block.apply(variables, X, memory=MEMORY, memory_mask=MEMORY_MASK)
    pair = block.apply(variables, MEMORY, 8, method="remember")
    cache, outputs = sx.nn.Attention(2, True).start(2, 6, 8), []
    for at in range(6):
        y, cache = block.apply(
            variables, X[:, at : at + 1], cache, at=at, real=np.tile(np.arange(6) <= at, (2, 1)),
            memory=pair, memory_mask=MEMORY_MASK, method="extend",
        )  # fmt: skip
        outputs.append(y)
    np.testing.assert_allclose(jnp.concatenate(outputs, 1), whole, 1e-10, 1e-12)


def test_each_part_drops_values_of_its_own():
    block = sx.nn.Block(2, dropout=0.5)
    variables = drawn(block, X)
    runs = [block.apply(variables, X, True, rngs={"dropout": jax.random.key(i)}) for i in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2])
    np.testing.assert_array_equal(block.apply(variables, X), sx.nn.Block(2).apply(variables, X))


def test_projections_are_drawn_as_told():
    ones, twos = (linen.initializers.constant(value) for value in (1.0, 2.0))
    block = sx.nn.Block(2, kernel_init=ones, residual_init=twos)
    params = block.init(jax.random.key(0), X, memory=MEMORY)["params"]
    kernels = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if path[-1].key == "kernel"
    }
    assert len(kernels) == 7
    for name, kernel in kernels.items():
        assert (kernel == (2 if "out" in name else 1)).all(), name


@pytest.mark.parametrize(
    ("block", "x", "error", "message"),
    [
        (sx.nn.Block(2), X[0], ValueError, r"x: expected sequences of shape \[batch, time, width\], got"),
        (sx.nn.Block(2, expansion=0), X, ValueError, "expansion: expected at least 1, got 0"),
        (sx.nn.Block(2, activation="relu"), X, TypeError, "activation: expected a function such as"),
        (sx.nn.Block(2, residual="post_norm"), X, TypeError, "residual: expected a function such as pre_norm"),
    ],
)
def test_what_makes_no_block_is_named(block, x, error, message):
    with pytest.raises(error, match=message):
        block.init(jax.random.key(0), x)


def test_beyond_the_cache_is_an_error_or_where_nobody_looks_nan():
    block = sx.nn.Block(2, causal=True)
    x = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
    variables, zeros = block.init(jax.random.key(0), x), jnp.zeros((2, 2, 4, 4))
    cache = KeyValue(zeros, zeros)

    def extend(at):
        return block.apply(variables, x, cache, at=at, real=np.ones((2, 4), bool), method="extend")[0]

    with pytest.raises(ValueError, match="at: the cache has 4 places, of which 2 are used, and no room for 3 more"):
        extend(2)
    assert np.isnan(jax.jit(extend)(2)).all()
    assert np.isfinite(jax.jit(extend)(1)).all()
