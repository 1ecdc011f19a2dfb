"""Deep Q-learning with four parts, and with each of them left out: what is each worth?

    python examples/rl_parts.py               # 8 seeds of each
    python examples/rl_parts.py --seeds 32

The parts are double learning (one network chooses an action, the other says what it is worth), dueling (value and
advantages apart), several steps at once, and priorities. All agents have the same network but for dueling, observations
of variance 1, 120,000 steps of MountainCar or 100,000 of Acrobot in four lanes, an update on 64 transitions (128 in
Acrobot) every two steps, and an average of the parameters, which plays 100 greedy episodes.

Expected: in Acrobot the links swing up in some eighty steps, and no part matters more than the seed does. In
MountainCar every step costs 1 until the car is at the top, where chance hardly takes it: with several steps at once a
learner finds the way up in nearly every seed, and in some 105 steps; with one at a time it stays at −200 in nearly
every one, and a single such seed decides a mean of eight. Settings were chosen on other seeds (``--tune``), for all
parts together.

Reference:
    Hessel et al., Rainbow: combining improvements in deep reinforcement learning, AAAI 2018, arXiv:1710.02298.
    Raffin, RL baselines3 zoo, 2020: its published returns are those of one agent each, over many episodes.
"""

import pathlib
from typing import Any, NamedTuple

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
import tyro

import stepax as sx
from stepax import rl

LONG = True
ZOO = "RL baselines3 zoo"
LANES, LENGTH, UPDATES = 4, 4, 8  # a step of a learner
CAPACITY, WARMUP, DISCOUNT, EPISODES = 50_000, 1000, 0.99, 100
POINTS = 20  # of a curve
PARTS = ("double", "dueling", "steps", "priorities")
AGENTS: dict[str, tuple[str, ...]] = {
    "all": PARTS,
    **{f"no_{left}": tuple(part for part in PARTS if part != left) for left in PARTS},
    "none": (),
}
LABELS = {
    "all": "all four",
    "no_double": "without double learning",
    "no_dueling": "without dueling",
    "no_steps": "one step at a time",
    "no_priorities": "without priorities",
    "none": "none of them",
}


class Task(NamedTuple):
    """What is to be learnt.

    Attributes:
        title: Its name.
        environment: The environment.
        steps: Of the environment, over all lanes.
        ahead: Steps that are taken at once.
        batch_size: Transitions of an update.
        exploring: The part of all steps in which ε falls from 1.
        epsilon: What it falls to.
        follow: How the second network follows.
        asked: The mean return that all parts together must reach.
        published: By the zoo.
    """

    title: str
    environment: rl.Environment
    steps: int
    ahead: int
    batch_size: int
    exploring: float
    epsilon: float
    follow: Any
    asked: float
    published: str


TASKS = {
    "acrobot": Task("Acrobot-v1", rl.acrobot(), 100_000, 3, 128, 0.2, 0.04, rl.gradual(0.01), -85, "−76.6"),
    "car": Task("MountainCar-v0", rl.mountain_car(), 120_000, 10, 64, 0.33, 0.1, rl.periodic(500), -115, "−100.8"),
}
CLAIMS = [
    claim
    for name, task in TASKS.items()
    for claim in (
        {
            "what": f"DQN of four parts, {task.title}, {task.steps // 1000}k steps: return",
            "number": f"{name}_all",
            "published": task.published,
            "source": ZOO,
            "low": task.asked,
        },
        *(
            {"what": f"the same, {LABELS[agent]}", "number": f"{name}_{agent}"}
            for agent in AGENTS
            if agent != "all"
        ),
    )
]  # fmt: skip


def agent(task: Task, parts: tuple[str, ...], count: int) -> sx.Learner:
    """Deep Q-learning with some of the parts, for so many steps of the learner."""
    network = (rl.Dueling if "dueling" in parts else rl.ActionValues)(task.environment.action_space.n, (64, 64))
    kept = (rl.prioritised if "priorities" in parts else rl.uniform)(CAPACITY)
    replay = rl.n_step(kept, task.ahead, DISCOUNT, lanes=LANES) if "steps" in parts else kept
    rate = optax.linear_schedule(1e-3, 0.0, count * UPDATES)
    learner = rl.dqn(
        task.environment,
        rl.normalized(network),
        optax.chain(optax.clip_by_global_norm(10.0), optax.adam(rate)),
        replay=replay,
        bootstrap=rl.double if "double" in parts else rl.maximum,
        follow=task.follow,
        epsilon=optax.linear_schedule(1.0, task.epsilon, max(1, int(count * task.exploring))),
        lanes=LANES,
        length=LENGTH,
        updates=UPDATES,
        batch_size=task.batch_size,
        warmup=WARMUP // (LANES * LENGTH),
        discount=DISCOUNT,
        evaluation_episodes=EPISODES,
    )
    return sx.average(learner, 0.999)


def trained(
    task: Task, parts: tuple[str, ...], key: jax.Array, seeds: int, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns while learning, ``[points, seeds]``, and those of greedy episodes, a mean for each seed."""
    train_key, test_key = jax.random.split(key)
    count = max(1, round(share * task.steps) // (LANES * LENGTH))
    points = min(POINTS, count)
    many = sx.population(agent(task, parts, count), seeds)
    data = sx.generated(count // points)
    run = sx.fit(many, data, key=train_key, epochs=points, batch_size=None, progress=False)
    returns = jax.jit(lambda state: many.evaluate(state, None, test_key)["return"])(run.state)
    return np.stack(run.history["return"]), np.asarray(returns)


def draw(found: dict[str, dict[str, Any]], figure: pathlib.Path, share: float) -> None:
    """Mean returns while learning, and what every seed is worth in the end."""
    fig, axes = plt.subplots(len(found), 2, figsize=(10, 3.8 * len(found)), layout="constrained", squeeze=False)
    for (curves, ends), (name, made) in zip(axes, found.items(), strict=True):
        task = TASKS[name]
        for place, (parts, (curve, returns)) in enumerate(made.items()):
            steps = np.linspace(0, share * task.steps / 1000, len(curve) + 1)[1:]
            curves.plot(steps, curve.mean(1), color=f"C{place}", label=LABELS[parts])
            ends.plot(returns, np.full(len(returns), place), "o", color=f"C{place}", alpha=0.4)
            ends.plot(returns.mean(), place, "|", color="black", markersize=18)
        ends.set_yticks(range(len(made)), [LABELS[parts] for parts in made])
        ends.invert_yaxis()
        curves.set(title=f"{task.title}: while learning", xlabel="steps (thousands)", ylabel="mean return")
        ends.set(title=f"{task.title}: greedy, by seed", xlabel="return")
        curves.legend(fontsize=8)
    fig.savefig(figure, dpi=100)
    plt.close(fig)


def main(
    tasks: tuple[str, ...] = tuple(TASKS),
    agents: tuple[str, ...] = tuple(AGENTS),
    seeds: int = 8,
    share: float = 1.0,
    figure: pathlib.Path | None = None,
    tune: bool = False,
) -> dict[str, list[float]]:
    """Trains agents with all parts, without one of them, and without any.

    Args:
        tasks: Which environments.
        agents: Which of them.
        seeds: Of each, side by side.
        share: Of the steps.
        figure: Where to draw returns.
        tune: Draw other seeds, to choose settings by.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in tasks:
        # The same key for all: they begin alike.
        key = jax.random.fold_in(jax.random.key(1000 * tune), list(TASKS).index(name))
        found[name] = {}
        for parts in agents:
            found[name][parts] = trained(TASKS[name], AGENTS[parts], key, seeds, share)
            returns = found[name][parts][1]
            print(
                f"{name}, {LABELS[parts]}: {returns.mean():.1f}, {returns.min():.1f} to {returns.max():.1f}", flush=True
            )
    if figure is not None:
        draw(found, figure, share)
    return {f"{name}_{parts}": made[1].tolist() for name, all_ in found.items() for parts, made in all_.items()}


if __name__ == "__main__":
    print(tyro.cli(main))
