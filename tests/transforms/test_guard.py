"""Steps that are not finite: taken back, counted, named; and how a training ends that makes no others."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.transforms.learners import batch_of, close, cnn, mlp, start

import stepax as sx
from stepax.transforms.accumulate import accumulate
from stepax.transforms.average import average
from stepax.transforms.guard import NotFinite, check_guard, guard

BAD = {"nan": np.nan, "inf": np.inf, "huge": 3e38}


def counts(state):
    return {name: int(value) for name, value in state.extra["guard"].items()}


def test_good_steps_are_those_of_the_learner(x64):
    data = batch_of(6, (6, 6, 1))
    guarded = guard(cnn())
    state = start(guarded, data)
    ours, measured = jax.jit(guarded.step)(state, data)
    theirs, expected = jax.jit(cnn().step)(state._replace(extra={}), data)
    close(ours._replace(extra={}), theirs, 1e-12)
    close(measured, expected, 1e-12)
    assert counts(ours) == {"skipped": 0, "row": 0, "at": -1, "leaf": -1, "limit": 10}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("make", [cnn, mlp], ids=["adam, batch normalisation", "sgd"])
def test_a_bad_step_is_taken_back_and_counted(make, bad):
    data = batch_of(6, (6, 6, 1))
    learner = guard(make())
    step = jax.jit(learner.step)
    state, _ = step(start(learner, data), data)
    wrong = {**data, "x": np.full_like(data["x"], bad)}
    after, metrics = step(state, wrong)
    close(after._replace(extra={}), state._replace(extra={}, step=state.step + 1), 0)
    assert after.step == 2
    assert metrics["weight"] == 0
    assert counts(after) | {"leaf": 0} == {"skipped": 1, "row": 1, "at": 1, "leaf": 0, "limit": 10}
    # A good one ends the row, and goes on from what was kept.
    again, metrics = step(after, data)
    assert counts(again)["row"] == 0
    assert counts(again)["skipped"] == 1
    assert metrics["weight"] == 6


def test_a_gradient_that_is_not_finite_is_seen_where_the_loss_is():
    def loss(output, batch):
        # The slope of √ at 0 is infinite.
        return jnp.sqrt(jnp.abs(output[:, 0] * 0))

    learner = guard(sx.supervised(sx.nn.MLP((3,)), loss, optax.sgd(0.1)))
    data = batch_of(4)
    state, _ = jax.jit(learner.step)(start(learner, data), data)
    assert counts(state)["skipped"] == 1
    with pytest.raises(NotFinite, match="params/head/bias"):
        check_guard(state._replace(extra={"guard": {**state.extra["guard"], "row": jnp.int32(10)}}))


def counting(learner):
    """Keeps a count of its steps beside the model."""

    def init(key, batch):
        return learner.init(key, batch)._replace(extra={"count": jnp.int32(0)})

    def step(state, batch, gradient=sx.gradient):
        after, metrics = learner.step(state._replace(extra={}), batch, gradient)
        return after._replace(extra={"count": state.extra["count"] + 1}), metrics

    return learner._replace(init=init, step=step)


def test_what_is_beside_the_model_goes_on():
    learner, data = guard(counting(mlp())), batch_of(4)
    state = start(learner, data)
    after, _ = learner.step(state, {**data, "x": data["x"] * np.nan})
    assert after.extra["count"] == 1
    assert after.extra["guard"]["skipped"] == 1


def test_an_average_inside_stays_as_it_is():
    learner, data = guard(average(mlp(), 0.5)), batch_of(4)
    state, _ = learner.step(start(learner, data), data)
    after, _ = learner.step(state, {**data, "x": data["x"] * np.nan})
    close(after.extra["average"], state.extra["average"], 0)


def test_the_limit_ends_a_training():
    learner = guard(mlp(), limit=3)
    data = batch_of(4)
    state = start(learner, data)
    wrong = {**data, "x": data["x"] * np.nan}
    for i in range(3):
        check_guard(state)
        state, _ = learner.step(state, wrong)
        assert counts(state)["row"] == i + 1
    with pytest.raises(
        NotFinite, match="3 steps in a row were not finite, the last at step 2, first of all in loss"
    ) as e:
        check_guard(state)
    assert (e.value.step, e.value.row, e.value.leaf) == (2, 3, "loss")


def test_a_state_without_guard_passes():
    check_guard(start(mlp(), batch_of(2)))


def test_fit_ends_with_the_reason():
    learner = guard(sx.supervised(sx.nn.MLP((16, 1)), sx.losses.mean_squared_error, optax.sgd(1e30)), limit=4)
    x = np.linspace(-1, 1, 32, dtype=np.float32)[:, None]
    with pytest.raises(NotFinite, match="steps in a row were not finite"):
        sx.fit(learner, {"x": x, "y": x}, key=jax.random.key(0), epochs=20, batch_size=8, progress=False)


def test_fit_leaves_bad_batches_out_of_the_means():
    data = batch_of(8)
    data["x"][3] = 3e38  # finite, as data have to be, but no product of it is
    run = sx.fit(guard(mlp()), data, key=jax.random.key(0), epochs=3, batch_size=2, progress=False)
    assert np.isfinite(run.history["loss"]).all()
    assert counts(run.state)["skipped"] == 3


def test_its_cost_does_not_grow_with_what_is_beside():
    def bytes_accessed(size):
        learner = mlp()
        own = learner._replace(
            init=lambda key, batch: learner.init(key, batch)._replace(extra={"replay": jnp.zeros(size)})
        )
        guarded, data = guard(own), batch_of(4)
        state = start(guarded, data)
        compiled = jax.jit(guarded.step, donate_argnums=0).lower(state, data).compile()
        return compiled.cost_analysis()["bytes accessed"]

    assert bytes_accessed(10**6) - bytes_accessed(10) < 4 * 10**6


def test_twice_is_refused():
    with pytest.raises(ValueError, match=r"guard: .* transformed twice\?"):
        guard(guard(mlp())).init(jax.random.key(0), batch_of(2))


def test_bad_limits_are_refused():
    with pytest.raises(ValueError, match="limit: expected at least 1, got 0"):
        guard(mlp(), 0)


def test_a_gradient_that_the_optimizer_hides_is_seen():
    def loss(output, batch):
        return jnp.sqrt(jnp.abs(output[:, 0] * 0))

    for transform in (lambda learner: learner, lambda learner: accumulate(learner, 2)):
        # Clipped and turned into a sign, an infinite slope gives a finite step.
        learner = guard(transform(sx.supervised(sx.nn.MLP((3,)), loss, optax.sign_sgd(0.1))))
        data = batch_of(4)
        state, metrics = jax.jit(learner.step)(start(learner, data), data)
        assert counts(state)["skipped"] == 1
        assert metrics["weight"] == 0
        assert not any("gradient" in name for name in metrics)


@pytest.mark.parametrize("chunk", [1, 3, 5, 8])
def test_once_over_the_limit_nothing_counts_whenever_one_looks(chunk):
    def loss(output, batch):
        return sx.losses.cross_entropy(output, batch) * jnp.where(batch["x"][:, 0] == 99, jnp.nan, 1)

    learner, good = guard(sx.supervised(sx.nn.MLP((3,)), loss, optax.sgd(0.1)), 3), batch_of(12)
    bad = {**good, "x": good["x"].copy()}
    bad["x"][6:9] = 99  # steps 6, 7 and 8 of the batches of one are bad, and those after are not
    source = sx.in_order(bad, 1)

    def trained():
        for state, _ in sx.epochs(learner, source, start(learner, good), chunk=chunk):
            check_guard(state)
            assert state.step < 12

    with pytest.raises(NotFinite) as raised:
        trained()
    assert (raised.value.step, raised.value.row) == (8, 3)
    expected = start(learner, good)
    for i in range(6):
        expected, _ = jax.jit(learner.step)(expected, source.take(source.order(0), i))
    close(raised.value.state.params, expected.params, 1e-6)
