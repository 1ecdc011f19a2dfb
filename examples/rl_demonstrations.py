"""Deep Q-learning from demonstrations, beside deep Q-learning without, where chance alone finds nothing.

    python examples/rl_demonstrations.py    # 16 seeds of each

In MountainCar the car must first go back to gather speed; until it has come to the top for the first time, all steps
are alike. A rule of one line drives ten episodes: push the way that the car moves. In a sea of depth 30 a diver who
chooses by chance finds the treasure once in 2³⁰ dives; one dive is shown.

All agents have the same network, and the same number of steps of the environment, counted over all lanes, with as many
updates for each. The one with demonstrations learns from them alone at first, which takes no step of the environment
but is that much more learning. The others explore by chance, which falls in the first third from 1 to 0.05: plain DQN
draws evenly from its replay and looks one step ahead; the other one has priorities and errors over ten steps, as the
one with demonstrations has them. Each evaluation is of greedy episodes apart. Settings were chosen on other seeds
(``--tune``), for the agent with demonstrations.

Expected: with demonstrations at least −120 in MountainCar, better than the rule, and the treasure in every seed. Plain
DQN stays at −200, or near. With priorities and ten steps the top is found without being shown, but later and less
surely; the treasure, for which only this one is tried, it does not find.

Reference:
    Hester et al., Deep Q-learning from demonstrations, AAAI 2018, arXiv:1704.03732.
    Osband et al., Behaviour suite for reinforcement learning, 2019, arXiv:1908.03568.
"""

import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import tyro
from flax import linen

import stepax as sx
from stepax import rl

LONG = True
CLAIMS = [
    {"what": "MountainCar, the ten demonstrations themselves: return", "number": "car_shown"},
    {"what": "MountainCar, 50k steps, DQfD: return", "number": "car_dqfd", "low": -120},
    {"what": "the same without demonstrations, plain DQN", "number": "car_dqn", "high": -190},
    {"what": "the same without demonstrations, DQN with priorities and ten steps", "number": "car_parts"},
    {"what": "deep sea of depth 30, DQfD: seeds that find the treasure", "number": "sea_dqfd", "low": 1},
    {
        "what": "the same without the demonstration, DQN with priorities and ten steps",
        "number": "sea_parts",
        "high": 0,
    },
]
LANES, LENGTH = 4, 4  # a step of a learner is so many steps of the environment
CAR = {"updates": 8, "batch_size": 64, "follow": rl.periodic(500), "discount": 0.99}
SEA = {"updates": 4, "batch_size": 32, "follow": rl.periodic(100), "discount": 1.0}
LABELS = {"dqfd": "with demonstrations", "parts": "without, priorities and ten steps", "dqn": "without, plain"}


class Scaled(linen.Module):
    """A network that sees position and speed of the car from −1 to 1."""

    network: linen.Module

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return self.network((x - jnp.array([[-0.3, 0.0]])) / jnp.array([[0.9, 0.07]]))


def pumping(observation: jax.Array, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
    """Pushes the way that the car moves, and to the right from rest."""
    return jnp.where(observation[:, 1] < 0, 0, 2), {}


def diving(right: jax.Array) -> Any:
    """Always to the right."""
    return lambda observation, key: (right.reshape(-1)[observation.reshape(len(observation), -1).argmax(1)], {})


class Task(NamedTuple):
    """What is to be learnt.

    Attributes:
        environment: The environment.
        network: From observations to action values.
        shown: The demonstrations.
        most: Steps of an episode.
        played: Episodes of an evaluation.
        capacity: Own transitions that are kept.
        settings: What all agents have in common.
        alone: Which agents learn it without demonstrations.
    """

    environment: rl.Environment
    network: linen.Module
    shown: dict[str, np.ndarray]
    most: int
    played: int
    capacity: int
    settings: dict[str, Any]
    alone: tuple[str, ...]


def car_task(key: jax.Array) -> Task:
    """MountainCar, and ten episodes by the rule."""
    car = rl.mountain_car()
    shown = rl.recorded(car, pumping, key, episodes=10, steps=200)
    return Task(car, Scaled(rl.ActionValues(3, (64, 64))), shown, 200, 64, 50_000, CAR, ("parts", "dqn"))


def sea_task(key: jax.Array, depth: int) -> Task:
    """A sea in which each place has its own action to the right, and one dive."""
    right = rl.right_actions(key, depth)
    sea = rl.deep_sea(np.asarray(right))
    shown = rl.recorded(sea, diving(right), key, episodes=1, steps=depth)
    return Task(sea, rl.ActionValues(2, (64,)), shown, depth, 1, 1000, SEA, ("parts",))


def agents(task: Task, steps: int, pretraining: int) -> dict[str, sx.Learner]:
    """With demonstrations, and without."""
    updates, discount = task.settings["updates"], task.settings["discount"]
    all_ = {"lanes": LANES, "length": LENGTH, **task.settings}
    all_ |= {"evaluation_episodes": task.played, "evaluation_steps": task.most}

    def optimizer(made: int) -> optax.GradientTransformation:
        return optax.adam(optax.linear_schedule(1e-3, 0.0, made * updates))

    def without(replay: rl.Replay) -> sx.Learner:
        chance, warmup = optax.linear_schedule(1.0, 0.05, steps // 3), min(50, steps - 1)
        given = {"replay": replay, "epsilon": chance, "warmup": warmup}
        return rl.dqn(task.environment, task.network, optimizer(steps), **given, **all_)

    taught = rl.dqfd(
        task.environment,
        task.network,
        optimizer(steps + pretraining),
        task.shown,
        pretraining=pretraining,
        capacity=task.capacity,
        **all_,
    )
    replay = rl.prioritised(task.capacity, exponent=0.4, correction=0.6, offset=0.001)
    replays = {"parts": rl.n_step(replay, 10, discount, lanes=LANES), "dqn": rl.uniform(task.capacity)}
    return {"dqfd": taught, **{name: without(replays[name]) for name in task.alone}}


def trained(learner: sx.Learner, key: jax.Array, seeds: int, steps: int, chunk: int) -> np.ndarray:
    """Returns of greedy episodes after every chunk of steps, ``[chunks, seeds]``."""
    many, source = sx.population(learner, seeds), sx.generated(chunk)
    epochs = steps // chunk
    run = sx.fit(many, source, key=key, epochs=epochs, batch_size=None, validation=sx.generated(1), progress=False)
    return np.array(run.history["validation/return"])


def draw(curves: dict[str, np.ndarray], chunks: dict[str, tuple[int, int]], figure: pathlib.Path) -> None:
    """Means over seeds, and where the middle half of them lies, by steps of the environment."""
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    titles = {"car": "MountainCar, 10 demonstrations", "sea": "deep sea, 1 demonstration"}
    for ax, (task, title) in zip(axes, titles.items(), strict=True):
        for name in (name for name in LABELS if f"{task}_{name}" in curves):
            found = curves[f"{task}_{name}"]
            chunk, before = chunks[task]
            # After what was learnt before the first step there is one point, at 0.
            if name == "dqfd":
                found = found[before // chunk - 1 :]
            at = (np.arange(len(found)) + (name != "dqfd")) * chunk * LANES * LENGTH
            (line,) = ax.plot(at, found.mean(1), label=LABELS[name])
            middle = np.quantile(found, [0.25, 0.75], axis=1)
            ax.fill_between(at, *middle, color=line.get_color(), alpha=0.2, linewidth=0)
        ax.set(title=f"{title}: {found.shape[1]} seeds", xlabel="steps of the environment")
    axes[0].set_ylabel("return of greedy episodes")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    fig.savefig(figure, dpi=100)
    plt.close(fig)


def main(
    seeds: int = 16,
    car_steps: int = 3125,
    car_pretraining: int = 500,
    car_chunk: int = 125,
    sea_steps: int = 600,
    sea_pretraining: int = 100,
    sea_chunk: int = 50,
    depth: int = 30,
    figure: pathlib.Path | None = None,
    tune: bool = False,
) -> dict[str, list[float]]:
    """Trains all agents on both tasks, and returns returns and treasures of every seed.

    Args:
        seeds: Runs of each, side by side.
        car_steps: Steps of the learner in MountainCar that act: each is 16 steps of the environment.
        car_pretraining: Those before that do not, of the agent with demonstrations; a multiple of ``car_chunk``.
        car_chunk: Steps between evaluations, of which ``car_steps`` are a multiple, too.
        sea_steps: The same in the sea.
        sea_pretraining: The same.
        sea_chunk: The same.
        depth: Of the sea.
        figure: Where to draw the returns.
        tune: Draw other seeds, to choose settings by.
    """
    keys = jax.random.split(jax.random.key(1000 * tune), 4)
    tasks = {
        "car": (car_task(keys[0]), car_steps, car_pretraining, car_chunk),
        "sea": (sea_task(keys[1], depth), sea_steps, sea_pretraining, sea_chunk),
    }
    curves: dict[str, np.ndarray] = {}
    for task_key, (name, (task, steps, pretraining, chunk)) in zip(keys[2:], tasks.items(), strict=True):
        for agent, learner in agents(task, steps, pretraining).items():
            made = steps + pretraining * (agent == "dqfd")
            found = trained(learner, task_key, seeds, made, chunk)
            curves[f"{name}_{agent}"] = found
            print(name, agent, "returns:", found[-1].round(2).tolist(), flush=True)
    if figure is not None:
        draw(curves, {name: (chunk, before) for name, (_, _, before, chunk) in tasks.items()}, figure)
    # In the sea: whether the treasure was found.
    last = {name: found[-1] if name.startswith("car") else found[-1] > 0.5 for name, found in curves.items()}
    shown = tasks["car"][0].shown
    ends = np.flatnonzero(shown["terminated"] | shown["truncated"])
    return {
        "car_shown": np.diff(np.concatenate([[0], np.cumsum(shown["reward"])[ends]])).tolist(),
        **{name: found.astype(float).tolist() for name, found in last.items()},
    }


if __name__ == "__main__":
    print(tyro.cli(main))
