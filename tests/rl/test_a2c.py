"""The gradient by hand, and values that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stepax as sx
from stepax.rl import cartpole, known
from stepax.rl.a2c import a2c
from stepax.rl.networks import ActorCritic, CategoricalPolicy, Value

KEY = jax.random.key(0)


def network(actions=2):
    return ActorCritic(CategoricalPolicy(actions, (16,)), Value((16,)))


def trained(learner, epochs, **settings):
    source = sx.generated(5)
    return sx.fit(learner, source, key=KEY, epochs=epochs, batch_size=None, progress=False, **settings)


def test_an_update_is_the_gradient_of_the_losses():
    """By plain gradient descent, for the one step of each lane: all rewards are 1 and all values near to 0."""
    learner = a2c(known.constant().environment, network(1), optax.sgd(1.0), lanes=2, length=1, value_weight=0.25)
    state = jax.jit(learner.init)(KEY, None)
    after, metrics = jax.jit(learner.step)(state, None)
    x = jnp.zeros((2, 1))

    def loss(params):
        _, value = network(1).apply({"params": params}, x)
        return 0.25 * jnp.mean((value - 1) ** 2)

    wanted = jax.tree.map(lambda p, g: p - g, state.params, jax.grad(loss)(state.params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.params, wanted)
    np.testing.assert_allclose(metrics["value_loss"], 1, atol=0.1)
    assert metrics["entropy"] == 0


@pytest.mark.parametrize("name", ["observed", "delayed", "endless", "matched"])
def test_values_are_those_that_are_known(name):
    toy = getattr(known, name)()
    model = network(toy.environment.action_space.n)
    learner = a2c(toy.environment, model, optax.adam(0.01), lanes=16, length=5, discount=0.8, entropy_weight=0.01)
    run = trained(learner, 120)
    seen = np.float32({"delayed": [[0], [1]], "endless": [[0]]}.get(name, [[-1], [1]]))
    _, values = learner.predict(run.state, seen)
    wanted = [toy.value(observation, 0.8) for observation in seen]
    np.testing.assert_allclose(values, wanted, rtol=0.05, atol=0.05)
    if name == "matched":
        assert learner.evaluate(run.state, None, KEY)["return"] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lanes": 0}, "lanes: expected at least 1, got 0"),
        ({"length": 0}, "length: expected at least 1, got 0"),
        ({"trace": 2.0}, "trace: expected a number from 0 to 1, got 2"),
        ({"entropy_weight": -1.0}, "entropy_weight: expected a number of at least 0, got -1"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        a2c(cartpole(), network(), optax.adam(0.01), **settings)
