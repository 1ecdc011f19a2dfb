"""The perceptron rule on logic gates: within Novikoff's bound on AND and OR, lost on XOR, which a hidden layer learns.

    python examples/basics_perceptron.py    # a few seconds

Expected: AND and OR end without an error, after no more mistakes than the convergence theorem allows, whatever the
order of the examples. No threshold unit gets more than 3 of the 4 rows of XOR: of the 16 ways to label four points a
line separates 14, and XOR is one of the other two. A network with one hidden layer of 8 units learns all 4 from every
seed or nearly so; with 2 units, which would suffice, many seeds get stuck.

Reference:
    Rosenblatt, The perceptron, Psychological Review 65, 1958. Novikoff, On convergence proofs on perceptrons, 1962.
    Minsky and Papert, Perceptrons, 1969 (XOR). Rumelhart, Hinton and Williams, Nature 323, 1986 (the hidden layer).
"""

import itertools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import scipy.optimize
import tyro

import stepax as sx

NOVIKOFF = "Novikoff 1962"
MINSKY = "Minsky and Papert 1969"
CLAIMS = [
    *(
        {
            "what": f"perceptron rule, {gate.upper()}: {what}",
            "number": f"{gate}_{number}",
            "source": NOVIKOFF,
            "published": published,
            **must,
        }
        for gate, bound in (("and", 51), ("or", 27))
        for what, number, published, must in (
            ("errors at the end, any seed", "errors", "0", {"high": 0}),
            (f"most mistakes on the way, any seed; (R/γ)² = {bound}", "mistakes", f"at most {bound}", {"high": bound}),
        )
    ),
    {
        "what": "labellings of four points that a line separates",
        "number": "separable",
        "published": "14 of 16",
        "source": MINSKY,
        "low": 14,
        "high": 14,
    },
    {
        "what": "XOR: rows that the best threshold unit gets right",
        "number": "xor_best_unit",
        "published": "3",
        "source": MINSKY,
        "low": 3,
        "high": 3,
    },
    {
        "what": "XOR: most rows right in long training by the perceptron rule",
        "number": "xor_best_trained",
        "published": "3",
        "source": MINSKY,
        "high": 3,
    },
    {"what": "XOR: share of seeds with 4 of 4, MLP 2-8-1", "number": "xor_share_8", "low": 0.95},
    {"what": "XOR: share of seeds with 4 of 4, MLP 2-2-1", "number": "xor_share_2"},
]


def novikoff_bound(data: Any) -> float:
    """``(R/γ)²`` of a gate's rows with the bias as a third input of 1; γ is the margin of the best separator."""
    inputs = np.concatenate([data["x"], np.ones((len(data["x"]), 1))], axis=1)
    signed = inputs * (2 * data["y"] - 1)[:, None]
    margins = {"type": "ineq", "fun": lambda w: signed @ w - 1, "jac": lambda w: signed}
    found = scipy.optimize.minimize(
        lambda w: w @ w,
        signed.sum(axis=0),
        jac=lambda w: 2 * w,
        constraints=[margins],
        method="SLSQP",
        options={"ftol": 1e-12},
    )
    if not found.success:
        raise ValueError(f"these rows cannot be separated: {found.message}")
    radius, margin = np.linalg.norm(inputs, axis=1).max(), 1 / np.linalg.norm(found.x)
    return float((radius / margin) ** 2)


def train_unit(data: Any, seeds: int, epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """Mistakes while learning in each epoch, and rows right after it, ``[seeds, epochs]``; each seed has its orders."""
    learner = sx.nn.rosenblatt(sx.nn.Perceptron())
    count = len(data["y"])

    def epoch(state: sx.State, key: jax.Array) -> tuple[sx.State, tuple[jax.Array, jax.Array]]:
        rows = jax.random.permutation(key, count)
        state, metrics = learner.step(state, {name: jnp.asarray(array)[rows] for name, array in data.items()})
        return state, (count * metrics["loss"], count * (1 - learner.evaluate(state, data, key)["loss"]))

    def lane(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        init_key, order_key = jax.random.split(key)
        return jax.lax.scan(epoch, learner.init(init_key, data), jax.random.split(order_key, epochs))[1]

    mistakes, right = sx.compile.jit(jax.vmap(lane))(jax.random.split(jax.random.key(0), seeds))
    return np.asarray(mistakes), np.asarray(right)


def separable_labellings(points: np.ndarray) -> list[tuple[int, ...]]:
    """All ways to label the points with 0 and 1 that a threshold unit can give, each decided by a linear program."""
    inputs = np.concatenate([points, np.ones((len(points), 1))], axis=1)

    def is_separable(labels: tuple[int, ...]) -> bool:
        signed = inputs * (2 * np.array(labels) - 1)[:, None]
        free = [(None, None)] * inputs.shape[1]
        return scipy.optimize.linprog(
            np.zeros(inputs.shape[1]), A_ub=-signed, b_ub=-np.ones(len(points)), bounds=free
        ).success

    return [labels for labels in itertools.product((0, 1), repeat=len(points)) if is_separable(labels)]


def train_mlp(data: Any, hidden: int, seeds: int, steps: int) -> np.ndarray:
    """Which seeds end with all rows right, ``[seeds]`` bools."""
    learner = sx.supervised(
        sx.nn.MLP((hidden, 1), activation=jax.nn.tanh),
        sx.losses.binary_cross_entropy,
        optax.adam(0.05),
        metrics={"accuracy": sx.metrics.accuracy},
    )

    def lane(key: jax.Array) -> jax.Array:
        state = jax.lax.fori_loop(0, steps, lambda _, state: learner.step(state, data)[0], learner.init(key, data))
        return learner.evaluate(state, data, key)["accuracy"] == 1

    return np.asarray(sx.compile.jit(jax.vmap(lane))(jax.random.split(jax.random.key(1), seeds)))


def draw(gates: dict[str, tuple[np.ndarray, float]], figure: pathlib.Path) -> None:
    fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for i, (gate, (mistakes, bound)) in enumerate(gates.items()):
        total = mistakes[:, :50].cumsum(axis=1)
        ax.plot(
            1 + np.arange(total.shape[1]),
            total.max(axis=0),
            color=f"C{i}",
            label=f"{gate.upper()}, worst of {len(total)} seeds",
        )
        if np.isfinite(bound):
            ax.axhline(bound, color=f"C{i}", linestyle=":", label=f"{gate.upper()}, (R/γ)² = {bound:.0f}")
    ax.set(xlabel="epoch (four examples each)", ylabel="mistakes so far", ylim=(0, 80), title="The perceptron rule")
    ax.legend(fontsize="small")
    fig.savefig(figure, dpi=100)
    plt.close(fig)


def main(
    seeds: int = 100, epochs: int = 2000, steps: int = 500, figure: pathlib.Path | None = None
) -> dict[str, float]:
    """Trains threshold units on AND, OR and XOR, and networks on XOR.

    Args:
        seeds: Runs of each, from different orders of the examples or different first weights.
        epochs: Times through the four rows, for threshold units.
        steps: Steps of Adam, each on all four rows, for networks.
        figure: Where to draw the mistakes against the bounds.
    """
    numbers: dict[str, float] = {}
    gates: dict[str, tuple[np.ndarray, float]] = {}
    for gate in ("and", "or"):
        data, _ = sx.data.load(gate)
        mistakes, right = train_unit(data, seeds, epochs)
        gates[gate] = mistakes, novikoff_bound(data)
        numbers |= {
            f"{gate}_errors": float(4 - right[:, -1].min()),
            f"{gate}_mistakes": float(mistakes.sum(axis=1).max()),
            f"{gate}_bound": gates[gate][1],
        }
    data, _ = sx.data.load("xor")
    mistakes, right = train_unit(data, seeds, epochs)
    gates["xor"] = mistakes, np.inf
    separable = separable_labellings(data["x"])
    agreement = [sum(a == b for a, b in zip(labels, data["y"], strict=True)) for labels in separable]
    numbers |= {
        "separable": len(separable),
        "xor_best_unit": int(max(agreement)),
        "xor_best_trained": float(right.max()),
    }
    numbers |= {f"xor_share_{hidden}": float(train_mlp(data, hidden, seeds, steps).mean()) for hidden in (8, 2)}
    if figure is not None:
        draw(gates, figure)
    return numbers


if __name__ == "__main__":
    print(tyro.cli(main))
