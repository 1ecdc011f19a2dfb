"""The one place of reduction, by hand numbers, and batches that combine exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import stepax as sx


def array(*values):
    return jnp.array(values, jnp.float32)


@pytest.mark.parametrize(
    ("values", "weight", "mean"),
    [
        (array(1, 2, 6), None, 3),
        (array(1, 2, 6), array(1, 1, 2), 3.75),  # (1 + 2 + 12) / 4
        (array([1, 3], [5, 7]), array(1, 3), 5),  # (2 + 3 · 6) / 4
        (array([1, 3], [5, 7]), array([1, 0], [1, 2]), 5),  # (1 + 5 + 14) / 4
        (array(2, 4), array([1, 1], [1, 0]), 8 / 3),  # two steps of the first, one of the second
        (array([[1, 3]], [[5, 7]]), array([1], [1]), 4),
        (array(1, np.inf), array(1, 0), 1),
        (array(1, np.nan), array(2, 0), 1),
        (array([1, np.inf], [3, 4]), array([1, 0], [1, 1]), 8 / 3),
        (array([1, np.nan], [3, 5]), array(0, 1), 4),
        (array(3, 4), array(0, 0), 0),
        (array(np.nan, np.inf), array(0, 0), 0),
        (np.array([1.0, 5.0]), np.array([3, 1]), 2),
        (jnp.array([1, 2, 2]), array(1, 1, 2), 1.75),
        (jnp.array([True, False]), array(3, 1), 0.75),
    ],
)
def test_weighted_mean_by_hand(values, weight, mean):
    result = sx.weighted_mean(values, weight)
    assert jnp.shape(result) == ()
    assert float(result) == pytest.approx(mean)


@pytest.mark.parametrize(("values", "weight"), [((3,), (2,)), ((2, 3), (3,)), ((2, 3), (2, 2)), ((2,), (3, 2))])
def test_a_weight_that_is_no_prefix_is_refused(values, weight):
    with pytest.raises(ValueError, match=r"weight: its shape .* must be a prefix of the values' shape"):
        sx.weighted_mean(jnp.ones(values), jnp.ones(weight))


def test_one_weight_per_example_never_means_one_per_time_step():
    values = np.arange(9.0, dtype=np.float32).reshape(3, 3)
    weight = np.array([1, 0, 2], np.float32)
    by_example = (values.mean(1) * weight).sum() / 3
    assert float(sx.weighted_mean(jnp.asarray(values), jnp.asarray(weight))) == pytest.approx(by_example)


numbers = hnp.arrays(np.float32, 6, elements=st.floats(-100, 100, width=32))
weights = hnp.arrays(np.float32, 6, elements=st.sampled_from([0, 0.5, 1, 3]))
reduced = jax.jit(lambda values, weight: sx.reduce(values, {"square": values**2}, {"weight": weight}))


@given(numbers, weights, numbers, weights)
@settings(max_examples=50, deadline=None)
def test_batches_combine_exactly_by_their_weight(first, first_weight, second, second_weight):
    parts = [reduced(first, first_weight), reduced(second, second_weight)]
    whole = reduced(np.concatenate([first, second]), np.concatenate([first_weight, second_weight]))
    total = sum(float(part["weight"]) for part in parts)
    assert float(whole["weight"]) == total
    for name in ("loss", "square"):
        combined = sum(float(part[name]) * float(part["weight"]) for part in parts) / (total or 1)
        assert float(whole[name]) == pytest.approx(combined, rel=1e-4, abs=1e-2)


def test_reduce_counts_examples_where_nothing_is_weighted():
    metrics = sx.reduce(array([1, 3], [5, 7]), {"error": array(0, 1)}, {"x": array(1, 2)})
    assert {name: float(value) for name, value in metrics.items()} == {"loss": 4, "error": 0.5, "weight": 2}
    assert float(sx.reduce(array(1, 3), {}, None)["weight"]) == 2


@pytest.mark.parametrize("name", ["loss", "weight"])
def test_reserved_names_of_metrics(name):
    with pytest.raises(ValueError, match=f"metrics: the name '{name}' is reserved"):
        sx.reduce(array(1), {name: array(1)}, None)


@pytest.mark.parametrize(
    ("values", "metrics", "name"), [(1.0, {}, "the loss"), (array(1), {"hits": jnp.ones(())}, "hits")]
)
def test_what_was_reduced_already_is_refused_by_name(values, metrics, name):
    with pytest.raises(ValueError, match=f"{name}: expected one value per example"):
        sx.reduce(values, metrics, None)


def line(params, variables, batch, key):
    """Squares of ``w x``: their gradient by ``w`` is ``2 w x²``."""
    values = (params["w"] * batch["x"]) ** 2
    return values, ({"seen": variables["seen"] + 1}, {"double": 2 * values})


def test_gradient_by_hand():
    params, variables = {"w": jnp.float32(2)}, {"seen": jnp.int32(4)}
    grads, after, metrics = sx.gradient(line, params, variables, {"x": array(1, 2)}, None)
    assert grads == {"w": 10}  # (4 + 16) / 2
    assert after == {"seen": 5}
    assert metrics == {"loss": 10, "double": 20, "weight": 2}
    grads, _, metrics = sx.gradient(line, params, variables, {"x": array(1, 2), "weight": array(3, 1)}, None)
    assert grads == {"w": 7}  # (3 · 4 + 16) / 4
    assert metrics == {"loss": 7, "double": 14, "weight": 4}


def test_an_empty_batch_moves_nothing_whatever_it_holds():
    batch = {"x": array(np.inf, np.nan), "weight": array(0, 0)}
    _, _, metrics = sx.gradient(line, {"w": jnp.float32(2)}, {"seen": jnp.int32(0)}, batch, None)
    assert metrics["loss"] == 0
    finite = {"x": array(1e30, 1), "weight": array(0, 0)}
    grads, _, _ = sx.gradient(line, {"w": jnp.float32(2)}, {"seen": jnp.int32(0)}, finite, None)
    assert grads == {"w": 0}


def test_update_is_optax_and_shows_the_rate_where_it_is_exposed():
    params, grads = {"w": array(1, 2)}, {"w": array(10, -10)}
    plain = optax.sgd(0.1)
    moved, _, metrics = sx.update(plain, grads, plain.init(params), params)
    np.testing.assert_allclose(moved["w"], [0, 3], rtol=1e-6)
    assert metrics == {}
    shown = optax.chain(optax.clip(1.0), optax.inject_hyperparams(optax.sgd)(lambda count: 0.5 / (1 + count)))
    state = shown.init(params)
    rates = []
    for _ in range(3):
        params, state, metrics = sx.update(shown, grads, state, params)
        rates.append(float(metrics["learning_rate"]))
    np.testing.assert_allclose(rates, [0.5, 0.25, 0.5 / 3], rtol=1e-6)
    np.testing.assert_allclose(params["w"], [1 - sum(rates), 2 + sum(rates)], rtol=1e-6)


def test_an_optimizer_that_needs_more_than_the_gradient_is_refused_by_name():
    params = {"w": array(1, 2)}
    for optimizer in (optax.lbfgs(), optax.chain(optax.clip(1.0), optax.polyak_sgd())):
        with pytest.raises(TypeError, match=r"optimizer: expected one that needs the gradient alone.*'?value'?"):
            sx.update(optimizer, params, optimizer.init(params), params)


def test_half_precision_values_are_averaged_and_counted_in_float32():
    values = jnp.ones(1001, jnp.bfloat16)
    for batch in ({}, {"weight": np.ones(1001, np.float32)}):
        metrics = sx.reduce(values, {"one": values}, batch)
        assert {name: (float(value), value.dtype) for name, value in metrics.items()} == {
            "loss": (1, jnp.float32),
            "one": (1, jnp.float32),
            "weight": (1001, jnp.float32),
        }
