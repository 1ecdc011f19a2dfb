"""Blocks equal PyTorch's layer, and the decoder sees no later token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stepax as sx

X = np.random.default_rng(0).normal(size=(2, 6, 8)).astype(np.float32)
TOKENS = np.random.default_rng(0).integers(0, 11, size=(2, 6))


def drawn(module, *inputs):
    """Parameters away from the zeros and ones that some start at."""
    variables = module.init(jax.random.key(0), *inputs)
    keys = iter(jax.random.split(jax.random.key(1), 100))
    return jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(next(keys), leaf.shape), variables)


@pytest.mark.parametrize("causal", [False, True])
def test_a_block_is_pytorchs_layer(causal, torch):
    block = sx.nn.Block(2, causal)
    variables = drawn(block, X)
    params = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf).T.copy()), variables["params"])
    theirs = torch.nn.TransformerEncoderLayer(
        8, 2, 32, 0.0, lambda x: torch.nn.functional.gelu(x, approximate="tanh"), batch_first=True, norm_first=True
    ).train()
    names = {
        "self_attn.in_proj_weight": params["attention"]["qkv"]["kernel"],
        "self_attn.in_proj_bias": params["attention"]["qkv"]["bias"],
        "self_attn.out_proj.weight": params["attention"]["out"]["kernel"],
        "self_attn.out_proj.bias": params["attention"]["out"]["bias"],
        "linear1.weight": params["dense_in"]["kernel"],
        "linear1.bias": params["dense_in"]["bias"],
        "linear2.weight": params["dense_out"]["kernel"],
        "linear2.bias": params["dense_out"]["bias"],
        "norm1.weight": params["norm_1"]["scale"],
        "norm1.bias": params["norm_1"]["bias"],
        "norm2.weight": params["norm_2"]["scale"],
        "norm2.bias": params["norm_2"]["bias"],
    }
    theirs.load_state_dict(names)
    padding = np.arange(6) < np.array([[6], [4]])
    hidden = torch.tensor(~padding)
    later = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1) if causal else None
    tx = torch.tensor(X, requires_grad=True)
    y = theirs(tx, src_mask=later, src_key_padding_mask=hidden)
    torch.sin(y[torch.tensor(padding)]).sum().backward()

    def loss(x):
        y = block.apply(variables, x, mask=padding)
        return jnp.where(padding[..., None], jnp.sin(y), 0).sum(), y

    gradient, ours = jax.jit(jax.grad(loss, has_aux=True))(X)
    np.testing.assert_allclose(ours[padding], y.detach().numpy()[padding], 1e-4, 1e-4)
    np.testing.assert_allclose(gradient, tx.grad, 1e-3, 1e-4)


def test_the_decoder_sees_no_later_token():
    decoder = sx.nn.Decoder(11, 8, 2, 2, 6)
    variables = drawn(decoder, TOKENS)
    logits = decoder.apply(variables, TOKENS)
    assert logits.shape == (2, 6, 11)
    changed = TOKENS.copy()
    changed[:, 3] = (changed[:, 3] + 1) % 11
    other = decoder.apply(variables, changed)
    np.testing.assert_array_equal(logits[:, :3], other[:, :3])
    assert (np.abs(logits - other)[:, 3:].max(-1) > 1e-4).all()


def test_a_shorter_sequence_gives_the_same_logits():
    decoder = sx.nn.Decoder(11, 8, 1, 2, 6)
    variables = drawn(decoder, TOKENS)
    short = decoder.apply(variables, TOKENS[:, :4])
    np.testing.assert_allclose(short, decoder.apply(variables, TOKENS)[:, :4], 1e-5, 1e-5)


def test_dropout_only_in_training():
    decoder = sx.nn.Decoder(11, 8, 1, 2, 6, dropout=0.5)
    variables = drawn(decoder, TOKENS)
    runs = [decoder.apply(variables, TOKENS, True, rngs={"dropout": jax.random.key(i)}) for i in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2])
    plain = sx.nn.Decoder(11, 8, 1, 2, 6).apply(variables, TOKENS)
    np.testing.assert_array_equal(decoder.apply(variables, TOKENS), plain)


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match=r"tokens: expected \[batch, time\] with at most 5 steps \(the context\)"):
        sx.nn.Decoder(11, 8, 1, 2, 5).init(jax.random.key(0), TOKENS)
    with pytest.raises(ValueError, match="heads: 3 heads do not divide a width of 8"):
        sx.nn.Attention(3).init(jax.random.key(0), X)


@pytest.mark.parametrize(
    ("module", "x", "error", "message"),
    [
        (sx.nn.Attention(0), X, ValueError, "heads: expected at least 1, got 0"),
        (sx.nn.Attention(2.0), X, TypeError, "heads: expected a whole number"),
        (sx.nn.Attention(2, dropout=1.5), X, ValueError, r"dropout: expected a number in \[0, 1\), got 1\.5"),
        (sx.nn.Attention(2), X[0], ValueError, r"x: expected sequences of shape \[batch, time, width\], got"),
        (sx.nn.Block(2), X[0], ValueError, r"x: expected sequences of shape \[batch, time, width\], got"),
        (sx.nn.Block(2, expansion=0), X, ValueError, "expansion: expected at least 1, got 0"),
        (sx.nn.Block(2, activation="relu"), X, TypeError, "activation: expected a function such as"),
        (sx.nn.Decoder(0), TOKENS, ValueError, "vocabulary: expected at least 1, got 0"),
        (sx.nn.Decoder(11, 0), TOKENS, ValueError, "features: expected at least 1, got 0"),
        (sx.nn.Decoder(11, layers=-1), TOKENS, ValueError, "layers: expected at least 0, got -1"),
        (sx.nn.Decoder(11, heads=0), TOKENS, ValueError, "heads: expected at least 1, got 0"),
        (sx.nn.Decoder(11, context=0), TOKENS, ValueError, "context: expected at least 1, got 0"),
        (sx.nn.Decoder(11, dropout=1.5), TOKENS, ValueError, r"dropout: expected a number in \[0, 1\), got 1\.5"),
        (sx.nn.Decoder(11), np.int32(1), ValueError, r"tokens: expected \[batch, time\]"),
        (sx.nn.Decoder(11), X[..., 0], TypeError, "tokens: expected whole numbers, got float32"),
    ],
)
def test_what_makes_no_network_is_named(module, x, error, message):
    with pytest.raises(error, match=message):
        module.init(jax.random.key(0), x)


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (np.ones((6, 2), bool), ValueError, r"mask: expected the shape \[batch, time\] = \(2, 6\), got \(6, 2\)"),
        (np.ones((2, 6), np.float32), TypeError, "mask: expected booleans"),
    ],
)
def test_bad_masks_are_named(mask, error, message):
    with pytest.raises(error, match=message):
        sx.nn.Attention(2).init(jax.random.key(0), X, mask=mask)


@pytest.mark.parametrize(("batch", "time"), [(0, 6), (2, 0)])
def test_no_sequences_and_no_steps(batch, time):
    decoder = sx.nn.Decoder(11, 8, 1, 2, 6)
    variables = drawn(decoder, TOKENS)

    def loss(variables):
        logits = decoder.apply(variables, TOKENS[:batch, :time])
        return logits.sum(), logits

    gradient, logits = jax.jit(jax.grad(loss, has_aux=True))(variables)
    assert logits.shape == (batch, time, 11)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient))
