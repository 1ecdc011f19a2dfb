"""What agents are timed with on CartPole-v1, in every toolkit; needs nothing, so that any Python can read it.

PPO and DQN as rl-baselines3-zoo has them for CartPole-v1. In its DQN the second network follows between two stretches
of updates, whatever its interval. CleanRL's DQN has another network and one update every so many steps: ``dqn-clean``
gives it as many of both as the zoo has.
"""

NAME, LANES = "CartPole-v1", 8192

PPO = {
    "lanes": 8,
    "length": 32,
    "epochs": 20,
    "discount": 0.98,
    "trace": 0.8,
    "rate": 1e-3,
    "clip": 0.2,
    "norm": 0.5,
    "features": (64, 64),
    "steps": 100_000,
}
DQN = {
    "length": 256,
    "updates": 128,
    "batch_size": 64,
    "capacity": 100_000,
    "warmup": 1000,
    "target": 10,
    "discount": 0.99,
    "rate": 2.3e-3,
    "norm": 10.0,
    "exploration": 0.16,
    "epsilon": 0.04,
    "features": (256, 256),
    "steps": 50_000,
}
CLEAN = {**DQN, "length": 2, "updates": 1, "features": (120, 84)}
