"""The temporal convolutional network sees what it should, and equals PyTorch's layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stepax as sx
from stepax.nn import receptive_field

X = np.random.default_rng(0).normal(size=(2, 20, 3)).astype(np.float32)


@pytest.mark.parametrize(("kernel", "levels"), [(2, 2), (3, 2), (2, 3)])
def test_sees_exactly_its_receptive_field(kernel, levels):
    module = sx.nn.TCN((4,) * levels, kernel, activation=jnp.tanh)
    variables = module.init(jax.random.key(0), X)
    jacobian = jax.jacrev(lambda x: module.apply(variables, x)[0])(X[:1])
    seen = np.abs(jacobian).sum((1, 2, 4)) > 0
    reach = receptive_field(kernel, levels)
    for t in range(X.shape[1]):
        np.testing.assert_array_equal(np.flatnonzero(seen[t]), np.arange(max(0, t - reach + 1), t + 1))


def test_equals_the_same_layers_in_pytorch(torch):
    module = sx.nn.TCN((4, 4), 3)
    params = module.init(jax.random.key(0), X)["params"]
    relu = torch.nn.functional.relu
    h = torch.tensor(np.moveaxis(X, -1, 1))
    for level in range(2):
        skip = h
        for i in range(2):
            name = f"conv_{level}_{i}"
            v = torch.tensor(np.transpose(np.array(params[f"{name}_kernel"]), (2, 1, 0)))
            g = torch.tensor(np.array(params[f"{name}_scale"]))[:, None, None]
            weight = torch._weight_norm(v, g, 0)
            padded = torch.nn.functional.pad(h, (2 * 2**level, 0))
            bias = torch.tensor(np.array(params[f"{name}_bias"]))
            h = relu(torch.nn.functional.conv1d(padded, weight, bias, dilation=2**level))
        if level == 0:
            weight = torch.tensor(np.transpose(np.array(params["skip_0_kernel"]), (2, 1, 0)))
            skip = torch.nn.functional.conv1d(skip, weight, torch.tensor(np.array(params["skip_0_bias"])))
        h = relu(skip + h)
    np.testing.assert_allclose(module.apply({"params": params}, X), np.moveaxis(h.numpy(), 1, -1), 1e-4, 1e-5)


def test_normalised_weights_start_as_drawn_and_have_a_length_of_their_own():
    module = sx.nn.TCN((4,), 3)
    params = module.init(jax.random.key(0), X)["params"]
    plain = {name: value for name, value in params.items() if not name.endswith("_scale")}
    unnormalised = sx.nn.TCN((4,), 3, normalize=False).apply({"params": plain}, X)
    np.testing.assert_allclose(module.apply({"params": params}, X), unnormalised, 1e-4, 1e-5)
    longer = params | {
        name: 10 * value for name, value in params.items() if name.endswith("_kernel") and "conv" in name
    }
    np.testing.assert_allclose(module.apply({"params": longer}, X), module.apply({"params": params}, X), 1e-4, 1e-5)


def test_dropout_drops_whole_channels_only_in_training():
    module = sx.nn.TCN((8,), 2, dropout=0.5, normalize=False)
    variables = module.init(jax.random.key(0), X)
    runs = [module.apply(variables, X, True, rngs={"dropout": jax.random.key(i)}) for i in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2])
    assert not np.allclose(runs[0], module.apply(variables, X))


@pytest.mark.parametrize("x", [X[..., None], X[..., :0]])
def test_images_and_sequences_of_nothing_are_refused(x):
    with pytest.raises(ValueError, match=r"x: expected sequences of shape \[batch, time, channels\] with .*, got"):
        sx.nn.TCN((4,)).init(jax.random.key(0), x)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"features": 4}, TypeError, "features: expected a sequence of widths"),
        ({"features": ()}, ValueError, "features: expected the channels of one block at least"),
        ({"features": (4, 0)}, ValueError, r"features\[1\]: expected at least 1"),
        ({"kernel": 0}, ValueError, "kernel: expected at least 1, got 0"),
        ({"kernel": (3,)}, TypeError, "kernel: expected a whole number"),
        ({"activation": "relu"}, TypeError, "activation: expected a function such as jax.nn.relu, got str 'relu'"),
        ({"dropout": 1.5}, ValueError, r"dropout: expected a number in \[0, 1\), got 1\.5"),
    ],
    ids=str,
)
def test_settings_that_make_no_network_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        sx.nn.TCN(**{"features": (4,), **settings}).init(jax.random.key(0), X)


def test_receptive_fields_of_nothing_are_refused():
    assert receptive_field(3, 0) == 1
    with pytest.raises(ValueError, match="kernel: expected at least 1, got 0"):
        receptive_field(0, 1)
    with pytest.raises(ValueError, match="levels: expected at least 0, got -1"):
        receptive_field(3, -1)


@pytest.mark.parametrize(("batch", "time"), [(0, 20), (2, 0)])
def test_no_sequences_and_no_steps(batch, time):
    module = sx.nn.TCN((4, 4))
    variables = module.init(jax.random.key(0), X)
    assert module.apply(variables, X[:batch, :time]).shape == (batch, time, 4)
    gradient = jax.grad(lambda v: module.apply(v, X[:batch, :time]).sum())(variables)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient))
