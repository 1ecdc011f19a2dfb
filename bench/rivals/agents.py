"""stepax's agents as ``fit`` runs them, and environments alone: answers ``start`` and ``train``."""

import importlib.metadata
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax

import stepax as sx
from bench.rivals.agent_settings import CLEAN, DQN, LANES, PPO
from bench.served import answer
from stepax import rl
from stepax.compile import jit
from stepax.reports import PACE
from stepax.rl.rollout import begin, rollout

# By form: how many seeds train at once.
FORMS = {"one agent": 1, "32 agents": 32}
# Steps of all environments in one call of the program, where they are alone.
STRETCH = 256


def ppo() -> tuple[sx.Learner, int]:
    """The agent, and how many steps of the environment are one of its own."""
    lanes, length, features = PPO["lanes"], PPO["length"], PPO["features"]
    made = PPO["steps"] // (lanes * length)
    optimizer = optax.chain(
        optax.clip_by_global_norm(PPO["norm"]),
        optax.adam(optax.linear_schedule(PPO["rate"], 0, made * PPO["epochs"]), eps=1e-5),
    )
    learner = rl.ppo(
        rl.cartpole(),
        rl.ActorCritic(rl.CategoricalPolicy(2, features), rl.Value(features)),
        optimizer,
        lanes=lanes,
        length=length,
        epochs=PPO["epochs"],
        minibatches=1,
        discount=PPO["discount"],
        trace=PPO["trace"],
        clip=optax.linear_schedule(PPO["clip"], 0, made),
    )
    return learner, lanes * length


def dqn(settings: dict[str, Any]) -> tuple[sx.Learner, int]:
    """Likewise. The second network follows as it does in the settings' own toolkit."""
    length, updates, clean = settings["length"], settings["updates"], settings is CLEAN
    adam = optax.adam(settings["rate"])
    explored = int(settings["exploration"] * settings["steps"]) // length
    learner = rl.dqn(
        rl.cartpole(),
        rl.ActionValues(2, settings["features"]),
        adam if clean else optax.chain(optax.clip_by_global_norm(settings["norm"]), adam),
        replay=rl.uniform(settings["capacity"]),
        bootstrap=rl.maximum,
        follow=rl.periodic(settings["target"] // length * updates if clean else updates),
        epsilon=optax.linear_schedule(1, settings["epsilon"], explored),
        lanes=1,
        length=length,
        updates=updates,
        batch_size=settings["batch_size"],
        warmup=settings["warmup"] // length,
        discount=settings["discount"],
        loss=optax.squared_error if clean else optax.losses.huber_loss,
    )
    return learner, length


def trained(task: str, form: str) -> Iterator[int]:
    """Trains without end, and tells how many steps of the environment were made since."""
    learner, steps = {"ppo": ppo, "dqn": lambda: dqn(DQN), "dqn-clean": lambda: dqn(CLEAN)}[task]()
    seeds = FORMS[form]
    learner = sx.population(learner, seeds) if seeds > 1 else learner
    state = jit(learner.init)(jax.random.key(0), None)
    for _, metrics in sx.epochs(learner, sx.generated(4096), state, seconds=PACE):
        yield len(metrics["loss"]) * steps * seeds


def stepped(lanes: int = LANES) -> Iterator[int]:
    """CartPole with random actions in many lanes; returns and lengths of episodes are kept, and nothing else."""
    environment = rl.cartpole()

    def act(observation: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        return jax.random.bernoulli(key, shape=(lanes,)).astype(jnp.int32), {}

    # Only where the lanes stand and what their episodes have brought is asked for: XLA drops what was seen on the way.
    program = jit(lambda stand, key: rollout(environment, act, stand, key, STRETCH)[0], donate=(0,))
    key = jax.random.key(0)
    stand = jit(lambda key: begin(environment, lanes, key))(key)
    while True:
        key = jax.random.fold_in(key, 1)
        stand = jax.block_until_ready(program(stand, key))
        yield STRETCH * lanes


def serve(form: str, task: str) -> None:
    running = stepped() if task == "steps" else trained(task, form)

    def start() -> dict[str, Any]:
        began = time.perf_counter()
        made = next(running)
        first = time.perf_counter() - began
        while task.startswith("dqn") and made < 2 * DQN["warmup"] * FORMS[form]:
            made += next(running)  # what comes before the first update is no training
        packages = ("stepax", "jax", "jaxlib", "flax", "optax")
        return {"first": first, "versions": {name: importlib.metadata.version(name) for name in packages}}

    answer({"start": start, "train": lambda seconds: timed(running, seconds)})


def timed(running: Iterator[int], seconds: float) -> dict[str, Any]:
    """Steps in so many seconds, or a little more."""
    steps, spent, began = 0, 0.0, time.perf_counter()
    while spent < seconds or not steps:
        steps += next(running)
        spent = time.perf_counter() - began
    return {"steps": steps, "seconds": spent}


if __name__ == "__main__":
    serve(*sys.argv[3:])
