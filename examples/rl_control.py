"""Agents on the classic problems of control: PPO on four of them, and A2C, REINFORCE and DQN on CartPole.

    python examples/rl_control.py                                  # 32 seeds of each, side by side; 16 of DQN
    python examples/rl_control.py --tasks cartpole_ppo pendulum_ppo

A task trains all its seeds as one program, learning rates fall to 0 (but REINFORCE's), and every agent then plays a
hundred episodes that it has not learnt from, with the actions that it takes to be best. Steps are counted over all
lanes. Four agents of each task also play in Gymnasium's own environment; the difference from their returns here is told
in standard errors, so that the largest of seven should be below 3.

The settings of PPO on CartPole are those of the zoo of Stable-Baselines3; the others began there, and were chosen on
other seeds (``--tune``). What mattered: for A2C and for PPO on the pendulum, rewards divided by the spread of their
sums, without which the errors of the values drown the policy's gradient where norms are cut; for DQN, squared errors
(Huber's grow no further from 1 on, and values come close to 100), ten steps at once, and an average of the parameters.

Reference:
    Raffin, RL baselines3 zoo, 2020: its published returns are those of one agent each, over many episodes.
    Schulman et al., Proximal policy optimization algorithms, 2017, arXiv:1707.06347.
    Mnih et al., Asynchronous methods for deep reinforcement learning, 2016, arXiv:1602.01783.
    Williams, Simple statistical gradient-following algorithms for connectionist reinforcement learning, 1992.
    Mnih et al., Human-level control through deep reinforcement learning, 2015.
"""

import pathlib
from collections.abc import Callable
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
EPISODES = 100  # of every agent
TRIED, EACH = 4, 25  # agents that play in Gymnasium, and episodes of each
POINTS = 20  # of a curve
CLAIMS = [
    {
        "what": "PPO, CartPole-v1, 100k steps: return",
        "number": "cartpole_ppo",
        "published": "500",
        "source": ZOO,
        "low": 495,
    },
    {"what": "the same, part of the seeds at 500", "number": "cartpole_ppo_solved", "low": 30 / 32},
    {
        "what": "PPO, Acrobot-v1, 1M steps: return",
        "number": "acrobot_ppo",
        "published": "−73.5",
        "source": ZOO,
        "low": -80,
    },
    {
        "what": "PPO, Pendulum-v1, 200k steps: return",
        "number": "pendulum_ppo",
        "published": "−172",
        "source": ZOO,
        "low": -180,
    },
    {
        "what": "PPO, MountainCarContinuous-v0, 100k steps: return",
        "number": "mountain_ppo",
        "published": "94",
        "source": ZOO,
        "low": 90,
    },
    {"what": "A2C, CartPole-v1, 500k steps: return", "number": "cartpole_a2c", "low": 490},
    {
        "what": "REINFORCE with a baseline, CartPole-v1, at most 500k steps: return",
        "number": "cartpole_reinforce",
        "low": 450,
    },
    {"what": "DQN, CartPole-v1, 100k steps: return", "number": "cartpole_dqn", "low": 475},
    {
        "what": "the same agents in Gymnasium: largest difference over the tasks, in standard errors",
        "number": "difference",
        "high": 3,
    },
]


class Task(NamedTuple):
    """What is to be learnt, and by whom.

    Attributes:
        name: The environment, as Gymnasium has it.
        make: The agent, from how many steps of the learner there will be.
        made: Steps of the environment that a step of the learner takes, at most.
        steps: Steps of the environment in all.
    """

    name: str
    make: Callable[[int], sx.Learner]
    made: int
    steps: int


def actor_critic(environment: rl.Environment) -> rl.ActorCritic:
    """Two networks of two layers of 64."""
    space = environment.action_space
    if isinstance(space, rl.Discrete):
        return rl.ActorCritic(rl.CategoricalPolicy(space.n), rl.Value())
    return rl.ActorCritic(rl.NormalPolicy(space.shape[0]), rl.Value())


def falling(rate: float, count: int) -> optax.Schedule:
    return optax.linear_schedule(rate, 0.0, count)


def adam(rate: Any) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(0.5), optax.adam(rate, eps=1e-5))


def proximal(
    name: str, environment: rl.Environment, steps: int, *, seen: bool = False, average: float = 0, **settings: Any
) -> Task:
    """PPO, whose rate falls to 0; ``seen``: observations of variance 1, ``average``: of the parameters."""
    rate, updates = settings.pop("rate"), settings["epochs"] * settings["minibatches"]
    network = actor_critic(environment)
    clip = settings.pop("falling_clip", None)

    def make(count: int) -> sx.Learner:
        bound = {} if clip is None else {"clip": falling(clip, count)}
        optimizer = adam(falling(rate, count * updates))
        agent = rl.ppo(
            environment,
            rl.normalized(network) if seen else network,
            optimizer,
            evaluation_episodes=EPISODES,
            **settings,
            **bound,
        )
        return sx.average(agent, average) if average else agent

    return Task(name, make, settings["lanes"] * settings["length"], steps)


def advantage_actor_critic(count: int) -> sx.Learner:
    environment = rl.cartpole()
    optimizer = adam(falling(2e-3, count))
    settings = {"lanes": 8, "length": 16, "trace": 0.95, "normalize_rewards": True, "evaluation_episodes": EPISODES}
    return rl.a2c(environment, actor_critic(environment), optimizer, **settings)


def reinforce(count: int) -> sx.Learner:
    """Four episodes an update."""
    environment = rl.cartpole()
    agent = rl.reinforce(
        environment, actor_critic(environment), optax.adam(5e-3), lanes=4, length=500, evaluation_episodes=EPISODES
    )
    return sx.average(agent, 0.95)


def deep_q(count: int) -> sx.Learner:
    """Eight updates every sixteen steps, over ten steps each."""
    lanes, length, updates = 4, 4, 8
    optimizer = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(falling(1e-3, count * updates)))
    agent = rl.dqn(
        rl.cartpole(),
        rl.ActionValues(2, (64, 64)),
        optimizer,
        replay=rl.n_step(rl.uniform(50_000), 10, 0.99, lanes=lanes),
        follow=rl.gradual(0.01),
        epsilon=optax.linear_schedule(1.0, 0.04, max(1, count // 5)),
        lanes=lanes,
        length=length,
        updates=updates,
        batch_size=64,
        warmup=1000 // (lanes * length),
        evaluation_episodes=EPISODES,
    )
    return sx.average(agent, 0.999)


POLE = {"lanes": 8, "length": 32, "epochs": 20, "minibatches": 1, "discount": 0.98, "trace": 0.8, "rate": 1e-3}
LINKS = {"lanes": 16, "length": 256, "epochs": 4, "minibatches": 16, "trace": 0.94, "rate": 1e-3}
SWING = {"lanes": 4, "length": 256, "epochs": 10, "minibatches": 16, "discount": 0.95, "rate": 1e-3}
HILL = {"lanes": 16, "length": 128, "epochs": 10, "minibatches": 8, "discount": 0.999, "rate": 3e-4}
TASKS = {
    "cartpole_ppo": proximal("CartPole-v1", rl.cartpole(), 100_000, falling_clip=0.2, **POLE),
    "acrobot_ppo": proximal("Acrobot-v1", rl.acrobot(), 1_000_000, seen=True, average=0.99, **LINKS),
    "pendulum_ppo": proximal("Pendulum-v1", rl.pendulum(), 200_000, average=0.995, normalize_rewards=True, **SWING),
    "mountain_ppo": proximal(
        "MountainCarContinuous-v0",
        rl.mountain_car_continuous(),
        100_000,
        seen=True,
        normalize_rewards=True,
        entropy_weight=0.01,
        **HILL,
    ),
    "cartpole_a2c": Task("CartPole-v1", advantage_actor_critic, 8 * 16, 500_000),
    "cartpole_reinforce": Task("CartPole-v1", reinforce, 4 * 500, 500_000),
    "cartpole_dqn": Task("CartPole-v1", deep_q, 4 * 4, 100_000),
}


class Found(NamedTuple):
    """What came of a task.

    Attributes:
        curve: Returns while learning, ``[points, seeds]``.
        returns: Of greedy episodes, a mean for each seed.
        difference: From the returns in Gymnasium, in standard errors.
    """

    curve: np.ndarray
    returns: np.ndarray
    difference: float


def trained(task: Task, key: jax.Array, seeds: int, steps: int, tried: int) -> Found:
    """All seeds of a task as one program, then what each is worth."""
    train_key, test_key = jax.random.split(key)
    count = max(1, steps // task.made)
    points = min(POINTS, count)
    agent = task.make(count)
    many = sx.population(agent, seeds)
    data = sx.generated(count // points)
    run = sx.fit(many, data, key=train_key, epochs=points, batch_size=None, progress=False)
    returns = np.asarray(jax.jit(lambda state: many.evaluate(state, None, test_key)["return"])(run.state))
    there = [
        rl.host.evaluate(rl.greedy(agent, sx.lane(run.state, lane)), task.name, episodes=EACH, seed=lane)["return"]
        for lane in range(min(tried, seeds))
    ]
    return Found(np.stack(run.history["return"]), returns, apart(returns[: len(there)], np.array(there)))


def apart(here: np.ndarray, there: np.ndarray) -> float:
    """The mean over agents of returns there, ``[agents, episodes]``, less that of means here, in standard errors."""
    variance = there.var(1, ddof=1) * (1 / there.shape[1] + 1 / EPISODES)
    gap = abs(float(there.mean() - here.mean()))
    error = float(np.sqrt(variance.sum()) / len(there))
    return gap / error if error else 0.0 if gap < 1e-3 else float("inf")


def draw(found: dict[str, Found], figure: pathlib.Path, share: float) -> None:
    """Returns while learning, of every seed and their mean."""
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(3.2 * columns, 2.7 * rows), layout="constrained", squeeze=False)
    for ax in axes.flat[len(found) :]:
        ax.set_axis_off()
    for ax, (name, made) in zip(axes.flat, found.items(), strict=False):
        task = TASKS[name]
        steps = np.linspace(0, share * task.steps / 1000, len(made.curve) + 1)[1:]
        ax.plot(steps, made.curve, color="C0", alpha=0.15, linewidth=0.8)
        ax.plot(steps, made.curve.mean(1), color="C0", linewidth=2)
        method = name.split("_")[1].replace("reinforce", "REINFORCE")
        method = method if method == "REINFORCE" else method.upper()
        ax.set(title=f"{task.name.rsplit('-', 1)[0]}, {method}", xlabel="steps (thousands)", ylabel="return")
        ax.title.set_fontsize(10)
    fig.savefig(figure, dpi=80)
    plt.close(fig)


def main(
    tasks: tuple[str, ...] = tuple(TASKS),
    seeds: int = 32,
    dqn_seeds: int = 16,
    share: float = 1.0,
    tried: int = TRIED,
    figure: pathlib.Path | None = None,
    tune: bool = False,
) -> dict[str, Any]:
    """Trains agents on each task and returns what their episodes brought.

    Args:
        tasks: Which ones.
        seeds: Agents of each, side by side.
        dqn_seeds: The same of DQN.
        share: Of the steps.
        tried: How many of them play in Gymnasium, too.
        figure: Where to draw returns while learning.
        tune: Draw other seeds, to choose settings by.
    """
    keys = dict(zip(TASKS, jax.random.split(jax.random.key(1000 * tune), len(TASKS)), strict=True))
    found: dict[str, Found] = {}
    for name in tasks:
        task, many = TASKS[name], dqn_seeds if name == "cartpole_dqn" else seeds
        found[name] = trained(task, keys[name], many, round(share * task.steps), tried)
        returns = found[name].returns
        print(f"{name}: {returns.mean():.1f}, from {returns.min():.1f} to {returns.max():.1f}", flush=True)
    if figure is not None:
        draw(found, figure, share)
    numbers: dict[str, Any] = {name: made.returns.tolist() for name, made in found.items()}
    if "cartpole_ppo" in found:
        numbers["cartpole_ppo_solved"] = float((found["cartpole_ppo"].returns >= 500).mean())
    return {**numbers, "difference": max(made.difference for made in found.values())}


if __name__ == "__main__":
    print(tyro.cli(main))
