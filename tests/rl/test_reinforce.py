"""Gradients by hand, episodes of different lengths, and values that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stepax as sx
from stepax.rl import cartpole, known
from stepax.rl.networks import ActorCritic, CategoricalPolicy, Value
from stepax.rl.normalization import normalized
from stepax.rl.reinforce import reinforce
from stepax.rl.rollout import acting, whole_episodes

KEY = jax.random.key(0)


def network(actions=2):
    return ActorCritic(CategoricalPolicy(actions, (16,)), Value((16,)))


def trained(learner, epochs, **settings):
    source = sx.generated(5)
    return sx.fit(learner, source, key=KEY, epochs=epochs, batch_size=None, progress=False, **settings)


def test_an_update_is_the_gradient_over_the_real_steps():
    environment = cartpole()
    learner = reinforce(environment, network(), optax.sgd(1.0), lanes=3, length=60, discount=0.9)
    state = jax.jit(learner.init)(KEY)
    after, metrics = jax.jit(learner.step)(state)
    # The same episodes, step by step on the host.
    key = jax.random.split(jax.random.fold_in(state.key, 0))[0]
    model = sx.from_linen(network())
    made = whole_episodes(environment, acting(model, state.params, {}), key, 3, 60)
    made = jax.tree.map(np.asarray, made)
    rows, sums = [], []
    for lane in range(3):
        count = int(made["weight"][:, lane].sum())
        assert made["terminated"][count - 1, lane]
        total = 0.0
        for t in reversed(range(count)):
            total = 1 + 0.9 * total
            rows.append((t, lane))
            sums.append(total)
    x, action = (np.stack([made[name][row] for row in rows]) for name in ("observation", "action"))
    assert metrics["weight"] == len(rows)
    np.testing.assert_allclose(metrics["return"], len(rows) / 3, 1e-6)

    def loss(params):
        policy, value = network().apply({"params": params}, x)
        gain = jnp.array(sums) - jax.lax.stop_gradient(value)
        return jnp.mean(-policy.log_probability(action) * gain + 0.5 * (value - jnp.array(sums)) ** 2)

    wanted = jax.tree.map(lambda p, g: p - g, state.params, jax.grad(loss)(state.params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), after.params, wanted)


@pytest.mark.parametrize("name", ["observed", "delayed", "endless", "matched"])
def test_values_are_those_that_are_known(name):
    toy = getattr(known, name)()
    model = normalized(network(toy.environment.action_space.n)) if name == "matched" else network(1)
    learner = reinforce(toy.environment, model, optax.adam(0.01), lanes=32, length=12, discount=0.8)
    run = trained(learner, 80)
    seen = np.float32({"delayed": [[0], [1]], "endless": [[0]]}.get(name, [[-1], [1]]))
    _, values = learner.predict(run.state, seen)
    wanted = [toy.value(observation, 0.8) for observation in seen]
    np.testing.assert_allclose(values, wanted, rtol=0.05, atol=0.05)
    if name == "matched":
        assert learner.evaluate(run.state, None, KEY)["return"] == 1
        assert run.state.variables["observations"].number == pytest.approx(32 * 400, rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lanes": 0}, "lanes: expected at least 1, got 0"),
        ({"length": 0}, "length: expected at least 1, got 0"),
        ({"discount": 2.0}, "discount: expected a number from 0 to 1, got 2"),
        ({"value_weight": -1.0}, "value_weight: expected a number of at least 0, got -1"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        reinforce(cartpole(), network(), optax.adam(0.01), **settings)
