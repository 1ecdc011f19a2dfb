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


def test_images_are_refused():
    with pytest.raises(ValueError, match=r"x: expected sequences of shape \[batch, time, channels\], got"):
        sx.nn.TCN((4,)).init(jax.random.key(0), X[..., None])
