"""The average of parameters, against its formula; that it is used, and that training does not see it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.transforms.learners import batch_of, close, cnn, mlp, start

import stepax as sx
from stepax.transforms.average import average, averaged


def trained(learner, data, steps):
    """All states of a training, the first one included."""
    states = [start(learner, data)]
    for _ in range(steps):
        states.append(jax.jit(learner.step)(states[-1], data)[0])
    return states


def test_is_the_formula(x64):
    data, decay = batch_of(6), 0.7
    states = trained(average(mlp(), decay), data, 4)
    weights = np.array([decay**3, decay**2, decay, 1])
    for i in (1, 4):
        parts = [state.params for state in states[1 : i + 1]]
        w = weights[-i:]
        expected = jax.tree.map(
            lambda *leaves, w=w: sum(a * b for a, b in zip(w, leaves, strict=True)) / w.sum(), *parts
        )
        close(averaged(states[i]), expected, 1e-12)


def test_is_optax_with_its_debiasing(x64):
    data, decay = batch_of(6), 0.9
    states = trained(average(mlp(), decay), data, 5)
    ema = optax.ema(decay, debias=True)
    own = ema.init(states[0].params)
    for state in states[1:]:
        expected, own = ema.update(state.params, own)
    close(averaged(states[-1]), expected, 1e-12)


def test_before_the_first_step_it_is_the_parameters():
    data = batch_of(6)
    (state,) = trained(average(mlp()), data, 0)
    close(averaged(state), state.params, 0)


def test_training_does_not_see_it_and_measures_do(x64):
    data = batch_of(6, (6, 6, 1))
    with_average, plain = average(cnn(), 0.9), cnn()
    ours, theirs = trained(with_average, data, 3)[-1], trained(plain, data, 3)[-1]
    close(ours._replace(extra={}), theirs, 1e-12)
    inner = theirs._replace(params=averaged(ours))
    close(with_average.evaluate(ours, data, ours.key), plain.evaluate(inner, data, ours.key), 1e-12)
    close(with_average.predict(ours, data["x"]), plain.predict(inner, data["x"]), 1e-12)
    assert (
        abs(plain.evaluate(theirs, data, ours.key)["loss"] - with_average.evaluate(ours, data, ours.key)["loss"]) > 1e-6
    )


def test_without_decay_it_is_the_last(x64):
    data = batch_of(6)
    state = trained(average(mlp(), 0.0), data, 2)[-1]
    close(averaged(state), state.params, 1e-12)


def test_whole_numbers_among_the_parameters_stay():
    def init(key, batch):
        return sx.new_state(key, {"w": jnp.ones(2), "n": jnp.arange(3)}, {}, ())

    learner = average(mlp()._replace(init=init, step=lambda state, batch, gradient: (state, {"loss": 0.0})))
    state = learner.init(jax.random.key(0), None)
    moved, _ = learner.step(state, None)
    assert jax.eval_shape(lambda s: s, moved) == jax.eval_shape(lambda s: s, state)
    assert averaged(moved)["n"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("decay", [1, -0.1, float("nan")])
def test_bad_decays_are_refused(decay):
    with pytest.raises(ValueError, match="decay: expected a number in"):
        average(mlp(), decay)


def test_twice_is_refused():
    with pytest.raises(ValueError, match=r"average: .* transformed twice\?"):
        average(average(mlp())).init(jax.random.key(0), batch_of(2))


def test_of_another_learner_is_refused():
    data = batch_of(2)
    with pytest.raises(ValueError, match="average: the state has only"):
        average(mlp()).step(start(mlp(), data), data)


def test_half_precision_is_averaged_exactly():
    def init(key, batch):
        return sx.new_state(key, {"w": jnp.ones(2, jnp.bfloat16)}, {}, ())

    def step(state, batch, gradient=sx.gradient):
        return state._replace(step=state.step + 1), {"loss": jnp.zeros(())}

    learner = average(sx.Learner(init, step, None, lambda state, x: state.params["w"]), 0.999)
    state = learner.init(jax.random.key(0), None)
    state = jax.lax.fori_loop(0, 2000, lambda i, state: learner.step(state, None)[0], state)
    output = learner.predict(state, None)
    assert output.dtype == jnp.bfloat16
    np.testing.assert_array_equal(output, np.ones(2))
