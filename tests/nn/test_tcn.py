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


@pytest.mark.parametrize("train", [False, True])
def test_a_change_is_seen_from_its_own_step_on_and_not_before(train):
    module = sx.nn.TCN((4, 4, 4), 3, dropout=0.2)
    variables = module.init(jax.random.key(0), X)

    @jax.jit
    def outputs(x):
        return module.apply(variables, x, train, rngs={"dropout": jax.random.key(1)})

    before = outputs(X)
    for t in range(X.shape[1]):
        changed = X.copy()
        changed[:, t:] = 1e3
        after = outputs(changed)
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        assert (after[:, t] != before[:, t]).any()


def test_the_jacobian_by_later_inputs_is_zero():
    module = sx.nn.TCN((4, 4, 4), 4)
    variables = module.init(jax.random.key(0), X)
    jacobian = jax.jacrev(lambda x: module.apply(variables, x))(X[:1])[0, :, :, 0]
    later = np.triu(np.ones((X.shape[1],) * 2, bool), 1)
    assert (np.moveaxis(jacobian, 2, 1)[later] == 0).all()
    assert (np.abs(jacobian).sum((1, 3)).diagonal() > 0).all()


@pytest.mark.parametrize(("kernel", "levels"), [(7, 4), (2, 6), (1, 3)])
def test_the_gradient_ends_where_the_receptive_field_does(kernel, levels):
    reach = receptive_field(kernel, levels)
    x = np.random.default_rng(1).normal(size=(1, reach + 3, 2)).astype(np.float32)
    module = sx.nn.TCN((6,) * levels, kernel, activation=jnp.tanh)
    variables = module.init(jax.random.key(0), x)
    gradient = jax.grad(lambda x: module.apply(variables, x)[0, -1].sum())(x)[0]
    assert (gradient[:-reach] == 0).all()
    assert (gradient[-reach] != 0).all()


# Shorter and longer than what the last step sees, and steps that blocks halve evenly or not.
@pytest.mark.parametrize(("time", "kernel", "levels"), [(20, 3, 2), (19, 3, 2), (1, 3, 3), (16, 7, 4), (20, 1, 2)])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_last_step_alone_is_that_of_all(time, kernel, levels, dropout):
    module, x = sx.nn.TCN((5,) * levels, kernel, dropout=dropout), X[:, :time]
    variables = module.init(jax.random.key(0), x)
    settings = {"train": dropout > 0, "rngs": {"dropout": jax.random.key(1)}}

    def weighted(variables, x, method):
        y = module.apply(variables, x, method=method, **settings)
        y = y[:, -1] if method == "__call__" else y
        return (y * jnp.arange(1.0, 11.0).reshape(2, 5)).sum(), y

    of_all, alone = (
        jax.value_and_grad(weighted, (0, 1), has_aux=True)(variables, x, method) for method in ("__call__", "last")
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-5), alone, of_all)
    assert alone[0][1].shape == (2, 5)


def test_the_last_of_no_steps_is_refused():
    with pytest.raises(ValueError, match=r"x: expected sequences with at least one step, got the shape \(2, 0, 3\)"):
        sx.nn.TCN((4,)).init(jax.random.key(0), X[:, :0], method="last")


def pytorch_tcn(torch, channels, widths, kernel):
    """The network of Bai et al., of PyTorch's own parts: ``conv_0_0``, ``conv_0_1``, ``skip_0``, and so on."""
    layers = torch.nn.ModuleDict()
    for level, width in enumerate(widths):
        for i in range(2):
            convolution = torch.nn.Conv1d(width if i else channels, width, kernel, dilation=2**level)
            layers[f"conv_{level}_{i}"] = torch.nn.utils.parametrizations.weight_norm(convolution)
        if channels != width:
            layers[f"skip_{level}"] = torch.nn.Conv1d(channels, width, 1)
        channels = width

    def forward(x):
        for level in range(len(widths)):
            h = x
            for i in range(2):
                h = torch.nn.functional.pad(h, ((kernel - 1) * 2**level, 0))
                h = torch.relu(layers[f"conv_{level}_{i}"](h))
            x = torch.relu(h + (layers[f"skip_{level}"](x) if f"skip_{level}" in layers else x))
        return x

    return layers, forward


def pytorch_names(params):
    """Our parameters by PyTorch's names, channels first."""
    names = {}
    for name, value in params.items():
        layer, _, part = name.rpartition("_")
        inner = "" if layer.startswith("skip") else "parametrizations."
        if part == "bias":
            names[f"{layer}.bias"] = value
        elif part == "scale":
            names[f"{layer}.parametrizations.weight.original0"] = value[:, None, None]
        else:
            names[f"{layer}.{inner}weight{'.original1' if inner else ''}"] = jnp.transpose(value, (2, 1, 0))
    return {name: np.array(value) for name, value in names.items()}


@pytest.mark.parametrize(("widths", "kernel"), [((4, 4), 3), ((5, 3, 3), 2)])
def test_equals_pytorch_in_outputs_and_gradients(torch, widths, kernel):
    module = sx.nn.TCN(widths, kernel)
    random = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: leaf + 0.1 * random.normal(size=leaf.shape).astype(np.float32),
        module.init(jax.random.key(0), X)["params"],
    )
    layers, forward = pytorch_tcn(torch, X.shape[-1], widths, kernel)
    layers.load_state_dict({name: torch.tensor(value) for name, value in pytorch_names(params).items()})
    x = torch.tensor(np.moveaxis(X, -1, 1).copy(), requires_grad=True)
    y = forward(x)
    weight = random.normal(size=(*X.shape[:2], widths[-1])).astype(np.float32)
    (y * torch.tensor(np.moveaxis(weight, -1, 1).copy())).sum().backward()

    def weighted(params, x):
        outputs = module.apply({"params": params}, x)
        return (outputs * weight).sum(), outputs

    (_, outputs), (by_params, by_x) = jax.value_and_grad(weighted, (0, 1), has_aux=True)(params, X)
    np.testing.assert_allclose(outputs, np.moveaxis(y.detach().numpy(), 1, -1), 1e-5, 1e-5)
    np.testing.assert_allclose(by_x, np.moveaxis(x.grad.numpy(), 1, -1), 1e-5, 1e-5)
    theirs = {name: parameter.grad.numpy() for name, parameter in layers.named_parameters()}
    ours = pytorch_names(by_params)
    assert set(ours) == set(theirs)
    for name, gradient in ours.items():
        # A sum over 40 steps: held against the size of the whole array.
        np.testing.assert_allclose(gradient, theirs[name], 1e-5, 1e-5 * np.abs(theirs[name]).max(), err_msg=name)


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


def test_the_gradient_of_a_normalised_weight_keeps_its_length():
    """``w = g v / |v|``: along ``v`` itself nothing changes."""
    module = sx.nn.TCN((4,), 3)
    params = module.init(jax.random.key(0), X)["params"]
    gradient = jax.grad(lambda params: jnp.square(module.apply({"params": params}, X)).sum())(params)
    for name in ("conv_0_0", "conv_0_1"):
        kernel, by_kernel = params[f"{name}_kernel"], gradient[f"{name}_kernel"]
        along, size = (kernel * by_kernel).sum((0, 1)), jnp.abs(kernel * by_kernel).sum((0, 1))
        assert (size > 0).all()
        assert (jnp.abs(along) <= 1e-5 * size).all()
        assert (gradient[f"{name}_scale"] != 0).all()


def test_dropout_drops_whole_channels_only_in_training():
    module = sx.nn.TCN((8,), 2, dropout=0.5, normalize=False)
    variables = module.init(jax.random.key(0), X)
    runs = [module.apply(variables, X, True, rngs={"dropout": jax.random.key(i)}) for i in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2])
    assert not np.allclose(runs[0], module.apply(variables, X))


def test_what_is_dropped_after_a_convolution_are_channels_of_a_sequence_at_all_its_steps():
    module = sx.nn.TCN((200,), 1, activation=lambda x: x, dropout=0.25, normalize=False)
    params = module.init(jax.random.key(0), X)["params"]
    # The first convolution gives ones, the second copies them, and nothing goes around them.
    params = jax.tree.map(jnp.zeros_like, params) | {
        "conv_0_0_bias": jnp.ones(200),
        "conv_0_1_kernel": jnp.eye(200)[None],
    }
    y = np.array(module.apply({"params": params}, X, True, rngs={"dropout": jax.random.key(0)}))
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1], y.shape))
    np.testing.assert_allclose(np.unique(y.round(4)), [0, round(1 / 0.75**2, 4)])
    # Both convolutions drop a quarter; sequences differ.
    assert abs((y[:, 0] > 0).mean() - 0.75**2) < 0.1
    assert (y[0] != y[1]).any()


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
