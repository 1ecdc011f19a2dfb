"""Gradient descent on a quadratic: the learning rate alone decides whether it crawls, converges or diverges.

    python examples/basics_learning_rate.py    # a few seconds

For ``f(w) = ½ wᵀ H w`` a step is ``w ← (I − η H) w``: along the eigenvector of λ the distance to the minimum shrinks
by ``|1 − ηλ|`` each step, and the slowest direction wins in the end. Expected: the measured rate is ``max |1 − ηλ|``
for every η, to rounding; below 1 for η < 2/λ_max, best at η = 2/(λ_min + λ_max), where it is (κ − 1)/(κ + 1) with the
condition number κ = λ_max/λ_min.

Reference:
    Polyak, Introduction to Optimization, 1987, section 1.4.
"""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import tyro

import stepax as sx

SOURCE = "Polyak 1987, section 1.4"
CLAIMS = [
    {
        "what": "gradient descent on a quadratic: measured rate against max |1 − ηλ|, largest difference over all η",
        "number": "difference",
        "source": SOURCE,
        "published": "equal",
        "high": 1e-12,
        "format": ".1e",
    },
    {
        "what": "gradient descent on a quadratic, κ = 10, best η = 2/(λ_min + λ_max): rate",
        "number": "rate_best",
        "published": "(κ − 1)/(κ + 1) = 0.8181818182",
        "source": SOURCE,
        "low": 9 / 11 - 1e-10,
        "high": 9 / 11 + 1e-10,
        "format": ".10f",
    },
    {
        "what": "η = 0.02/λ_max crawls: steps to a tenth of the distance",
        "number": "steps_small",
        "low": 900,
        "format": ".0f",
    },
    {
        "what": "the best η: steps to a tenth of the distance",
        "number": "steps_best",
        "high": 15,
        "format": ".0f",
    },
    {
        "what": "η = 2.1/λ_max diverges: the distance grows each step by a factor of",
        "number": "rate_large",
        "published": "1.1",
        "source": SOURCE,
        "low": 1.1 - 1e-10,
        "high": 1.1 + 1e-10,
        "format": ".10f",
    },
]
EIGENVALUES = np.array([1.0, 10.0])
# A tenth of the steps would do for most; a rate is exact when the faster direction has died out beside the slower one.
STEPS = 1500


def quadratic() -> tuple[np.ndarray, np.ndarray]:
    """A Hessian with these eigenvalues and eigenvectors at 30°, and a start with an equal share of both."""
    angle = np.pi / 6
    vectors = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return vectors * EIGENVALUES @ vectors.T, vectors.sum(axis=1)


def descend(rates: np.ndarray, steps: int) -> np.ndarray:
    """The points of gradient descent, ``[rates, steps + 1, 2]``: the learning rates are lanes of one program."""
    matrix, start = map(jnp.asarray, quadratic())

    def objective(params: Any, variables: Any, batch: Any, key: Any) -> tuple[jax.Array, tuple[Any, dict[str, Any]]]:
        del batch, key
        return (params @ matrix @ params / 2)[None], (variables, {})

    def descent(rate: jax.Array) -> jax.Array:
        optimizer = optax.sgd(rate)

        def step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], jax.Array]:
            params, opt_state = carry
            grads, _, _ = sx.gradient(objective, params, {}, None, jax.random.key(0))
            params, opt_state, _ = sx.update(optimizer, grads, opt_state, params)
            return (params, opt_state), params

        _, points = jax.lax.scan(step, (start, optimizer.init(start)), length=steps)
        return jnp.concatenate([start[None], points])

    return np.asarray(sx.compile.jit(jax.vmap(descent))(jnp.asarray(rates)))


def draw(
    rates: np.ndarray, measured: np.ndarray, distances: np.ndarray, shown: dict[str, int], figure: pathlib.Path
) -> None:
    fig, (curves, ax) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for label, i in shown.items():
        curves.semilogy(distances[i, :61], label=f"{label}: η = {rates[i] * EIGENVALUES.max():.3g}/λ_max")
    curves.set(
        xlabel="step", ylabel="distance to the minimum", ylim=(1e-6, 1e3), title="too small crawls, too large diverges"
    )
    curves.legend(fontsize="small", loc="lower left")
    fine = np.linspace(0, rates.max(), 500)
    theory = np.abs(1 - fine[:, None] * EIGENVALUES).max(axis=1)
    ax.plot(EIGENVALUES.max() * fine, theory, color="0.6", label="max |1 − ηλ|")
    ax.plot(EIGENVALUES.max() * rates, measured, "k.", markersize=5, label="measured")
    ax.axhline(1, color="0.8", linewidth=0.8)
    ax.set(xlabel="learning rate η, in units of 1/λ_max", ylabel="factor per step", title="rate of convergence, κ = 10")
    ax.legend(fontsize="small")
    fig.savefig(figure, dpi=100)
    plt.close(fig)


def main(steps: int = STEPS, figure: pathlib.Path | None = None) -> dict[str, float]:
    """Descends with many learning rates and measures how fast each converges in the end.

    Args:
        steps: Steps of each descent; 1,500 make the measured rates exact to 1e-12.
        figure: Where to draw the distances and the rates.
    """
    best = 2 / (EIGENVALUES.min() + EIGENVALUES.max())
    rates = np.concatenate([[0.002, best], np.arange(1, 43) * 0.05 / EIGENVALUES.max()])
    with jax.enable_x64(True):
        distances = np.linalg.norm(descend(rates, steps), axis=-1)
    measured = distances[:, -1] / distances[:, -2]
    theory = np.abs(1 - rates[:, None] * EIGENVALUES).max(axis=1)
    shown = {"too small": 0, "good": 21, "best": 1, "too large": len(rates) - 1}
    if figure is not None:
        draw(rates, measured, distances, shown, figure)
    return {
        "difference": float(np.abs(measured - theory).max()),
        "rate_best": float(measured[shown["best"]]),
        "rate_large": float(measured[shown["too large"]]),
        **{f"steps_{name}": steps_to_a_tenth(distances[i]) for name, i in (("small", 0), ("best", 1))},
    }


def steps_to_a_tenth(distance: np.ndarray) -> int:
    """How many steps it takes to come ten times closer; one more than were made where that never happens."""
    close = distance <= distance[0] / 10
    return int(close.argmax()) if close.any() else len(distance)


if __name__ == "__main__":
    print(tyro.cli(main))
