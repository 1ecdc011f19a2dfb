"""The optimizers and schedules of the command line by name."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import optax

from stepax.cli.choices import chosen

__all__ = ["OPTIMIZERS", "SCHEDULES", "Choice", "optimizer", "schedule"]


class Choice(NamedTuple):
    """An optimizer of Optax, its usual learning rate, and its options with their defaults."""

    make: Callable[..., optax.GradientTransformation]
    rate: float
    options: Mapping[str, float]


OPTIMIZERS: dict[str, Choice] = {
    "sgd": Choice(optax.sgd, 0.05, {}),
    "momentum": Choice(optax.sgd, 0.05, {"momentum": 0.9}),
    "nesterov": Choice(partial(optax.sgd, nesterov=True), 0.05, {"momentum": 0.9}),
    "adagrad": Choice(optax.adagrad, 0.05, {}),
    "rmsprop": Choice(optax.rmsprop, 0.001, {}),
    "adam": Choice(optax.adam, 0.003, {}),
    "adamw": Choice(optax.adamw, 0.003, {"weight_decay": 0.0001}),
    "lion": Choice(optax.lion, 0.0003, {"weight_decay": 0.001}),
}

# ``(highest rate, steps) -> schedule``.
SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "constant": lambda rate, steps: optax.constant_schedule(rate),
    "cosine": lambda rate, steps: optax.cosine_decay_schedule(rate, steps),
    "linear": lambda rate, steps: optax.linear_schedule(rate, 0.0, steps),
    "exponential": lambda rate, steps: optax.exponential_decay(rate, steps, 0.01),
}


def schedule(name: str, rate: float, steps: int, warmup: float) -> optax.Schedule:
    """The learning rate as a function of the step.

    Args:
        name: A key of ``SCHEDULES``.
        rate: The highest rate.
        steps: The steps of the whole training.
        warmup: Share of the steps in which the rate rises along a line, from the first step on above 0.

    Raises:
        ValueError: There is no such schedule, or a number is out of range.
    """
    falling = chosen("schedule", SCHEDULES, name)
    if not rate > 0:
        raise ValueError(f"--learning-rate: expected a positive number, got {rate}")
    if not 0 <= warmup < 1:
        raise ValueError(f"--warmup: expected a share of the steps from 0 to below 1, got {warmup}")
    rising = round(warmup * steps)
    if not rising:
        return falling(rate, steps)
    line = optax.linear_schedule(rate / (rising + 1), rate, rising)
    return optax.join_schedules([line, falling(rate, steps - rising)], [rising])


def optimizer(name: str, rate: optax.Schedule, options: Mapping[str, Any]) -> optax.GradientTransformation:
    """An optimizer whose learning rate is visible in the metrics.

    Args:
        name: A key of ``OPTIMIZERS``.
        rate: The learning rate.
        options: The optimizer's options, all of them.
    """
    return optax.inject_hyperparams(OPTIMIZERS[name].make)(learning_rate=rate, **options)
