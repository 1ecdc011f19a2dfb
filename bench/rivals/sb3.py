"""Stable-Baselines3, and Gymnasium's own CartPole with random actions: answers ``start`` and ``train``.

Runs in a Python of its own, which need not know stepax.
"""

import importlib.metadata
import sys
import time
from collections.abc import Iterator
from typing import Any

from bench.rivals.agent_settings import DQN, LANES, NAME, PPO
from bench.served import answer

# Steps between two looks at the clock.
STRETCH = 2048


def ppo() -> Any:
    from stable_baselines3 import PPO as Agent
    from stable_baselines3.common.env_util import make_vec_env

    lanes, length = PPO["lanes"], PPO["length"]
    return Agent(
        "MlpPolicy",
        make_vec_env(NAME, n_envs=lanes, seed=0),
        learning_rate=lambda left: left * PPO["rate"],
        n_steps=length,
        batch_size=lanes * length,
        n_epochs=PPO["epochs"],
        gamma=PPO["discount"],
        gae_lambda=PPO["trace"],
        clip_range=lambda left: left * PPO["clip"],
        ent_coef=0.0,
        max_grad_norm=PPO["norm"],
        policy_kwargs={"net_arch": list(PPO["features"])},
        device="cpu",
        seed=0,
    )


def dqn() -> Any:
    from stable_baselines3 import DQN as Agent

    return Agent(
        "MlpPolicy",
        NAME,
        learning_rate=DQN["rate"],
        buffer_size=DQN["capacity"],
        learning_starts=DQN["warmup"],
        batch_size=DQN["batch_size"],
        gamma=DQN["discount"],
        train_freq=DQN["length"],
        gradient_steps=DQN["updates"],
        target_update_interval=DQN["target"],
        exploration_fraction=DQN["exploration"],
        exploration_final_eps=DQN["epsilon"],
        max_grad_norm=DQN["norm"],
        policy_kwargs={"net_arch": list(DQN["features"])},
        device="cpu",
        seed=0,
    )


def trained(task: str) -> Iterator[int]:
    """Trains without end, and tells how many steps of the environment were made since."""
    agent, done = {"ppo": ppo, "dqn": dqn}[task](), 0
    while True:
        agent.learn(STRETCH, reset_num_timesteps=done == 0, log_interval=None)
        yield agent.num_timesteps - done
        done = agent.num_timesteps


def stepped(lanes: int = LANES) -> Iterator[int]:
    """Gymnasium's CartPole written for arrays, as many lanes at once."""
    import gymnasium
    import numpy as np

    environment = gymnasium.make_vec(NAME, num_envs=lanes, vectorization_mode="vector_entry_point")
    environment.reset(seed=0)
    draws = np.random.default_rng(0)
    while True:
        environment.step(draws.integers(0, 2, lanes))
        yield lanes


def serve(form: str, task: str) -> None:
    if form == "one thread":
        import torch

        torch.set_num_threads(1)
    running = stepped() if task == "steps" else trained(task)

    def start() -> dict[str, Any]:
        __import__("gymnasium" if task == "steps" else "stable_baselines3")  # no part of the first results' time
        began = time.perf_counter()
        next(running)
        packages = ("gymnasium",) if task == "steps" else ("stable-baselines3", "torch", "gymnasium")
        versions = {name: importlib.metadata.version(name) for name in packages}
        return {"first": time.perf_counter() - began, "versions": versions}

    def train(seconds: float) -> dict[str, Any]:
        steps, spent, began = 0, 0.0, time.perf_counter()
        while spent < seconds or not steps:
            steps += next(running)
            spent = time.perf_counter() - began
        return {"steps": steps, "seconds": spent}

    answer({"start": start, "train": train})


if __name__ == "__main__":
    serve(*sys.argv[3:])
