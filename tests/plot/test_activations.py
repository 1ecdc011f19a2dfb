import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from stepax import nn, plot

KEY = jax.random.key(0)
IMAGES = jax.random.normal(KEY, (2, 8, 8, 1))


def test_a_cnn_gives_every_layer_after_its_non_linearity_and_raw_scores():
    module = nn.CNN((4, 6), (5,), 3, normalize=True, dropout=0.5, activation=jnp.tanh)
    variables = module.init(KEY, IMAGES)
    layers = plot.layer_activations(module, variables, IMAGES)
    assert {name: values.shape for name, values in layers.items()} == {
        "conv_0": (2, 8, 8, 4),
        "conv_1": (2, 4, 4, 6),
        "dense_0": (2, 5),
        "head": (2, 3),
    }
    maps = nn.feature_maps(module, variables, IMAGES)
    np.testing.assert_allclose(layers["conv_0"], np.tanh(maps["norm_0"]), rtol=1e-6)
    np.testing.assert_allclose(layers["dense_0"], np.tanh(maps["dense_norm_0"]), rtol=1e-6)
    np.testing.assert_allclose(layers["head"], module.apply(variables, IMAGES), rtol=1e-6)


def test_an_mlp_gives_what_the_next_layer_takes():
    module = nn.MLP((4, 3))
    variables = module.init(KEY, IMAGES)
    layers = plot.layer_activations(module, variables, IMAGES)
    head = variables["params"]["head"]
    product = layers["dense_0"] @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    np.testing.assert_allclose(product, layers["head"], rtol=1e-5)
    assert (layers["dense_0"] >= 0).all()


def test_a_linear_model_has_its_scores_only():
    module = nn.MLP((3,))
    assert list(plot.layer_activations(module, module.init(KEY, IMAGES), IMAGES)) == ["head"]


def test_any_other_module_gives_its_plain_outputs():
    class Two(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(2, name="b")(linen.Dense(3, name="a")(x))

    module, x = Two(), jnp.ones((1, 4))
    variables = module.init(KEY, x)
    layers = plot.layer_activations(module, variables, x)
    assert list(layers) == ["a", "b"]
    np.testing.assert_allclose(layers["a"], x @ variables["params"]["a"]["kernel"], rtol=1e-5)


def test_what_returns_a_tree_gives_one():
    class Recurrent(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(2, name="head")(nn.GRU(3, name="gru")(x)[0])

    module, x = Recurrent(), jnp.ones((1, 4, 2))
    layers = plot.layer_activations(module, module.init(KEY, x), x)
    assert {name: jax.tree.map(np.shape, values) for name, values in layers.items()} == {
        "gru": ((1, 4, 3), [(1, 3)]),
        "head": (1, 4, 2),
    }


def test_no_module_is_refused():
    with pytest.raises(TypeError, match="Linen"):
        plot.layer_activations(None, {}, IMAGES)
