"""Losses by hand, an update against NumPy, demonstrations that stay, and values that are known."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stepax as sx
from stepax.rl import ActionValues, cartpole, gradual, known, pendulum, periodic, recorded, uniform
from stepax.rl.dqfd import dqfd, large_margin

KEY = jax.random.key(0)
POLE = cartpole()
SMALL = {"lanes": 2, "length": 4, "batch_size": 16, "capacity": 40, "pretraining": 2, "steps": 3}
PARTS = {"several": 0.7, "imitation": 1.5, "margin": 0.8, "decay": 1e-3, "bonus": (1.0, 0.125), "discount": 0.9}


def leaning(observation, key):
    """Pushes the cart to where the pole falls."""
    return (observation[:, 2] + observation[:, 3] > 0).astype(jnp.int32), {}


@functools.cache
def shown():
    """Two episodes of eight steps."""
    return recorded(POLE, leaning, KEY, 2, 8)


def agent(environment=POLE, model=None, optimizer=None, demonstrations=None, **settings):
    demonstrations = shown() if demonstrations is None else demonstrations
    model, optimizer = model or ActionValues(2, ()), optimizer or optax.sgd(0.01)
    return dqfd(environment, model, optimizer, demonstrations, **{**SMALL, **settings})


@functools.cache
def linear():
    """An agent whose network is one dense layer, and with weights of its losses that can be told apart."""
    return agent(**PARTS, follow=periodic(15))


@functools.cache
def life():
    """States and metrics of twenty steps, two of them without acting, and the batch of each."""
    step = jax.jit(functools.partial(linear().step, batch=None, gradient=watched))
    states, told = [jax.jit(linear().init)(KEY)], []
    for _ in range(20):
        state, metrics = step(states[-1])
        states.append(state)
        told.append(metrics)
    return states, told


def watched(objective, params, variables, batch, key):
    """The gradient, which tells the batch among the metrics."""
    grads, variables, metrics = sx.gradient(objective, params, variables, batch, key)
    return grads, variables, {**metrics, "batch": batch}


def test_the_margin_loss_by_hand():
    values = jnp.float32([[1, 3, 2], [1, 3, 2], [1, 3, 2.5], [0, 0, 0]])
    action = jnp.int32([0, 1, 1, 2])
    # 3 + 0.8 − 1; 3 is ahead by 1; 3 is ahead by 0.5, and should be by 0.8; 0.8.
    np.testing.assert_allclose(large_margin(values, action, 0.8), [2.8, 0, 0.3, 0.8], atol=1e-6)
    gradient = jax.grad(lambda values: large_margin(values, action, 0.8).sum())(values)
    assert gradient[:3].tolist() == [[-1, 1, 0], [0, 0, 0], [0, -1, 1]]


def entries(state):
    """What lies in the replay."""
    ring = state.extra["replay"].buffer.ring
    return jax.tree.map(np.asarray, ring.data), int(ring.size)


def test_demonstrations_lie_in_the_replay_from_the_beginning():
    data, size = entries(life()[0][0])
    rewards, after, ended = (shown()[name] for name in ("reward", "next_observation", "truncated"))
    assert size == len(rewards) == 16
    for t in range(16):
        path = [t]
        while len(path) < 3 and not ended[path[-1]]:
            path.append(path[-1] + 1)
        (place,) = np.flatnonzero((data["observation"][:size] == shown()["observation"][t]).all(1))
        assert data["demonstration"][place]
        assert data["action"][place] == shown()["action"][t]
        np.testing.assert_allclose(data["reward"][place], sum(0.9**k * rewards[s] for k, s in enumerate(path)), 1e-6)
        np.testing.assert_allclose(data["discount"][place], 0.9 ** len(path), 1e-6)
        np.testing.assert_array_equal(data["next_observation"][place], after[path[-1]])
        np.testing.assert_array_equal(data["single"]["next_observation"][place], after[t])
        assert data["single"]["reward"][place] == rewards[t]


def test_demonstrations_are_never_overwritten():
    states, _ = life()
    first, _ = entries(states[0])
    for state in states[1:]:
        data, size = entries(state)
        jax.tree.map(lambda now, then: np.testing.assert_array_equal(now[:16], then[:16]), data, first)
        assert data["demonstration"].tolist() == [True] * 16 + [False] * 40
    # The ring has gone round: own transitions were.
    assert size == 56
    assert int(states[-1].extra["replay"].buffer.ring.position) != 16
    earlier = entries(states[10])[0]["observation"][16:]
    assert not (entries(states[-1])[0]["observation"][16:] == earlier).all(1).any()


def test_the_first_steps_learn_and_do_not_act():
    states, told = life()
    for number, (before, after) in enumerate(itertools.pairwise(states)):
        acts = number >= 2
        lanes = [state.extra["lanes"] for state in (before, after)]
        assert bool((lanes[0].observation == lanes[1].observation).all()) != acts
        assert (told[number]["length"] > 0) == acts
        assert told[number]["error"] > 0
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), before.params, after.params)
        assert all(jax.tree.leaves(moved))
        if not acts:
            assert told[number]["demonstrations"] == 1
            assert entries(after)[1] == 16


def numpy_update(params, lagging, batch, rate):
    """The parameters after a step of gradient descent, and the errors of one step, in float64."""
    kernel, bias = params
    rows = np.arange(len(batch["action"]))

    def values(x, of):
        return x @ of[0] + of[1]

    def worth(x):
        return values(x, lagging)[rows, values(x, params).argmax(1)]

    single = batch["single"]
    target = single["reward"] + 0.9 * (1 - single["terminated"]) * worth(single["next_observation"])
    target_n = batch["reward"] + batch["discount"] * worth(batch["next_observation"])
    q = values(batch["observation"], params)
    of = q[rows, batch["action"]]
    slope = np.zeros_like(q)
    slope[rows, batch["action"]] = -2 * (target - of) - 0.7 * 2 * (target_n - of)
    total = (target - of) ** 2 + 0.7 * (target_n - of) ** 2
    for row in rows[batch["demonstration"] > 0]:
        taken = batch["action"][row]
        rivals = q[row] + 0.8 * (np.arange(2) != taken)
        total[row] += 1.5 * (rivals.max() - q[row, taken])
        slope[row, rivals.argmax()] += 1.5
        slope[row, taken] -= 1.5
    weight = batch["weight"] / batch["weight"].sum()
    slope *= weight[:, None]
    after = (
        kernel - rate * (batch["observation"].T @ slope + 2e-3 * kernel),
        bias - rate * (slope.sum(0) + 2e-3 * bias),
    )
    squares = (kernel**2).sum() + (bias**2).sum()
    return after, target - of, (weight * total).sum() + 1e-3 * squares


def test_an_update_is_that_of_numpy():
    """The second network is that of the beginning, and after fifteen updates the first."""

    def layer(tree):
        (dense,) = tree["body"].values()
        return np.asarray(dense["kernel"], float), np.asarray(dense["bias"], float)

    states, told = life()
    mixed = 0
    for number, ((before, after), metrics) in enumerate(zip(itertools.pairwise(states), told, strict=True)):
        lagging = layer(states[15 if number >= 15 else 0].params)
        batch = jax.tree.map(lambda leaf: np.asarray(leaf, float), metrics["batch"])
        batch["action"] = batch["action"].astype(int)
        expected, errors, loss = numpy_update(layer(before.params), lagging, batch, 0.01)
        for found, wanted in zip(layer(after.params), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(metrics["loss"], loss, 1e-4)
        mixed += 0 < batch["demonstration"].mean() < 1
        # Priorities: |δ| and a bonus, more for demonstrations.
        data, size = entries(after)
        priorities = np.asarray(after.extra["replay"].buffer.sums[0]).reshape(-1)[:size]
        for row, error in enumerate(errors):
            bonus = 1.0 if batch["demonstration"][row] else 0.125
            places = np.flatnonzero((data["observation"][:size] == np.float32(batch["observation"][row])).all(1))
            assert np.isclose(priorities[places], (abs(error) + bonus) ** 0.4, rtol=1e-3).any()
    assert mixed > 10


@pytest.mark.parametrize("name", ["delayed", "matched"])
def test_values_are_those_that_are_known(name):
    toy = known.delayed(4) if name == "delayed" else known.matched()
    actions = toy.environment.action_space.n

    def best(observation, key):
        return (observation[:, 0] > 0).astype(jnp.int32) * (actions - 1), {}

    learner = agent(
        toy.environment,
        ActionValues(actions, (16,)),
        optax.adam(0.01),
        recorded(toy.environment, best, KEY, 4, 10),
        updates=4,
        discount=0.8,
        follow=gradual(0.1),
        epsilon=0.5,
        capacity=200,
    )
    run = sx.fit(learner, sx.generated(250), key=KEY, epochs=1, batch_size=None, progress=False)
    seen = np.float32([[0], [1], [2], [3]] if name == "delayed" else [[-1], [1]])
    values = learner.predict(run.state, seen)
    wanted = [[toy.action_value(observation, action, 0.8) for action in range(actions)] for observation in seen]
    np.testing.assert_allclose(values, wanted, rtol=0.05, atol=0.05)


def test_a_pause_while_it_does_not_act_changes_no_bit(tmp_path):
    learner, source = agent(pretraining=5, replay=uniform), sx.generated(4)

    def fitted(epochs, **settings):
        return sx.fit(learner, source, key=KEY, epochs=epochs, batch_size=None, progress=False, **settings).state

    whole = fitted(3)
    fitted(1, checkpoints=tmp_path)
    resumed = fitted(3, checkpoints=tmp_path)
    plain = (state._replace(key=jax.random.key_data(state.key)) for state in (whole, resumed))
    jax.tree.map(np.testing.assert_array_equal, *plain)
    assert int(whole.extra["replay"].buffer.size) > 16


def test_what_was_made_elsewhere_is_learnt_from_at_any_step():
    """Also while it would not act by itself."""
    learner, made = linear(), shown()
    lanes = {name: np.stack([part[:4], part[8:12]], 1) for name, part in made.items()}
    state, metrics = jax.jit(learner.step)(life()[0][0], lanes)
    data, size = entries(state)
    assert size == 16 + 2 * 2  # of four steps two have three steps
    assert not data["demonstration"][16:size].any()
    np.testing.assert_array_equal(data["observation"][16:18], lanes["observation"][0])
    assert metrics["length"] == 4


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"environment": pendulum()}, TypeError, "environment: expected discrete actions"),
        ({"epsilon": 1.5}, ValueError, r"epsilon: expected a number from 0 to 1, got 1.5"),
        ({"steps": 0}, ValueError, "steps: expected at least 1, got 0"),
        ({"pretraining": -1}, ValueError, "pretraining: expected at least 0, got -1"),
        ({"capacity": 15}, ValueError, "capacity: expected at least 16 beside the demonstrations, for a batch of 16"),
        ({"steps": 9}, ValueError, "expected at least 18 .* and 9 steps in each of 2 lanes, got 17"),
        ({"imitation": -1}, ValueError, "imitation: expected a number of at least 0, got -1"),
        ({"bonus": 1.0}, TypeError, "bonus: expected two numbers, of demonstrations and of own transitions, got 1"),
        ({"bonus": (1.0, -1.0)}, ValueError, r"bonus: expected a number of at least 0, got -1.0"),
        ({"replay": uniform(100)}, TypeError, "replay: expected a function"),
        ({"replay": lambda capacity, protected: None}, TypeError, r"replay: expected a stepax.rl.Replay"),
        ({"follow": 0.01}, TypeError, "follow: expected a function"),
        ({"demonstrations": []}, TypeError, "demonstrations: expected a dict of arrays, got list"),
    ],
)
def test_wrong_settings_are_named(settings, error, message):
    capacity = {"capacity": 17} if "steps" in settings else {}
    with pytest.raises(error, match=message):
        agent(**{**capacity, **settings})


def test_demonstrations_of_another_environment_are_named():
    action = shown()["action"].copy()
    action[3] = 2
    with pytest.raises(ValueError, match=r'\["action"\]: expected numbers from 0 to 1, got 2 in row 3'):
        agent(demonstrations={**shown(), "action": action})
    with pytest.raises(ValueError, match=r'\["observation"\]: expected the shape \[steps, 4\], got \[16, 3\]'):
        agent(demonstrations={**shown(), "observation": shown()["observation"][:, :3]})
    with pytest.raises(ValueError, match=r"model: expected values \[batch, 2\], one for each action, got the shape"):
        jax.eval_shape(agent(model=ActionValues(3)).init, KEY)
