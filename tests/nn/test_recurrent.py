"""Stacked and bidirectional layers are PyTorch's; masks and states behave."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import stepax as sx

X = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
LENGTHS = np.array([5, 3, 1])
MASK = np.arange(5) < LENGTHS[:, None]
KINDS = {"RNN": sx.nn.RNN, "GRU": sx.nn.GRU, "LSTM": sx.nn.LSTM}


def layers(kind, **settings):
    module = KINDS[kind](4, bias_init=jax.nn.initializers.normal(), **settings)
    return module, module.init(jax.random.key(0), X)


def own_name(name):
    """A parameter of PyTorch's under its name here."""
    what, direction = name.rsplit("_l", 1)
    layer, backward = direction.removesuffix("_reverse"), direction.endswith("_reverse")
    names = {"weight_ih": "kernel", "weight_hh": "recurrent_kernel", "bias_ih": "bias", "bias_hh": "recurrent_bias"}
    return f"{'backward' if backward else 'forward'}_{layer}_{names[what]}"


def copied_to_torch(torch, kind, params, **settings):
    theirs = getattr(torch.nn, kind)(2, 4, batch_first=True, **settings)
    for name, parameter in theirs.named_parameters():
        value = params.get(own_name(name))
        value = np.zeros(tuple(parameter.shape), np.float32) if value is None else np.asarray(value).T
        with torch.no_grad():
            parameter.copy_(torch.tensor(value))
    return theirs


@pytest.mark.parametrize("settings", [{}, {"layers": 2}, {"layers": 2, "bidirectional": True}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_gradients_and_states_are_those_of_pytorch(kind, settings, torch):
    module, variables = layers(kind, **settings)
    names = {"layers": "num_layers"}
    theirs = copied_to_torch(
        torch, kind, variables["params"], **{names.get(name, name): value for name, value in settings.items()}
    )
    tx = torch.tensor(X, requires_grad=True)
    outputs, last = theirs(tx)
    torch.sin(outputs).sum().backward()

    def loss(params, x):
        outputs, states = module.apply({"params": params}, x)
        return jnp.sin(outputs).sum(), (outputs, states)

    (by_params, by_x), (ours, states) = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(variables["params"], X)
    np.testing.assert_allclose(ours, outputs.detach(), 1e-5, 1e-5)
    np.testing.assert_allclose(by_x, tx.grad, 1e-4, 1e-5)
    for name, parameter in theirs.named_parameters():
        if own_name(name) in by_params:
            np.testing.assert_allclose(by_params[own_name(name)].T, parameter.grad, 1e-4, 1e-5, err_msg=name)
    last = last if kind == "LSTM" else (last,)
    for i, state in enumerate(states):
        for a, b in zip(state if kind == "LSTM" else (state,), last, strict=True):
            np.testing.assert_allclose(a, b[i].detach(), 1e-5, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind):
    module, variables = layers(kind, layers=2, bidirectional=True)
    outputs, states = module.apply(variables, X, mask=MASK)
    for row, length in enumerate(LENGTHS):
        alone, last = module.apply(variables, X[row : row + 1, :length])
        np.testing.assert_allclose(outputs[row, :length], alone[0], 1e-5, 1e-6)
        jax.tree.map(lambda a, b, row=row: np.testing.assert_allclose(a[row], b[0], 1e-5, 1e-6), states, last)


@pytest.mark.parametrize("kind", KINDS)
def test_states_lead_from_one_part_of_a_sequence_to_the_next(kind):
    module, variables = layers(kind, layers=2)
    whole, states = module.apply(variables, X)
    first, between = module.apply(variables, X[:, :2])
    second, last = module.apply(variables, X[:, 2:], initial=between)
    np.testing.assert_allclose(jnp.concatenate([first, second], 1), whole, 1e-5, 1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6), states, last)


def test_forget_gates_start_open():
    params = sx.nn.LSTM(4).init(jax.random.key(0), X)["params"]
    np.testing.assert_array_equal(params["forward_0_bias"].reshape(4, 4)[:, 0], [0, 1, 0, 0])
    recurrent = params["forward_0_recurrent_kernel"].reshape(4, 4, 4)
    for gate in range(4):
        np.testing.assert_allclose(recurrent[:, gate].T @ recurrent[:, gate], np.eye(4), atol=1e-5)


def test_dropout_lies_between_layers_and_only_in_training():
    module, variables = layers("GRU", layers=2, dropout=0.5)
    still, _ = module.apply(variables, X)
    runs = [module.apply(variables, X, True, rngs={"dropout": jax.random.key(i)})[0] for i in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2])
    assert not np.allclose(runs[0], still)


def test_a_wrong_number_of_states_is_named():
    module, variables = layers("LSTM", layers=2, bidirectional=True)
    with pytest.raises(ValueError, match="initial: expected 4 states, one per layer and direction, got 1"):
        module.apply(variables, X, initial=[(X, X)])
    with pytest.raises(ValueError, match="initial: expected 4 states, one per layer and direction, got 0"):
        module.apply(variables, X, initial=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"layers": 0}, ValueError, "layers: expected at least 1, got 0"),
        ({"layers": 1.5}, TypeError, "layers: expected a whole number"),
        ({"features": 0}, ValueError, "features: expected at least 1, got 0"),
        ({"features": (4,)}, TypeError, "features: expected a whole number"),
        ({"dropout": 1.5}, ValueError, r"dropout: expected a number in \[0, 1\), got 1\.5"),
    ],
    ids=str,
)
def test_settings_that_make_no_layers_are_named(kind, settings, error, message):
    with pytest.raises(error, match=message):
        KINDS[kind](**{"features": 4, **settings}).init(jax.random.key(0), X)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("x", [X[0], X[..., :0]])
def test_what_is_no_batch_of_sequences_is_named(kind, x):
    with pytest.raises(
        ValueError, match=r"x: expected sequences of shape \[batch, time, inputs\] with .*, got the shape"
    ):
        KINDS[kind](4).init(jax.random.key(0), x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("batch", "time"), [(0, 5), (3, 0)])
def test_no_sequences_and_no_steps(kind, batch, time):
    module, variables = layers(kind, layers=2, bidirectional=True)

    def loss(variables):
        outputs, states = module.apply(variables, X[:batch, :time])
        return outputs.sum() + sum(leaf.sum() for leaf in jax.tree.leaves(states)), outputs

    gradient, outputs = jax.jit(jax.grad(loss, has_aux=True))(variables)
    assert outputs.shape == (batch, time, 8)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient))


def test_a_learnt_activation():
    class Learnt(linen.Module):
        @linen.compact
        def __call__(self, x):
            slope = self.param("slope", linen.initializers.ones_init(), (1, 4))
            return sx.nn.RNN(4, activation=lambda a: jnp.tanh(slope * a))(x)[0]

    variables = Learnt().init(jax.random.key(0), X)
    gradient = jax.jit(jax.grad(lambda v: Learnt().apply(v, X).sum()))(variables)["params"]["slope"]
    assert (np.abs(gradient) > 1e-4).all()
