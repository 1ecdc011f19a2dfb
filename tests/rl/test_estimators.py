"""Estimators against numbers by hand, slow loops, and each other."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepax.rl.estimators import check_number, gae, lambda_returns, n_step_returns, returns, vtrace

DISCOUNT, TRACE = 0.9, 0.7


def trajectory(time=23, lanes=(5,), seed=0):
    """Several episodes a lane, some that end both ways, and values that go on within an episode."""
    random = np.random.default_rng(seed)
    numbers = {name: random.normal(size=(time, *lanes)) for name in ("rewards", "values", "next_values")}
    ends = {name: random.random((time, *lanes)) < 0.15 for name in ("terminated", "truncated")}
    cut = ends["terminated"] | ends["truncated"]
    numbers["next_values"][:-1] = np.where(cut, numbers["next_values"], np.roll(numbers["values"], -1, 0))[:-1]
    return {**{name: array.astype(np.float32) for name, array in numbers.items()}, **ends}


def without_values(made):
    return {name: array for name, array in made.items() if name != "values"}


def sum_to_come(made, t, lane, steps):
    """Rewards one by one, and the value after the last of them."""
    total, factor = 0.0, 1.0
    for i in range(t, len(made["rewards"])):
        total += factor * made["rewards"][i, lane]
        factor *= DISCOUNT
        if made["terminated"][i, lane]:
            return total
        if made["truncated"][i, lane] or i - t + 1 == steps:
            break
    return total + factor * made["next_values"][i, lane]


def slow(made, rule):
    return np.array([[rule(made, t, lane) for lane in range(5)] for t in range(len(made["rewards"]))])


def mean_of_sums(made, t, lane):
    """The definition: sums of every length, until one reaches the end, which has all the weight that is left."""
    total, left = 0.0, 1.0
    for i in range(t, len(made["rewards"])):
        ended = made["terminated"][i, lane] or made["truncated"][i, lane] or i == len(made["rewards"]) - 1
        weight = left if ended else left * (1 - TRACE)
        total += weight * sum_to_come(made, t, lane, i - t + 1)
        left -= weight
        if ended:
            break
    return total


def sum_of_errors(made, t, lane):
    total, factor = 0.0, 1.0
    for i in range(t, len(made["rewards"])):
        ahead = 0.0 if made["terminated"][i, lane] else made["next_values"][i, lane]
        total += factor * (made["rewards"][i, lane] + DISCOUNT * ahead - made["values"][i, lane])
        factor *= DISCOUNT * TRACE
        if made["terminated"][i, lane] or made["truncated"][i, lane]:
            break
    return total


def corrected_value(made, t, lane, ratios, rho_clip, c_clip):
    """Formula (1) of the paper: the errors to come, each times the product of the c before it."""
    total, factor = made["values"][t, lane], 1.0
    for i in range(t, len(made["rewards"])):
        ahead = 0.0 if made["terminated"][i, lane] else made["next_values"][i, lane]
        error = made["rewards"][i, lane] + DISCOUNT * ahead - made["values"][i, lane]
        total += factor * min(rho_clip, ratios[i, lane]) * error
        factor *= DISCOUNT * TRACE * min(c_clip, ratios[i, lane])
        if made["terminated"][i, lane] or made["truncated"][i, lane]:
            break
    return total


def corrected_advantage(made, t, lane, ratios, rho_clip, c_clip):
    if made["terminated"][t, lane]:
        ahead = 0.0
    elif made["truncated"][t, lane] or t == len(made["rewards"]) - 1:
        ahead = made["next_values"][t, lane]
    else:
        ahead = corrected_value(made, t + 1, lane, ratios, rho_clip, c_clip)
    error = made["rewards"][t, lane] + DISCOUNT * ahead - made["values"][t, lane]
    return min(rho_clip, ratios[t, lane]) * error


@jax.jit
def everything(made, ratios):
    """All in one program."""
    plain = without_values(made)
    lambdas = partial(lambda_returns, **plain, discount=DISCOUNT)
    sums = {steps: n_step_returns(**plain, steps=steps, discount=DISCOUNT) for steps in (1, 2, 4, 23, 40)}
    on_policy = jnp.ones_like(ratios)
    return {
        "returns": returns(**plain, discount=DISCOUNT),
        **{f"{steps} steps": sums[steps] for steps in sums},
        "lambda": lambdas(trace=TRACE),
        "lambda 0": lambdas(trace=0.0),
        "lambda 1": lambdas(trace=1.0),
        "gae": gae(**made, discount=DISCOUNT, trace=TRACE),
        "gae 1": gae(**made, discount=DISCOUNT, trace=1.0),
        "vtrace": vtrace(**made, ratios=ratios, discount=DISCOUNT, trace=TRACE, rho_clip=1.2, c_clip=0.8),
        "on policy": vtrace(**made, ratios=on_policy, discount=DISCOUNT, trace=TRACE),
        "unclipped": vtrace(**made, ratios=ratios, discount=DISCOUNT, rho_clip=np.inf, c_clip=np.inf),
    }


@pytest.fixture(scope="module")
def made():
    return trajectory()


@pytest.fixture(scope="module")
def ratios():
    return np.random.default_rng(1).lognormal(size=(23, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def found(made, ratios):
    return jax.device_get(everything(made, ratios))


close = partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-6)


def test_by_hand() -> None:
    """Two episodes: one terminates, one is truncated; then a beginning that the trajectory cuts."""
    ends = np.array([[0, 0], [1, 0], [0, 0], [0, 1], [0, 0]], bool)
    given = {
        "rewards": np.float32([1, 2, 3, 4, 5]),
        "next_values": np.float32([10, 20, 30, 40, 50]),
        "terminated": ends[:, 0],
        "truncated": ends[:, 1],
    }
    values = np.float32([1, 10, 2, 30, 3])
    close(jax.jit(returns)(**given, discount=0.5), [2, 2, 3 + 2 + 10, 4 + 20, 5 + 25])
    close(jax.jit(partial(n_step_returns, steps=1))(**given, discount=0.5), [6, 2, 18, 24, 30])
    half = jax.jit(lambda_returns)(**given, discount=0.5, trace=0.5)
    close(half, [1 + 0.5 * (5 + 1), 2, 3 + 0.5 * (15 + 12), 24, 30])
    errors = [6 - 1, 2 - 10, 18 - 2, 24 - 30, 30 - 3]
    advantages = [errors[0] + 0.25 * errors[1], errors[1], errors[2] + 0.25 * errors[3], errors[3], errors[4]]
    close(jax.jit(gae)(**given, values=values, discount=0.5, trace=0.5), advantages)
    # The first step's ratio is clipped from 3 to 1, the third's is 0.5.
    corrected = jax.jit(vtrace)(**given, values=values, ratios=np.float32([3, 1, 0.5, 1, 1]), discount=0.5)
    targets = [1 + 5 + 0.5 * -8, 10 - 8, 2 + 0.5 * 16 + 0.25 * -6, 30 - 6, 3 + 27]
    close(corrected.values, targets)
    close(corrected.advantages, [1 + 0.5 * 2 - 1, -8, 0.5 * (3 + 0.5 * 24 - 2), -6, 27])


def test_sums_are_those_of_slow_loops(made, found) -> None:
    close(found["returns"], slow(made, lambda *place: sum_to_come(*place, steps=None)))
    for steps in (1, 2, 4):
        close(found[f"{steps} steps"], slow(made, lambda *place, steps=steps: sum_to_come(*place, steps=steps)))
    close(found["lambda"], slow(made, mean_of_sums))
    close(found["gae"], slow(made, sum_of_errors))


def test_vtrace_is_the_papers_sum(made, ratios, found) -> None:
    clips = {"ratios": ratios, "rho_clip": 1.2, "c_clip": 0.8}
    close(found["vtrace"].values, slow(made, partial(corrected_value, **clips)))
    close(found["vtrace"].advantages, slow(made, partial(corrected_advantage, **clips)))


def test_estimators_agree_where_they_are_the_same(made, found) -> None:
    close(found["lambda 0"], found["1 steps"])
    close(found["lambda 1"], found["returns"])
    for steps in (23, 40):
        close(found[f"{steps} steps"], found["returns"])
    close(found["gae"] + made["values"], found["lambda"])
    close(found["gae 1"] + made["values"], found["returns"])
    close(found["on policy"].values, found["lambda"])


def test_unclipped_ratios_weigh_sums_by_importance() -> None:
    """The mean over the actions of μ, each times its ratio, is the value under π: exactly, for two steps."""
    policy, behaviour = np.float32([0.8, 0.2]), np.float32([0.3, 0.7])
    rewards = np.float32([[1, 5], [2, 3]])  # by step and action
    first, second = (np.repeat([0, 1], 2), np.tile([0, 1], 2))
    given = {
        "rewards": np.stack([rewards[0][first], rewards[1][second]]),
        "values": np.float32([[0.5] * 4, [-1] * 4]),
        "next_values": np.float32([[-1] * 4, [9] * 4]),
        "terminated": np.array([[False] * 4, [True] * 4]),
        "truncated": np.zeros((2, 4), bool),
        "ratios": np.stack([(policy / behaviour)[first], (policy / behaviour)[second]]),
    }
    found = vtrace(**given, discount=0.5, rho_clip=np.inf, c_clip=np.inf)
    exact = policy @ rewards[0] + 0.5 * policy @ rewards[1]
    close((behaviour[first] * behaviour[second]) @ np.asarray(found.values[0]), exact)


def test_lanes_and_programs_change_nothing(made, ratios, found) -> None:
    lane = {name: array[:, 2] for name, array in made.items()}
    alone = everything(lane, ratios[:, 2])
    mapped = jax.vmap(everything, 1, 1)(made, ratios)
    with jax.disable_jit():  # no program at all
        eager = gae(**lane, discount=DISCOUNT, trace=TRACE)
    jax.tree.map(lambda one, whole: close(one, whole[:, 2]), alone, found)
    jax.tree.map(close, mapped, found)
    close(eager, found["gae"][:, 2])


def test_rates_may_be_traced(made, found) -> None:
    rates = jnp.array([0.5, DISCOUNT]), jnp.array([0.1, TRACE])
    swept = jax.jit(jax.vmap(lambda discount, trace: gae(**made, discount=discount, trace=trace)))(*rates)
    close(swept[1], found["gae"])


def test_an_episode_that_is_not_finite_leaves_the_others_alone(made) -> None:
    made = {name: array.copy() for name, array in made.items()}
    made["terminated"][10], made["next_values"][10] = True, np.nan  # the value after an end is nobody's
    made["rewards"][15] = np.nan
    made["terminated"][15:] = False
    made["truncated"][15:] = False
    found = everything(made, np.ones((23, 5), np.float32))
    for leaf in jax.tree.leaves(found):
        assert np.isfinite(leaf[:11]).all()
        assert not np.isfinite(leaf[15]).any()


def test_whole_numbers_and_half_precision_are_summed_in_float32(made) -> None:
    plain = {**without_values(made), "rewards": np.ones((23, 5), np.int8)}
    half = {**plain, "next_values": made["next_values"].astype(jnp.bfloat16)}
    shapes = [jax.eval_shape(partial(returns, discount=np.float64(0.9)), **given) for given in (plain, half)]
    assert [shape.dtype for shape in shapes] == [np.float32, np.float32]


@pytest.mark.usefixtures("x64")
def test_float64_stays(made) -> None:
    wide = {name: array if array.dtype == bool else array.astype(np.float64) for name, array in made.items()}
    found = gae(**wide, discount=DISCOUNT, trace=TRACE)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, slow(wide, sum_of_errors), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"next_values": np.zeros((4, 1))}, r"next_values: expected the shape of rewards, .* got \(4, 1\) .* \(4,\)"),
        ({"terminated": np.zeros(3, bool)}, r"terminated: expected the shape of rewards"),
        ({"rewards": np.float32(1)}, r"rewards: expected the shape .* got \(\)"),
        ({"terminated": np.zeros(4)}, "terminated: expected booleans, .* got float32"),
        ({"truncated": np.zeros(4, int)}, "truncated: expected booleans, .* got int32"),
        ({"values": np.zeros(4, bool)}, "values: expected numbers, got bool"),
        ({"discount": 1.1}, "discount: expected a number from 0 to 1, got 1.1"),
        ({"discount": np.nan}, "discount: expected a number from 0 to 1, got nan"),
        ({"discount": np.ones(4)}, r"discount: expected one number, got an array of shape \(4,\)"),
        ({"trace": -0.1}, "trace: expected a number from 0 to 1, got -0.1"),
        ({"trace": None}, "trace: expected a number, got NoneType None"),
        ({"trace": True}, "trace: expected a number, got bool True"),
    ],
)
def test_bad_arguments_are_named(change, message) -> None:
    given = {name: np.zeros(4, np.float32) for name in ("rewards", "values", "next_values")}
    ends = {name: np.zeros(4, bool) for name in ("terminated", "truncated")}
    with pytest.raises((TypeError, ValueError), match=message):
        gae(**{**given, **ends, "discount": 0.9, "trace": 0.9, **change})


def test_a_trajectory_has_steps_and_sums_have_a_length() -> None:
    empty, never = np.zeros((0, 2), np.float32), np.zeros((0, 2), bool)
    with pytest.raises(ValueError, match=r"rewards: .* of at least one step, got \(0, 2\)"):
        returns(empty, empty, never, never, discount=0.9)
    one, no = np.zeros(1, np.float32), np.zeros(1, bool)
    with pytest.raises(ValueError, match="steps: expected at least 1, got 0"):
        n_step_returns(one, one, no, no, steps=0, discount=0.9)
    for name in ("rho_clip", "c_clip"):
        with pytest.raises(ValueError, match=f"{name}: expected a number of at least 0, got -1"):
            vtrace(one, one, one, no, no, one, discount=0.9, **{name: -1.0})


def test_a_traced_number_has_its_shape_at_least() -> None:
    jax.eval_shape(lambda value: check_number("share", value, most=1), 7.0)
    with pytest.raises(ValueError, match=r"share: expected one number, got an array of shape \(2,\)"):
        jax.eval_shape(lambda value: check_number("share", value), np.zeros(2))
