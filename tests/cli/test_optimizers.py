import jax.numpy as jnp
import numpy as np
import optax
import pytest

from stepax.cli import options
from stepax.cli.optimizers import OPTIMIZERS, SCHEDULES, optimizer, schedule


def test_help_names_the_optimizers_and_schedules_there_are():
    assert options.OPTIMIZERS.split("|") == list(OPTIMIZERS)
    assert options.SCHEDULES.split("|") == list(SCHEDULES)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [0.4, 0.4, 0.4]),
        ("cosine", [0.4, 0.2, 0.0]),
        ("linear", [0.4, 0.2, 0.0]),
        ("exponential", [0.4, 0.04, 0.004]),
    ],
)
def test_a_schedule_starts_at_the_rate_and_falls(name, expected):
    rate = schedule(name, 0.4, 100, 0.0)
    np.testing.assert_allclose([rate(step) for step in (0, 50, 100)], expected, atol=1e-7)


def test_the_warm_up_rises_from_above_zero_to_the_rate_and_then_falls():
    rate = schedule("linear", 1.0, 10, 0.4)
    np.testing.assert_allclose([rate(step) for step in range(5)], [0.2, 0.4, 0.6, 0.8, 1.0], rtol=1e-6)
    assert rate(10) == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cosin", 0.1, 10, 0.0), "did you mean 'cosine'"),
        (("cosine", 0.0, 10, 0.0), "--learning-rate"),
        (("cosine", float("nan"), 10, 0.0), "--learning-rate"),
        (("cosine", 0.1, 10, 1.0), "--warmup"),
        (("cosine", 0.1, 10, -0.1), "--warmup"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        schedule(*arguments)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_downhill_and_shows_its_rate(name):
    choice = OPTIMIZERS[name]
    rule = optimizer(name, schedule("constant", choice.rate, 50, 0.0), choice.options)
    params = {"w": jnp.array([1.0, -2.0])}
    state = rule.init(params)
    for _ in range(50):
        updates, state = rule.update(params, state, params)  # the gradient of half the square
        params = optax.apply_updates(params, updates)
    assert float(jnp.abs(params["w"]).sum()) < 3
    assert state.hyperparams["learning_rate"] == pytest.approx(choice.rate)


def test_options_reach_the_optimizer():
    rate = schedule("constant", 0.1, 10, 0.0)
    params = jnp.ones(1)

    def second_step(name, options):
        rule = optimizer(name, rate, options)
        _, state = rule.update(jnp.ones(1), rule.init(params), params)
        return float(rule.update(jnp.ones(1), state, params)[0][0])

    assert second_step("momentum", {"momentum": 0.5}) == pytest.approx(-0.15)
    assert second_step("nesterov", {"momentum": 0.5}) == pytest.approx(-0.175)
    assert second_step("adamw", {"weight_decay": 1.0}) == pytest.approx(-0.2, rel=1e-4)
