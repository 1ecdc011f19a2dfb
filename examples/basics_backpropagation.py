"""Back-propagation by hand beside ``jax.grad``: the 2-2-2 network of Mazur's worked example, step by step in float64.

    python examples/basics_backpropagation.py    # a few seconds

Read ``forward`` and ``backward`` first: they are the chain rule with every sum written out. Expected: the error falls
from 0.298371109 to 0.29102777369 in one step and to 3.51e-5 in 10,000; ``jax.grad`` gives what ``backward`` gives, to
1e-12, on this network and on random ones. (Mazur rounds on the way and prints .291027924 after the first step;
.29102777369 is the same step unrounded.)

Reference:
    Mazur, A step by step backpropagation example, 2015.
    Rumelhart, Hinton and Williams, Learning representations by back-propagating errors, Nature 323, 1986.
"""

import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import tyro

import stepax as sx

SOURCE = "Mazur 2015"
CLAIMS = [
    {
        "what": "2-2-2 network, error before training",
        "number": "error_0",
        "published": "0.298371109",
        "low": 0.2983711085,
        "high": 0.2983711095,
    },
    {
        "what": "2-2-2 network, error after 1 step",
        "number": "error_1",
        "published": "0.29102777369",
        "low": 0.291027773686,
        "high": 0.291027773694,
    },
    {
        "what": "2-2-2 network, error after 10,000 steps",
        "number": "error_last",
        "published": "3.51e-05",
        "low": 3.505e-5,
        "high": 3.515e-5,
    },
]
CLAIMS = [claim | {"source": SOURCE, "format": ".11g"} for claim in CLAIMS]
CLAIMS += [
    {
        "what": "jax.grad against the chain rule by hand, largest difference",
        "number": "difference",
        "high": 1e-12,
        "format": ".1e",
    }
]

# From unit i (row) to unit j (column): w1 .15 and w2 .20 lead to the first hidden unit, w3 .25, w4 .30 to the second.
WEIGHTS = {"hidden": [[0.15, 0.25], [0.20, 0.30]], "output": [[0.40, 0.50], [0.45, 0.55]]}
BIASES = {"hidden": 0.35, "output": 0.60}
INPUTS, TARGETS = [0.05, 0.10], [0.01, 0.99]


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def forward(weights: Any, inputs: list[float]) -> tuple[list[float], list[float]]:
    """Activations of the hidden and of the output layer, one unit after the other."""
    hidden = [sigmoid(sum(weights["hidden"][i][j] * inputs[i] for i in range(2)) + BIASES["hidden"]) for j in range(2)]
    outputs = [sigmoid(sum(weights["output"][i][j] * hidden[i] for i in range(2)) + BIASES["output"]) for j in range(2)]
    return hidden, outputs


def backward(weights: Any, inputs: list[float], targets: list[float]) -> dict[str, list[list[float]]]:
    """The derivative of ``E = Σ ½ (t − o)²`` by every weight, by the chain rule.

    With ``o = σ(z)`` and ``z = Σ w h + b``: ``∂E/∂w = ∂E/∂o · ∂o/∂z · ∂z/∂w``, where ``∂o/∂z = o (1 − o)``.
    """
    hidden, outputs = forward(weights, inputs)
    # δ = ∂E/∂z of every output: how the error answers to what flows into the unit.
    output_delta = [(outputs[k] - targets[k]) * outputs[k] * (1 - outputs[k]) for k in range(2)]
    # A hidden unit acts on the error through all outputs; their δ flow back over the same weights.
    flowed_back = [sum(output_delta[k] * weights["output"][j][k] for k in range(2)) for j in range(2)]
    hidden_delta = [flowed_back[j] * hidden[j] * (1 - hidden[j]) for j in range(2)]
    return {
        "hidden": [[inputs[i] * hidden_delta[j] for j in range(2)] for i in range(2)],
        "output": [[hidden[j] * output_delta[k] for k in range(2)] for j in range(2)],
    }


def network() -> sx.Model:
    """The same network as arrays. What is trained are ``params``; the fixed biases are the model's ``variables``."""

    def init(key: jax.Array, x: jax.Array) -> tuple[Any, Any]:
        del key, x
        params = {layer: jnp.asarray(weights) for layer, weights in WEIGHTS.items()}
        return params, {"biases": {layer: jnp.asarray(bias) for layer, bias in BIASES.items()}}

    def apply(
        params: Any, variables: Any, x: jax.Array, *, train: bool, key: jax.Array | None
    ) -> tuple[jax.Array, Any]:
        del train, key
        hidden = jax.nn.sigmoid(x @ params["hidden"] + variables["biases"]["hidden"])
        return jax.nn.sigmoid(hidden @ params["output"] + variables["biases"]["output"]), variables

    return sx.Model(init, apply)


def error(output: jax.Array, batch: Any) -> jax.Array:
    """``E = Σ ½ (t − o)²`` of every example."""
    return jnp.square(batch["y"] - output).sum(axis=-1) / 2


def largest_difference(nets: int) -> float:
    """Between ``jax.grad`` and ``backward``: on Mazur's numbers, then on random networks, inputs and targets."""
    model, random = network(), np.random.default_rng(0)
    _, variables = model.init(jax.random.key(0), jnp.zeros((1, 2)))

    def mean_error(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return error(model.apply(params, variables, x, train=True, key=None)[0], {"y": y}).mean()

    gradient, worst = sx.compile.jit(jax.grad(mean_error)), 0.0
    for net in range(1 + nets):
        weights = WEIGHTS if net == 0 else {layer: random.normal(size=(2, 2)).tolist() for layer in WEIGHTS}
        x, y = (INPUTS, TARGETS) if net == 0 else random.uniform(size=(2, 2)).tolist()
        by_hand = backward(weights, x, y)
        by_jax = gradient(
            {layer: jnp.asarray(array) for layer, array in weights.items()}, jnp.asarray([x]), jnp.asarray([y])
        )
        worst = max(worst, *(float(np.abs(np.asarray(by_jax[layer]) - by_hand[layer]).max()) for layer in WEIGHTS))
    return worst


def train(steps: int, rate: float) -> np.ndarray:
    """The error before each step and after the last, ``[steps + 1]``: the learner's step is the body of a scan."""
    learner = sx.supervised(network(), error, optax.sgd(rate))
    batch = {"x": jnp.asarray([INPUTS]), "y": jnp.asarray([TARGETS])}

    def run(key: jax.Array) -> jax.Array:
        state, metrics = jax.lax.scan(
            lambda state, _: learner.step(state, batch), learner.init(key, batch), length=steps
        )
        return jnp.append(metrics["loss"], learner.evaluate(state, batch, key)["loss"])

    return np.asarray(sx.compile.jit(run)(jax.random.key(0)))


def draw(errors: np.ndarray, figure: pathlib.Path) -> None:
    fig, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
    ax.loglog(1 + np.arange(len(errors)), errors)
    ax.set(xlabel="step, counted from 1", ylabel="error E = Σ ½ (t − o)²", title="Mazur's 2-2-2 network, η = 0.5")
    ax.grid(alpha=0.3)
    fig.savefig(figure, dpi=100)
    plt.close(fig)


def main(
    steps: int = 10_000, rate: float = 0.5, nets: int = 100, figure: pathlib.Path | None = None
) -> dict[str, float]:
    """Trains the network, and compares gradients.

    Args:
        steps: Steps of gradient descent.
        rate: The learning rate η.
        nets: Random networks on which gradients are compared.
        figure: Where to draw the error.
    """
    with jax.enable_x64(True):
        errors = train(steps, rate)
        difference = largest_difference(nets)
    if figure is not None:
        draw(errors, figure)
    return {
        "error_0": float(errors[0]),
        "error_1": float(errors[1]),
        "error_last": float(errors[-1]),
        "difference": difference,
    }


if __name__ == "__main__":
    print(tyro.cli(main))
