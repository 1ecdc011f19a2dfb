"""The workloads are what their titles say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepax.bench import WORKLOADS

MLP = (784 + 1) * 128 + (128 + 1) * 64 + (64 + 1) * 10
# Batch normalisation has a scale and a shift for each channel, in place of the bias.
DEEP = 9 * (3 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128) + 2 * 2 * (32 + 64 + 128)
# Two norms; queries, keys and values; the projection back; two dense layers.
BLOCK = 4 * 128 + (128 + 1) * 384 + (128 + 1) * 128 + (128 + 1) * 512 + (512 + 1) * 128
PARAMETERS = {
    "mlp": MLP,
    "mlp-32": MLP,
    "cnn": (9 + 1) * 32 + (9 * 32 + 1) * 64 + (7 * 7 * 64 + 1) * 256 + (256 + 1) * 10,
    "cnn-deep": DEEP + 4 * 4 * 128 * 128 + 2 * 128 + (128 + 1) * 10,
    "lstm": (32 + 128 + 1) * 4 * 128 + (128 + 1) * 10,
    "gru": (32 + 128 + 2) * 3 * 128 + (128 + 1) * 10,
    # Ten convolutions with a bias and a length for each filter, and one of window 1 beside the first two.
    "tcn": (3 * 32 + 2) * 64 + 9 * (3 * 64 + 2) * 64 + (32 + 1) * 64 + (64 + 1) * 10,
    "tcn-last": (3 * 32 + 2) * 64 + 9 * (3 * 64 + 2) * 64 + (32 + 1) * 64 + (64 + 1) * 10,
    "transformer": 256 * 128 + 128 * 128 + 4 * BLOCK + 2 * 128 + 128 * 256,
    "population": MLP,
    "population-32": MLP,
}
INPUTS = {
    "mlp": (784,),
    "cnn": (28, 28, 1),
    "cnn-deep": (32, 32, 3),
    "lstm": (64, 32),
    "gru": (64, 32),
    "tcn": (64, 32),
    "tcn-last": (64, 32),
    "transformer": (128,),
    "population": (784,),
}


def test_names() -> None:
    assert list(WORKLOADS) == list(PARAMETERS)
    assert all(workload.name == name for name, workload in WORKLOADS.items())


def test_batches_and_models() -> None:
    small = {"mlp-32": 32, "transformer": 16, "population-32": 32}
    assert {name: workload.batch_size for name, workload in WORKLOADS.items()} == dict.fromkeys(WORKLOADS, 128) | small
    assert {name for name, workload in WORKLOADS.items() if workload.lanes == 16} == {"population", "population-32"}
    assert {workload.lanes for workload in WORKLOADS.values()} == {1, 16}


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_step_keeps_the_state_and_its_parameters_are_those_counted(name: str) -> None:
    workload = WORKLOADS[name]
    learner, batch = workload.learner(), workload.data(workload.batch_size, 0)
    state = jax.eval_shape(learner.init, jax.random.key(0), batch)
    assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) == PARAMETERS[name]
    after, metrics = jax.eval_shape(learner.step, state, batch)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    assert metrics["loss"].shape == ()


@pytest.mark.parametrize("name", WORKLOADS)
def test_data(name: str) -> None:
    workload = WORKLOADS[name]
    first, again, other = (workload.data(40, seed) for seed in (0, 0, 1))
    x, y = first["x"], first["y"]
    assert x.shape == (40, *INPUTS[name.removesuffix("-32")])
    assert y.dtype == np.int32
    assert y.shape == (x.shape if name == "transformer" else (40,))
    classes = 256 if name == "transformer" else 10
    assert y.min() >= 0
    assert y.max() < classes
    assert len(np.unique(y)) > 5
    for field in ("x", "y"):
        np.testing.assert_array_equal(first[field], again[field])
    assert (x != other["x"]).any()


def test_labels_are_a_function_of_the_inputs_whatever_the_seed() -> None:
    data = WORKLOADS["mlp"].data
    directions = np.random.default_rng(0).normal(size=(784, 10)).astype(np.float32)
    for seed in (0, 1):
        batch = data(20, seed)
        np.testing.assert_array_equal((batch["x"] @ directions).argmax(-1), batch["y"])


def test_the_next_token_follows_from_the_last_two() -> None:
    batch = WORKLOADS["transformer"].data(20, 0)
    x, y = batch["x"].astype(int), batch["y"].astype(int)
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
    np.testing.assert_array_equal((2 * x[:, 1:] - x[:, :-1]) % 256, y[:, 1:])
