"""Tables of values on FrozenLake, CliffWalking and Taxi, beside the exact ones that value iteration finds.

    python examples/rl_tabular.py    # 32 seeds of each

Q-learning acts by chance alone and still learns what acting best is worth: its values go to the exact ones of every
pair of a place and an action that it visits. Where an action has one outcome, as along the cliff and in the taxi, the
learning rate is 1; on slippery ice it falls with the visits of a pair, and episodes begin at any place (exploring
starts: a lake of starts, with the same exact values), as chance alone hardly comes to the far shore.

An error is |q − q*| / |q*|, of pairs visited at least once in which q* is not 0; the worst of all pairs counts. On the
lake, where sums of random rewards are learnt, the mean over pairs is told, too, and noise falls with the root of the
steps: so it takes the longest, ten minutes on one core. A policy is optimal if in every place visited the action taken
to be best is one of the best.

Expected: along the cliff and in the taxi no error but rounding; below 1 % on the lake; every greedy policy optimal,
−13 along the cliff. Sarsa and expected Sarsa learn what their own actions are worth, a tenth of them random, and keep
away from the edge. Settings were chosen on other seeds (``--tune``).

Reference:
    Watkins, Learning from delayed rewards, 1989.
    Sutton and Barto, Reinforcement learning: an introduction, 2018, example 6.6.
"""

import pathlib
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import tyro

import stepax as sx
from stepax import rl
from stepax.rl.action_table import ByVisits
from stepax.rl.tabular import expected_sarsa, q_learning, sarsa
from stepax.rl.value_iteration import Solution, value_iteration

LONG = True
LENGTH = 1000  # steps of every lane in a step of a learner
EXPLORING = tuple(row.replace("F", "S") for row in rl.LAKE_4X4)
EXACT = "exact, by value iteration"
CLAIMS = [
    {"what": "FrozenLake 4×4, slippery, Q-learning: mean error of values", "number": "lake_mean_error", "high": 0.01},
    {"what": "the same, of the worst pair", "number": "lake_error", "high": 0.01},
    {"what": "the same, seeds with an optimal policy", "number": "lake_optimal", "low": 1},
    {"what": "CliffWalking, Q-learning: error of the worst pair", "number": "cliff_error", "high": 0.01},
    {"what": "the same, return", "number": "cliff_return", "published": "−13", "source": EXACT, "low": -13},
    {"what": "the same, seeds with an optimal policy", "number": "cliff_optimal", "low": 1},
    {"what": "the same, Sarsa with ε = 0.1: return", "number": "sarsa_return"},
    {"what": "the same, expected Sarsa with ε = 0.1", "number": "expected_return"},
    {"what": "Taxi, Q-learning: error of the worst pair", "number": "taxi_error", "high": 0.01},
    {"what": "the same, seeds with an optimal policy", "number": "taxi_optimal", "low": 1},
]


def trained(learner: sx.Learner, key: jax.Array, seeds: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values and visits, ``[seeds, states, actions]``, and returns of greedy episodes, ``[seeds]``."""
    fit_key, test_key = jax.random.split(key)
    many = sx.population(learner, seeds)
    run = sx.fit(many, sx.generated(steps), key=fit_key, epochs=1, batch_size=None, progress=False)
    returns = sx.compile.jit(lambda state, key: many.evaluate(state, None, key)["return"])(run.state, test_key)
    return np.asarray(run.state.params["values"], float), np.asarray(run.state.extra["visits"]), np.asarray(returns)


def errors(values: np.ndarray, visits: np.ndarray, exact: Solution) -> np.ndarray:
    """Of every pair, nan where it was not visited or is worth nothing."""
    size = np.abs(exact.action_values)
    counted = (visits > 0) & (size > 1e-6)
    return np.where(counted, np.abs(values - exact.action_values) / np.where(size > 1e-6, size, 1), np.nan)


def is_optimal(values: np.ndarray, visits: np.ndarray, exact: Solution) -> np.ndarray:
    """Whether every greedy action is one of the best, ``[seeds]``."""
    taken = np.take_along_axis(np.broadcast_to(exact.action_values, values.shape), values.argmax(-1)[..., None], -1)
    return ((exact.values - taken[..., 0] < 1e-6) | ~visits.any(-1)).all(-1)


def judged(name: str, found: Any, exact: Solution) -> dict[str, list[float]]:
    """Numbers with one for each seed."""
    values, visits, returns = found
    wrong = errors(values, visits, exact)
    return {
        f"{name}_error": np.nanmax(wrong, (1, 2)).tolist(),
        f"{name}_mean_error": np.nanmean(wrong, (1, 2)).tolist(),
        f"{name}_optimal": is_optimal(values, visits, exact).astype(float).tolist(),
        f"{name}_return": returns.tolist(),
    }


def draw(found: Any, exact: Solution, figure: pathlib.Path) -> None:
    """Learnt values against exact ones on the lake."""
    values, visits, _ = found
    met = visits > 0
    fig, ax = plt.subplots(figsize=(5, 4.5), layout="constrained")
    ax.plot(np.broadcast_to(exact.action_values, values.shape)[met], values[met], ".", alpha=0.3, markersize=4)
    ax.axline((0, 0), slope=1, color="gray", linewidth=0.8)
    ax.set(xlabel="exact value", ylabel="learnt value", title=f"FrozenLake, slippery: {len(values)} seeds")
    fig.savefig(figure, dpi=100)
    plt.close(fig)


def main(
    seeds: int = 32,
    lake_steps: int = 1000,
    cliff_steps: int = 20,
    taxi_steps: int = 60,
    length: int = LENGTH,
    figure: pathlib.Path | None = None,
    tune: bool = False,
) -> dict[str, list[float]]:
    """Trains every table on every seed, and returns errors, policies that are optimal, and returns.

    Args:
        seeds: Runs of each, side by side.
        lake_steps: Steps of the learner on the lake; each is ``length`` steps in all lanes.
        cliff_steps: Along the cliff.
        taxi_steps: In the taxi.
        length: Steps of every environment in a step of a learner.
        figure: Where to draw learnt values against exact ones.
        tune: Draw other seeds, to choose settings by.
    """
    keys = jax.random.split(jax.random.key(1000 * tune), 5)
    lake, cliff, taxi = rl.frozen_lake(EXPLORING), rl.cliff_walking(), rl.taxi()
    random = {"epsilon": 1.0, "length": length}
    learners = {
        "lake": (q_learning(lake, rate=ByVisits(30.0), lanes=64, **random), lake_steps),
        "cliff": (q_learning(cliff, rate=1.0, discount=1.0, lanes=16, **{**random, "epsilon": 0.5}), cliff_steps),
        "taxi": (q_learning(taxi, rate=1.0, lanes=16, **random), taxi_steps),
        "sarsa": (sarsa(cliff, rate=0.05, epsilon=0.1, discount=1.0, lanes=16, length=length), cliff_steps),
        "expected": (
            expected_sarsa(cliff, rate=1.0, epsilon=0.1, discount=1.0, lanes=16, length=length),
            cliff_steps,
        ),
    }
    along = value_iteration(rl.cliff_walking_table(), discount=1.0)
    exact = {"lake": value_iteration(rl.frozen_lake_table()), "taxi": value_iteration(rl.taxi_table())}
    numbers: dict[str, list[float]] = {}
    for key, (name, (learner, steps)) in zip(keys, learners.items(), strict=True):
        found = trained(learner, key, seeds, steps)
        told = judged(name, found, exact.get(name, along))
        print(name, {number: round(float(np.mean(value)), 5) for number, value in told.items()}, flush=True)
        numbers |= told
        if name == "lake" and figure is not None:
            draw(found, exact["lake"], figure)
    return numbers


if __name__ == "__main__":
    print(tyro.cli(main))
