"""Attention is the formula and PyTorch's; what is masked is as if it were not there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from stepax.ops import attention, attention_weights


def operands(queries=5, keys=5, batch=2, heads=3, width=4, dtype=np.float64):
    random = np.random.default_rng(0)
    shapes = ((batch, queries, heads, width), (batch, keys, heads, width), (batch, keys, heads, width + 1))
    return tuple(random.normal(size=shape).astype(dtype) for shape in shapes)


def formula(q, k, v, seen=None, scale=None):
    """One product, one softmax, one product, with everything hidden at −∞."""
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if seen is not None:
        scores = np.where(seen, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhqk,bkhd->bqhd", weights / weights.sum(-1, keepdims=True), v)


@pytest.mark.parametrize("queries", [5, 33, 300], ids=["one block", "two blocks", "many blocks"])
@pytest.mark.parametrize("more", [0, 3], ids=["as many keys", "more keys"])
def test_equals_the_formula(queries, more, x64):
    q, k, v = operands(queries, queries + more)
    np.testing.assert_allclose(attention(q, k, v), formula(q, k, v), 1e-10)
    np.testing.assert_allclose(attention(q, k, v, scale=0.3), formula(q, k, v, scale=0.3), 1e-10)
    seen = np.tril(np.ones((queries, queries + more), bool), more)
    np.testing.assert_allclose(attention(q, k, v, causal=True), formula(q, k, v, seen), 1e-10)
    mask = np.random.default_rng(1).random((2, 1, queries, queries + more)) < 0.5
    mask[..., 0] = True
    np.testing.assert_allclose(attention(q, k, v, causal=True, mask=mask), formula(q, k, v, seen & mask), 1e-10)
    padding = mask[:, :, :1]
    np.testing.assert_allclose(attention(q, k, v, causal=True, mask=padding), formula(q, k, v, seen & padding), 1e-10)


@pytest.mark.parametrize("causal", [False, True])
def test_equals_pytorch(causal, torch):
    q, k, v = (a[..., :4] for a in operands(70, 70, dtype=np.float32))
    theirs = [torch.tensor(np.moveaxis(a, 2, 1), requires_grad=True) for a in (q, k, v)]
    y = torch.nn.functional.scaled_dot_product_attention(*theirs, is_causal=causal)
    torch.sin(y).sum().backward()
    ours = attention(q, k, v, causal=causal)
    np.testing.assert_allclose(np.moveaxis(ours, 2, 1), y.detach(), 1e-4, 1e-5)
    gradients = jax.grad(lambda *a: jnp.sin(attention(*a, causal=causal)).sum(), (0, 1, 2))(q, k, v)
    for a, b in zip(gradients, theirs, strict=True):
        np.testing.assert_allclose(np.moveaxis(a, 2, 1), b.grad, 1e-4, 1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_with_a_mask_equals_pytorch(causal, torch):
    """Padding, and queries that are fewer than keys, as in attention to another sequence."""
    q, k, v = operands(40, 50, dtype=np.float32)
    seen = np.broadcast_to((np.arange(50) < np.array([[50], [35]]))[:, None, None], (2, 1, 40, 50))
    theirs = [torch.tensor(np.moveaxis(a, 2, 1), requires_grad=True) for a in (q, k, v)]
    earlier = np.tril(np.ones((40, 50), bool), 10) if causal else True
    y = torch.nn.functional.scaled_dot_product_attention(*theirs, attn_mask=torch.tensor(seen & earlier))
    torch.sin(y).sum().backward()

    def ours(q, k, v):
        return attention(q, k, v, mask=seen[:, :, :1], causal=causal)

    np.testing.assert_allclose(np.moveaxis(ours(q, k, v), 2, 1), y.detach(), 1e-4, 1e-5)
    gradients = jax.grad(lambda *a: jnp.sin(ours(*a)).sum(), (0, 1, 2))(q, k, v)
    for a, b in zip(gradients, theirs, strict=True):
        np.testing.assert_allclose(np.moveaxis(a, 2, 1), b.grad, 1e-4, 1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_the_weights_are_those_that_values_are_summed_with(causal, x64):
    q, k, v = operands(40, 50)
    mask = np.arange(50) < np.array([[50], [0]])
    settings = {"causal": causal, "mask": mask[:, None, None], "scale": 0.3}
    weights = attention_weights(q, k, **settings)
    assert weights.shape == (2, 3, 40, 50)
    np.testing.assert_allclose(np.einsum("bhqk,bkhd->bqhd", weights, v), attention(q, k, v, **settings), 1e-10, 1e-12)
    np.testing.assert_allclose(weights[0].sum(-1), 1, 1e-10)
    np.testing.assert_array_equal(weights[1], 0)
    with pytest.raises(ValueError, match=r"query, key and value: expected \[batch, queries, heads, width\]"):
        attention_weights(q, k[:, :, :2])


@pytest.mark.parametrize(("causal", "blocks"), [(False, 1), (True, 8)])
def test_what_becomes_of_weights_is_up_to_the_caller(causal, blocks, x64):
    q, k, v = operands(256, 256)
    seen = []

    def drop(weights):
        seen.append(weights.shape)
        return 2 * weights

    twice = attention(q, k, v, causal=causal, drop=drop)
    np.testing.assert_allclose(twice, 2 * attention(q, k, v, causal=causal), 1e-10)
    assert len(seen) == blocks


def test_derivatives_are_finite_differences(x64):
    operand = operands(3, 3)
    check_grads(lambda *a: attention(*a, causal=True), operand, order=2, modes=["fwd", "rev"])


def test_no_query_sees_a_later_key(x64):
    q, k, v = operands(40, 40, batch=1, heads=1, width=2)
    seen = np.abs(jax.jacrev(lambda v: attention(q, k, v, causal=True))(v)).sum((0, 2, 3, 4, 6, 7))
    assert (seen[np.triu_indices(40, 1)] == 0).all()
    assert (seen[np.tril_indices(40)] > 0).all()


def test_masked_keys_are_as_if_removed_and_who_sees_nothing_gets_zeros(x64):
    q, k, v = operands()
    mask = np.array([True, False, True, True, False])
    few = attention(q, k[:, mask], v[:, mask])
    np.testing.assert_allclose(attention(q, k, v, mask=mask[None, None, None]), few, 1e-12)
    blind = np.zeros((1, 1, 1, 5), bool)
    value, gradients = jax.value_and_grad(lambda *a: attention(*a, mask=blind).sum(), (0, 1, 2))(q, k, v)
    assert value == 0
    assert all((g == 0).all() for g in gradients)


def test_bfloat16_keeps_its_dtype():
    operand = operands(dtype=np.float32)
    half = attention(*(jnp.asarray(a, jnp.bfloat16) for a in operand), causal=True)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(np.float32), attention(*operand, causal=True), 0.05, 0.05)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "sizes",
    [{"queries": 0}, {"queries": 0, "keys": 40}, {"batch": 0}, {"heads": 0}, {"queries": 0, "keys": 0}, {"keys": 0}],
    ids=str,
)
def test_what_is_empty_gives_what_the_formula_gives(sizes, causal, x64):
    q, k, v = operands(**sizes)

    def stock(q, k, v):
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / 2
        seen = jnp.tril(jnp.ones(scores.shape, bool), k.shape[1] - q.shape[1]) | (not causal)
        weights = jnp.where(seen, jax.nn.softmax(jnp.where(seen, scores, -1e300)), 0)
        return jnp.einsum("bhqk,bkhd->bqhd", weights, v)

    ours, theirs = (
        jax.jit(jax.value_and_grad(lambda *a, f=f: jnp.cos(f(*a)).sum(), (0, 1, 2)))(q, k, v)
        for f in (lambda *a: attention(*a, causal=causal), stock)
    )
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, 1e-10, 1e-12, strict=True)


def test_without_a_width_all_keys_weigh_the_same():
    q, k, v = operands(dtype=np.float32)
    y = attention(q[..., :0], k[..., :0], v)
    np.testing.assert_allclose(y, np.broadcast_to(v.mean(1, keepdims=True), v.shape), 1e-5, 1e-5)


def test_dtypes_are_promoted():
    q, k, v = operands(dtype=np.float32)
    y = attention(jnp.asarray(q, jnp.bfloat16), k, v)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, attention(q, k, v), 0.05, 0.05)
    gradient = jax.grad(lambda q: attention(q, k, v).sum())(jnp.asarray(q, jnp.bfloat16))
    assert gradient.dtype == jnp.bfloat16


@pytest.mark.parametrize("causal", [False, True])
def test_a_mask_of_whole_numbers_is_one_of_booleans_and_a_floating_one_refused(causal):
    operand = operands(dtype=np.float32)
    mask = np.array([2, 1, 0, 1, 1])[None, None, None]
    np.testing.assert_array_equal(
        attention(*operand, causal=causal, mask=mask), attention(*operand, causal=causal, mask=mask != 0)
    )
    with pytest.raises(TypeError, match="mask: expected booleans, true where something is real, got float32"):
        attention(*operand, mask=np.where(mask, 0, -np.inf).astype(np.float32), causal=causal)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, k, v: (q[0], k, v), "query, key and value: expected"),
        (lambda q, k, v: (1.0, k, v), r"query, key and value: expected .* got the shapes \(\),"),
        (lambda q, k, v: (q[:1], k, v), "query, key and value: expected"),
        (lambda q, k, v: (q, k[:, :2], v), "query, key and value: expected"),
        (lambda q, k, v: (q[..., :2], k, v), "query, key and value: expected"),
    ],
)
def test_bad_shapes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        attention(*change(*operands(dtype=np.float32)))


@pytest.mark.parametrize("shape", [(5, 5), (2, 3, 5, 4), (3, 1, 5, 5)])
def test_a_bad_mask_is_named(shape):
    with pytest.raises(ValueError, match=r"mask: expected four axes that broadcast to .* = \(2, 3, 5, 5\), got"):
        attention(*operands(dtype=np.float32), mask=np.ones(shape, bool))
