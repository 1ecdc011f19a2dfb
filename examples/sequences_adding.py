"""The adding problem: two numbers among hundreds are marked, and their sum is asked for at the end.

    python examples/sequences_adding.py                                  # 200 steps, then the TCN with 600
    python examples/sequences_adding.py --seeds 0 --recurrent-seeds 0    # 600 alone, 7 minutes each

A sequence has two channels: numbers from 0 to 1, and a mark that is 1 at two random steps and else 0. What the network
answers after the last step is held against the sum of the two marked numbers.

Expected: the TCN's squared error is about 1e-4 at 200 steps and 4e-5 at 600. All of it takes an hour on two cores that
other work shares; each run prints its own minutes. The TCN has 58,051 parameters at 200 steps, as it need not reach as
far, and 70,369 at 600; GRU and LSTM have as many as the published ones. Always answering 1, the mean, gives the
variance of two numbers from 0 to 1, 1/6; .1767 is what papers hand on for it. The TCN's length and learning rate were
chosen on other seeds (``--tune``) at 200 steps, and how long it learns at 600, where five times through the data leave
it at 4e-3.

Reference:
    Hochreiter and Schmidhuber, Long short-term memory, Neural Computation 9, 1997.
    Bai, Kolter and Koltun, An empirical evaluation of generic convolutional and recurrent networks for sequence
    modeling, 2018, arXiv:1803.01271 (T = 600, some 70,000 parameters: TCN 5.8e-5, GRU 5.3e-5, LSTM .164).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import linen

import stepax as sx

LONG = True
SOURCE = "Bai et al. 2018, T = 600"
CLAIMS = [
    {
        "what": "adding problem, T = 200, TCN of 58K parameters: squared error",
        "number": "tcn",
        "published": "5.8e-5 by 70K parameters",
        "high": 1e-3,
    },
    {
        "what": "the same, T = 600, TCN of 70K parameters",
        "number": "tcn_long",
        "published": "5.8e-5 by 70K parameters",
        "high": 1e-3,
    },
    {"what": "adding problem, T = 200, GRU of 70K parameters", "number": "gru", "published": "5.3e-5"},
    {"what": "the same, LSTM of 70K parameters", "number": "lstm", "published": ".164"},
    {
        "what": "the same, always answering the mean, 1 (exactly 1/6)",
        "number": "mean",
        "published": ".1767",
        "source": "as commonly quoted",
        "low": 0.15,
        "high": 0.18,
    },
]
CLAIMS = [{"source": SOURCE, "format": ".2e"} | claim for claim in CLAIMS]


class LastStep(linen.Module):
    """What a sequence model says after the last step, and one number made of it."""

    body: linen.Module

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        last = self.body.last(x, train) if isinstance(self.body, sx.nn.TCN) else self.body(x, train)[0][:, -1]
        return sx.nn.Dense(1, name="head")(last)[:, 0]


def bodies(time: int) -> dict[str, linen.Module]:
    """Some 70,000 parameters each, the TCN up to 400 steps 58,051; it reaches from the last step to the first."""
    tcn = sx.nn.TCN((27,) * 7, kernel=6) if time <= 400 else sx.nn.TCN((24,) * 8, kernel=8)
    return {"tcn": tcn, "gru": sx.nn.GRU(150), "lstm": sx.nn.LSTM(130)}


def problems(key: jax.Array, count: int, time: int) -> dict[str, np.ndarray]:
    """Sequences ``x [count, time, 2]`` and sums ``y [count]``."""
    numbers_key, first_key, second_key = jax.random.split(key, 3)
    numbers = jax.random.uniform(numbers_key, (count, time))
    first = jax.random.randint(first_key, (count,), 0, time)
    # Any other step than the first.
    second = (first + jax.random.randint(second_key, (count,), 1, time)) % time
    marks = jax.nn.one_hot(first, time) + jax.nn.one_hot(second, time)
    x, y = jnp.stack([numbers, marks], -1), (numbers * marks).sum(-1)
    return {"x": np.asarray(x), "y": np.asarray(y)}


def main(
    time: int = 200,
    long: int = 600,
    seeds: int = 3,
    long_seeds: int = 3,
    recurrent_seeds: int = 1,
    epochs: int = 5,
    long_epochs: int = 12,
    recurrent_epochs: int = 3,
    examples: int = 50_000,
    batch_size: int = 32,
    rate: float = 4e-3,
    recurrent_rate: float = 2e-3,
    tune: bool = False,
) -> dict[str, Any]:
    """Trains every model once per seed, and returns squared errors on 5,000 new sequences.

    Args:
        time: Steps of a sequence.
        long: Steps of the long ones, for the TCN alone.
        seeds: Runs of the TCN; each has data of its own.
        long_seeds: The same with long sequences.
        recurrent_seeds: Runs of the GRU, and of the LSTM.
        epochs: Times through the data.
        long_epochs: The same with long sequences.
        recurrent_epochs: The same of GRU and LSTM, of which one takes five times as long.
        examples: Sequences to learn from.
        batch_size: Sequences a step.
        rate: Adam's learning rate at first; it falls to 0 as a cosine.
        recurrent_rate: The same of GRU and LSTM.
        tune: Draw other seeds, to choose settings by.
    """
    short, far = bodies(time), bodies(long)
    recurrent = {"times": recurrent_epochs, "rate": recurrent_rate, "seeds": recurrent_seeds, "time": time}
    runs: dict[str, tuple[linen.Module, dict[str, Any]]] = {
        "tcn": (short["tcn"], {"times": epochs, "rate": rate, "seeds": seeds, "time": time}),
        "tcn_long": (far["tcn"], {"times": long_epochs, "rate": rate, "seeds": long_seeds, "time": long}),
        "gru": (short["gru"], recurrent),
        "lstm": (short["lstm"], recurrent),
    }
    numbers: dict[str, Any] = {"mean": []}
    for name, (body, of) in runs.items():
        rates = optax.cosine_decay_schedule(of["rate"], of["times"] * -(-examples // batch_size))
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rates))
        learner = sx.supervised(LastStep(body), sx.losses.mean_squared_error, optimizer)
        numbers[name] = []
        for seed in range(of["seeds"]):
            data_key, fit_key, test_key = jax.random.split(jax.random.key(seed + 1000 * tune), 3)
            train, test = (problems(key, count, of["time"]) for key, count in ((data_key, examples), (test_key, 5_000)))
            run = sx.fit(learner, train, key=fit_key, epochs=of["times"], batch_size=batch_size)
            numbers[name].append(sx.evaluate(learner, run.state, test)["loss"])
            if name == "tcn":
                numbers["mean"].append(float(np.mean(np.square(test["y"] - 1))))
            minutes = run.record["seconds"]["run"] / 60
            print(f"{name}, seed {seed}: squared error {numbers[name][-1]:.2e} in {minutes:.1f} minutes", flush=True)
    return numbers


if __name__ == "__main__":
    print(tyro.cli(main))
