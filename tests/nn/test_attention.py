"""Attention is PyTorch's; what is masked is as if removed; what is read step by step is as if read at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from tests.parameters import drawn

import stepax as sx
from stepax.nn import positions
from stepax.nn.attention import check_sequences

RANDOM = np.random.default_rng(0)
X, MEMORY = (RANDOM.normal(size=(2, time, 8)).astype(np.float32) for time in (6, 4))
RIGHT = np.arange(6) < np.array([[6], [4]])
ROTATIONS = {"none": None, "rotary": positions.rotary().rotation}


def multihead(torch, kernel, bias, out):
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True).train()
    values = {
        "in_proj_weight": kernel.T,
        "in_proj_bias": bias,
        "out_proj.weight": out["kernel"].T,
        "out_proj.bias": out["bias"],
    }
    theirs.load_state_dict({name: torch.tensor(np.asarray(value)) for name, value in values.items()})
    return theirs


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_self_attention_is_pytorchs(causal, padded, torch):
    module = sx.nn.Attention(2, causal)
    variables = drawn(module, X)
    params = variables["params"]
    theirs = multihead(torch, params["qkv"]["kernel"], params["qkv"]["bias"], params["out"])
    mask = RIGHT if padded else np.ones((2, 6), bool)
    later = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1) if causal else None
    tx = torch.tensor(X, requires_grad=True)
    y, weights = theirs(tx, tx, tx, key_padding_mask=torch.tensor(~mask), attn_mask=later, average_attn_weights=False)
    torch.sin(y).sum().backward()

    def loss(x):
        y, kept = module.apply(variables, x, mask=mask if padded else None, mutable="attention")
        return jnp.sin(y).sum(), (y, kept["attention"]["weights"][0])

    gradient, (ours, own) = jax.jit(jax.grad(loss, has_aux=True))(X)
    np.testing.assert_allclose(ours, y.detach(), 1e-5, 1e-5)
    np.testing.assert_allclose(gradient, tx.grad, 1e-5, 1e-5)
    np.testing.assert_allclose(own, weights.detach(), 1e-5, 1e-5)


def test_cross_attention_is_pytorchs(torch):
    module = sx.nn.CrossAttention(2)
    variables = drawn(module, X, MEMORY)
    params = variables["params"]
    kernel, bias = (
        jnp.concatenate([params["query"][name], params["key_value"][name]], -1) for name in ("kernel", "bias")
    )
    theirs = multihead(torch, kernel, bias, params["out"])
    mask = np.arange(4) < np.array([[4], [2]])
    tx, memory = (torch.tensor(a, requires_grad=True) for a in (X, MEMORY))
    y, weights = theirs(tx, memory, memory, key_padding_mask=torch.tensor(~mask), average_attn_weights=False)
    torch.sin(y).sum().backward()

    def loss(x, memory):
        y, kept = module.apply(variables, x, memory, mask=mask, mutable="attention")
        return jnp.sin(y).sum(), (y, kept["attention"]["weights"][0])

    gradients, (ours, own) = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(X, MEMORY)
    np.testing.assert_allclose(ours, y.detach(), 1e-5, 1e-5)
    np.testing.assert_allclose(own, weights.detach(), 1e-5, 1e-5)
    for a, b in zip(gradients, (tx, memory), strict=True):
        np.testing.assert_allclose(a, b.grad, 1e-5, 1e-5)


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("causal", [False, True])
def test_masked_places_are_as_if_removed_wherever_they_are(causal, rotation, x64):
    module = sx.nn.Attention(2, causal, rotation=ROTATIONS[rotation])
    variables = drawn(module, X, dtype=np.float64)
    for mask in ([0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [0, 1, 0, 1, 1, 0]):
        mask = np.tile(np.array(mask, bool), (2, 1))
        alone = module.apply(variables, X[:, mask[0]])
        np.testing.assert_allclose(module.apply(variables, X, mask=mask)[:, mask[0]], alone, 1e-10, 1e-12)


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("parts", [(1,) * 6, (3, 1, 2)], ids=str)
def test_step_by_step_equals_at_once(parts, rotation, x64):
    module = sx.nn.Attention(2, causal=True, rotation=ROTATIONS[rotation])
    variables = drawn(module, X, dtype=np.float64)
    mask = np.array([[0, 0, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1]], bool)
    real = np.zeros((2, 9), bool)
    real[:, :6] = mask
    cache, outputs, at = module.start(2, 9, 8), [], 0
    for time in parts:
        known = real & (np.arange(9) < at + time)
        y, cache = module.apply(variables, X[:, at : at + time], cache, at=at, real=known, method="extend")
        outputs.append(y)
        at += time
    whole = module.apply(variables, X, mask=mask)
    np.testing.assert_allclose(jnp.concatenate(outputs, 1)[mask], whole[mask], 1e-10, 1e-12)


def test_a_cache_in_half_precision_keeps_its_dtype():
    module = sx.nn.Attention(2, causal=True)
    variables = drawn(module, X)
    cache = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), module.start(2, 6, 8))
    y, cache = module.apply(variables, X, cache, at=0, real=np.ones((2, 6), bool), method="extend")
    assert {leaf.dtype for leaf in cache} == {jnp.dtype(jnp.bfloat16)}
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, module.apply(variables, X), 0.05, 0.05)


def test_no_place_sees_a_later_one(x64):
    module = sx.nn.Attention(2, causal=True, rotation=positions.rotary().rotation)
    variables = drawn(module, X[:1], dtype=np.float64)
    seen = np.abs(jax.jacrev(lambda x: module.apply(variables, x))(X[:1].astype(float))).sum((0, 2, 3, 5))
    assert (seen[np.triu_indices(6, 1)] == 0).all()
    assert (seen[np.tril_indices(6)] > 0).all()


def test_what_was_remembered_serves_as_the_memory():
    module = sx.nn.CrossAttention(2)
    memory = np.random.default_rng(1).normal(size=(2, 4, 5)).astype(np.float32)
    variables = drawn(module, X, memory)
    pair = module.apply(variables, memory, 8, method="remember")
    assert {leaf.shape for leaf in pair} == {(2, 4, 2, 4)}
    mask = np.arange(4) < np.array([[4], [2]])
    expected = module.apply(variables, X, memory, mask=mask)
    np.testing.assert_allclose(module.apply(variables, X, pair, mask=mask), expected, 1e-6, 1e-6)
    np.testing.assert_allclose(expected[1], module.apply(variables, X[1:], memory[1:, :2])[0], 1e-5, 1e-6)


def test_who_may_see_nothing_gets_the_bias_and_finite_gradients():
    module = sx.nn.CrossAttention(2)
    variables = drawn(module, X, MEMORY)
    blind = np.zeros((2, 4), bool)

    def loss(variables, memory):
        y = module.apply(variables, X, memory, mask=blind)
        return jnp.sin(y).sum(), y

    gradients, y = jax.grad(loss, (0, 1), has_aux=True)(variables, MEMORY)
    np.testing.assert_array_equal(y, np.broadcast_to(variables["params"]["out"]["bias"], y.shape))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    np.testing.assert_array_equal(gradients[1], 0)


def test_weights_are_dropped_in_training_only():
    module = sx.nn.Attention(2, attention_dropout=0.5)
    variables = drawn(module, X)
    runs = [module.apply(variables, X, True, rngs={"dropout": jax.random.key(i)}) for i in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2])
    plain = sx.nn.Attention(2).apply(variables, X)
    np.testing.assert_array_equal(module.apply(variables, X), plain)
    # Each run drops others, and the mean stays: the average of many is what comes without.
    keys = jax.random.split(jax.random.key(2), 4000)
    mean = jax.vmap(lambda key: module.apply(variables, X, True, rngs={"dropout": key}))(keys).mean(0)
    np.testing.assert_allclose(mean, plain, atol=0.15)


def test_projections_are_drawn_as_told():
    ones, twos = (linen.initializers.constant(value) for value in (1.0, 2.0))
    params = sx.nn.Attention(2, kernel_init=ones, residual_init=twos).init(jax.random.key(0), X)["params"]
    assert (params["qkv"]["kernel"] == 1).all()
    assert (params["out"]["kernel"] == 2).all()
    params = sx.nn.CrossAttention(2, kernel_init=ones, residual_init=twos).init(jax.random.key(0), X, X)["params"]
    assert (params["query"]["kernel"] == 1).all()
    assert (params["key_value"]["kernel"] == 1).all()
    assert (params["out"]["kernel"] == 2).all()


def test_half_precision_keeps_its_dtype():
    module = sx.nn.Attention(2, True, rotation=positions.rotary().rotation)
    variables = drawn(module, X)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
    y = module.apply(half, jnp.asarray(X, jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(np.float32), module.apply(variables, X), 0.2, 0.2)


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


@pytest.mark.parametrize(
    ("module", "inputs", "error", "message"),
    [
        (sx.nn.Attention(0), [X], ValueError, "heads: expected at least 1, got 0"),
        (sx.nn.Attention(2.0), [X], TypeError, "heads: expected a whole number"),
        (sx.nn.Attention(3), [X], ValueError, "heads: 3 heads do not divide a width of 8"),
        (sx.nn.Attention(2, dropout=1.5), [X], ValueError, r"^dropout: expected a number in \[0, 1\), got 1\.5"),
        (sx.nn.Attention(2, attention_dropout=1.5), [X], ValueError, r"^attention_dropout: expected a number in \["),
        (sx.nn.Attention(2), [X[0]], ValueError, r"x: expected sequences of shape \[batch, time, width\], got"),
        (sx.nn.CrossAttention(3), [X, MEMORY], ValueError, "heads: 3 heads do not divide a width of 8"),
        (sx.nn.CrossAttention(2), [X, MEMORY[0]], ValueError, r"memory: expected sequences of shape \[batch, time"),
        (sx.nn.CrossAttention(2), [X[0], MEMORY], ValueError, r"x: expected sequences of shape \[batch, time"),
        (sx.nn.CrossAttention(2), [X, MEMORY[:1]], ValueError, "memory: expected as many sequences as x, 2, got 1"),
    ],
)
def test_what_makes_no_attention_is_named(module, inputs, error, message):
    with pytest.raises(error, match=message):
        module.init(jax.random.key(0), *inputs)


def test_only_causal_attention_goes_on():
    module = sx.nn.Attention(2)
    with pytest.raises(ValueError, match="causal: what was read before"):
        module.init(jax.random.key(0), X, module.start(2, 6, 8), at=0, real=np.ones((2, 6), bool), method="extend")


def test_sequences_go_by_their_callers_name():
    with pytest.raises(ValueError, match=r"memory: expected sequences of shape \[batch, time, width\], got the shape"):
        check_sequences(X[0], "memory")


def test_beyond_the_cache_is_an_error_or_where_nobody_looks_nan():
    module = sx.nn.Attention(2, causal=True, rotation=positions.rotary().rotation)
    variables, cache = drawn(module, X), module.start(2, 6, 8)
    real = np.ones((2, 6), bool)

    def extend(x, at, cache=cache):
        return module.apply(variables, x, cache, at=at, real=real, method="extend")

    for at in (5, np.int32(5), jnp.int32(5)):
        with pytest.raises(ValueError, match="at: the cache has 6 places, of which 5 are used, and no room for 2 more"):
            extend(X[:, :2], at)
    _, cache = extend(X, 0)
    y, same = jax.jit(extend)(X[:, :2], 5, cache)
    assert np.isnan(y).all()
    jax.tree.map(np.testing.assert_array_equal, same, cache)
    y, _ = jax.jit(extend)(X[:, :2], 4, cache)
    assert np.isfinite(y).all()
    with pytest.raises(ValueError, match="at: the cache has 6 places"):
        jax.jit(extend)(np.zeros((2, 7, 8), np.float32), 0)
