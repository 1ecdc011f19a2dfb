"""Actions by what is predicted, for every kind of prediction; as agents act themselves, and compiled once."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stepax as sx
from stepax import rl
from stepax.model import as_model
from stepax.rl.policies import drawn, epsilon_greedy, greedy
from stepax.rl.rollout import acting, episodes

KEY = jax.random.key(0)
SEEN = jnp.arange(12.0).reshape(3, 4) / 12


def answering(answer):
    """An agent that predicts the same whatever it sees, and its state."""
    state = sx.State({}, {}, (), {}, jnp.int32(3), KEY)
    return sx.Learner(*[lambda *_: state] * 3, lambda state, x: answer), state


@pytest.fixture(scope="module")
def actor():
    model = rl.ActorCritic(rl.CategoricalPolicy(2, (8,)), rl.Value((8,)))
    learner = rl.ppo(rl.cartpole(), model, optax.sgd(0.1), lanes=2, length=4, minibatches=1, evaluation_episodes=6)
    return as_model(model), learner, jax.jit(learner.init)(KEY, None)


@pytest.fixture(scope="module")
def valued():
    settings = {"lanes": 2, "batch_size": 4, "warmup": 2, "evaluation_episodes": 6}
    learner = rl.dqn(rl.cartpole(), rl.ActionValues(2, (8,)), optax.sgd(0.1), **settings)
    return learner, jax.jit(learner.init)(KEY, None)


def test_the_best_of_every_kind_of_answer():
    logits = jnp.float32([[0, 2, 1], [3, 0, 0]])
    for answer in (logits, rl.Categorical(logits), (rl.Categorical(logits), jnp.zeros(2))):
        action, kept = greedy(*answering(answer))(SEEN, KEY)
        assert (action.tolist(), action.dtype, kept) == ([1, 0], jnp.int32, {})
    mean = jnp.float32([[0.5], [-7]])
    assert greedy(*answering(rl.Normal(mean, mean)))(SEEN, KEY)[0].tolist() == mean.tolist()


def test_the_best_is_what_agents_are_evaluated_by(actor, valued):
    _, *of = actor
    table = rl.q_learning(rl.frozen_lake(), evaluation_episodes=6, initial=np.arange(64.0).reshape(16, 4) % 3)
    cases = [(rl.cartpole(), *of), (rl.cartpole(), *valued), (rl.frozen_lake(), table, table.init(KEY, None))]
    for environment, learner, state in cases:
        own = jax.jit(lambda state, learner=learner: learner.evaluate(state, None, KEY))(state)
        found = jax.jit(lambda act, at=environment: episodes(at, act, KEY, 6, 1000))(greedy(learner, state))
        assert found == own
        assert own["weight"] == 6


def test_draws_are_those_of_an_agent_that_learns(actor):
    model, learner, state = actor
    action, _ = drawn(learner, state)(SEEN, KEY)
    np.testing.assert_array_equal(action, acting(model, state.params, state.variables)(SEEN, KEY)[0])
    logits = jnp.log(jnp.float32([[0.2, 0.8]] * 4000))
    assert abs(float(drawn(*answering(logits_of := rl.Categorical(logits)))(SEEN, KEY)[0].mean()) - 0.8) < 0.03
    assert logits_of.mode().mean() == 1


def test_a_part_of_the_actions_is_drawn():
    values = jnp.float32([[0, 1, 0, 0]] * 4000)
    found = {epsilon: epsilon_greedy(epsilon)(*answering(values))(SEEN, KEY)[0] for epsilon in (0.0, 0.4, 1.0)}
    assert (found[0.0] == 1).all()
    np.testing.assert_allclose(jnp.bincount(found[0.4], length=4) / 4000, [0.1, 0.7, 0.1, 0.1], atol=0.03)
    np.testing.assert_allclose(jnp.bincount(found[1.0], length=4) / 4000, [0.25] * 4, atol=0.03)
    # By the number of steps made, 3.
    falling = epsilon_greedy(lambda step: jnp.where(step == 3, 0.0, 1.0))
    assert (falling(*answering(values))(SEEN, KEY)[0] == 1).all()


def test_one_program_for_all_states(valued):
    learner, state = valued
    traced = []

    @jax.jit
    def run(act):
        traced.append(act)
        return act(SEEN, KEY)[0]

    other = state._replace(params=jax.tree.map(lambda leaf: -leaf, state.params))
    explores = epsilon_greedy(0.0)
    assert [run(make(learner, each)).tolist() for make in (greedy, explores) for each in (state, other)] == [
        learner.predict(each, SEEN).argmax(-1).tolist() for each in (state, other)
    ] * 2
    assert len(traced) == 2


def test_what_is_no_policy_is_refused(actor, valued):
    _, learner, state = actor
    with pytest.raises(TypeError, match=r"learner: expected a stepax\.Learner"):
        greedy(None, state)
    with pytest.raises(TypeError, match="state: expected"):
        greedy(learner, None)
    with pytest.raises(ValueError, match=r"state: it has 2 lanes; take one with stepax\.lane"):
        greedy(learner, jax.eval_shape(sx.population(learner, 2).init, KEY, None))
    with pytest.raises(TypeError, match=r"distribution, got shape \(3, 2\); .*epsilon_greedy"):
        drawn(*valued)(SEEN, KEY)
    with pytest.raises(TypeError, match="learner of action values, got tuple"):
        epsilon_greedy(0.1)(learner, state)(SEEN, KEY)
    with pytest.raises(TypeError, match=r"action values, got shape \(3,\)"):
        greedy(*answering(jnp.zeros(3)))(SEEN, KEY)
    with pytest.raises(ValueError, match="epsilon"):
        epsilon_greedy(1.5)
    with pytest.raises(TypeError, match="epsilon"):
        epsilon_greedy("much")
