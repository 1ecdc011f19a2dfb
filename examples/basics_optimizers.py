"""The optimizers of a deep-learning course on Rosenbrock's valley, and the same in PyTorch, step for step.

    python examples/basics_optimizers.py    # some ten seconds

Expected: with the arguments of ``OPTIMIZERS``, Optax and ``torch.optim`` stay within 1e-6 of each other for 100 steps
in float64, on Rosenbrock's function and on a logistic regression; this part is left out where PyTorch is not
installed. docs/optimizers.md has the table of names and differences.

Reference:
    Rosenbrock, An automatic method for finding the greatest or least value of a function, The Computer Journal 3, 1960.
"""

import functools
import importlib.util
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import sklearn.datasets
import tyro

import stepax as sx


class Pair(NamedTuple):
    """One optimizer in both libraries.

    Attributes:
        make: ``learning_rate -> optimizer``, in Optax.
        torch: Its name in ``torch.optim``.
        settings: The arguments that make the two equal, beside the learning rate.
        rate: A learning rate that suits Rosenbrock's function.
    """

    make: Callable[[float], optax.GradientTransformation]
    torch: str
    settings: dict[str, Any]
    rate: float


OPTIMIZERS = {
    "SGD": Pair(optax.sgd, "SGD", {}, 1e-3),
    "momentum": Pair(functools.partial(optax.sgd, momentum=0.9), "SGD", {"momentum": 0.9}, 1e-3),
    "Nesterov": Pair(
        functools.partial(optax.sgd, momentum=0.9, nesterov=True), "SGD", {"momentum": 0.9, "nesterov": True}, 1e-3
    ),
    # Optax starts from 0.1 and has eps inside the root; PyTorch from 0, with eps outside.
    "Adagrad": Pair(
        functools.partial(optax.adagrad, initial_accumulator_value=0.0, eps=1e-20), "Adagrad", {"eps": 1e-10}, 0.5
    ),
    "RMSprop": Pair(functools.partial(optax.rmsprop, decay=0.99, eps=1e-8, eps_in_sqrt=False), "RMSprop", {}, 1e-2),
    "Adam": Pair(optax.adam, "Adam", {}, 0.1),
    "AdamW": Pair(functools.partial(optax.adamw, weight_decay=1e-2), "AdamW", {"weight_decay": 1e-2}, 0.1),
}
START = (-1.2, 1.0)

CLAIMS = [
    {
        "what": f"{name}, Optax against torch.optim, 100 steps on {problem}: largest difference",
        "number": f"{name}_{key}",
        "published": f"torch.optim.{pair.torch}",
        "high": 1e-6,
        "format": ".1e",
    }
    for name, pair in OPTIMIZERS.items()
    for key, problem in (("rosenbrock", "Rosenbrock's function"), ("logistic", "a logistic regression"))
]


def rosenbrock(point: Any) -> Any:
    """``(1 − x)² + 100 (y − x²)²`` with its minimum of 0 at (1, 1); for arrays and tensors alike."""
    return (1 - point[0]) ** 2 + 100 * (point[1] - point[0] ** 2) ** 2


def path(
    optimizer: optax.GradientTransformation, function: Callable[[Any], Any], start: np.ndarray, steps: int
) -> np.ndarray:
    """All points on the way down a function, ``[steps + 1, …]``."""

    def step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], Any]:
        point, opt_state = carry
        moved, opt_state, _ = sx.update(optimizer, jax.grad(function)(point), opt_state, point)
        return (moved, opt_state), moved

    start = jnp.asarray(start)
    _, points = sx.compile.jit(lambda start: jax.lax.scan(step, (start, optimizer.init(start)), length=steps))(start)
    return np.concatenate([start[None], points])


def torch_path(pair: Pair, rate: float, function: Callable[[Any], Any], start: np.ndarray, steps: int) -> np.ndarray:
    """The same in PyTorch."""
    import torch

    point = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = getattr(torch.optim, pair.torch)([point], lr=rate, **pair.settings)
    points = [point.detach().numpy().copy()]
    for _ in range(steps):
        optimizer.zero_grad()
        function(point).backward()
        optimizer.step()
        points.append(point.detach().numpy().copy())
    return np.stack(points)


def logistic_data() -> tuple[np.ndarray, np.ndarray]:
    """Breast-cancer measurements, standardised, with a column of ones ``[n, 31]``, and signs −1 and 1 ``[n]``."""
    x, y = sklearn.datasets.load_breast_cancer(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return np.concatenate([x, np.ones((len(x), 1))], axis=1), 2.0 * y - 1


def differences(name: str, steps: int) -> dict[str, float]:
    """The largest difference of any parameter at any step between Optax and PyTorch, on both problems."""
    import torch

    pair = OPTIMIZERS[name]
    x, signs = logistic_data()
    tensor_x, tensor_signs = torch.tensor(x), torch.tensor(signs)
    # log(1 + e^−m), written with what both libraries have.
    problems = {
        "rosenbrock": (rosenbrock, rosenbrock, np.array(START), pair.rate),
        "logistic": (
            lambda w: jnp.logaddexp(0.0, -jnp.asarray(signs) * (jnp.asarray(x) @ w)).mean(),
            lambda w: torch.nn.functional.softplus(-tensor_signs * (tensor_x @ w)).mean(),
            np.zeros(x.shape[1]),
            10 * pair.rate if pair.torch == "SGD" else 0.1 * pair.rate,
        ),
    }
    found = {}
    with jax.enable_x64(True):
        for problem, (function, torch_function, start, rate) in problems.items():
            ours = path(pair.make(rate), function, start, steps)
            found[f"{name}_{problem}"] = float(
                np.abs(ours - torch_path(pair, rate, torch_function, start, steps)).max()
            )
    return found


def draw(paths: dict[str, np.ndarray], figure: pathlib.Path) -> None:
    fig, (ax, curve) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    x, y = np.meshgrid(np.linspace(-1.6, 1.4, 200), np.linspace(-0.6, 1.8, 200))
    ax.contour(x, y, rosenbrock((x, y)), levels=np.logspace(-1, 3.2, 12), colors="0.8", linewidths=0.7)
    for name, points in paths.items():
        ax.plot(*points.T, linewidth=1.2, label=name)
        curve.semilogy(rosenbrock(points.T), linewidth=1.2, label=f"{name}, η = {OPTIMIZERS[name].rate:g}")
    ax.plot(*START, "ko", markersize=4)
    ax.plot(1, 1, "k*", markersize=9)
    ax.set(
        xlabel="x",
        ylabel="y",
        xlim=(-1.6, 1.4),
        ylim=(-0.6, 1.8),
        title="from • to the minimum ★ of Rosenbrock's function",
    )
    curve.set(xlabel="step", ylabel="value", title="how far down")
    curve.legend(fontsize="small", loc="lower left")
    fig.savefig(figure, dpi=90)
    plt.close(fig)


def main(steps: int = 100, shown: int = 2000, figure: pathlib.Path | None = None) -> dict[str, float]:
    """Follows the optimizers, and compares them with PyTorch where that is installed.

    Args:
        steps: Steps of the comparison.
        shown: Steps in the figure.
        figure: Where to draw the paths.
    """
    with jax.enable_x64(True):
        paths = {
            name: path(pair.make(pair.rate), rosenbrock, np.array(START), shown) for name, pair in OPTIMIZERS.items()
        }
    numbers = {f"{name}_value": float(rosenbrock(points[-1])) for name, points in paths.items()}
    if importlib.util.find_spec("torch") is not None:
        for name in OPTIMIZERS:
            numbers |= differences(name, steps)
    if figure is not None:
        draw(paths, figure)
    return numbers


if __name__ == "__main__":
    print(tyro.cli(main))
