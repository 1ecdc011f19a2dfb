"""Cross entropy of one prediction, three ways, and its gradient: how far the probabilities are from the truth.

    python examples/basics_losses.py    # a second or two

Expected: the probabilities [.02 .90 .05 .01 .02] with class 1 cost −log .90 = 0.1053605 nats; the gradient by the
logits is ``p − y``; logits of ±10⁴, where a softmax followed by a logarithm gives inf or nan, still have finite
losses and gradients.

Reference:
    Goodfellow, Bengio and Courville, Deep Learning, 2016, section 6.2.2.3 (softmax units).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import stepax as sx

CLAIMS = [
    {
        "what": f"cross entropy of [.02 .90 .05 .01 .02], class 1: {how}",
        "number": number,
        "published": "0.1053605",
        "source": "−log .90",
        "low": 0.10536046,
        "high": 0.10536054,
        "format": ".7f",
    }
    for number, how in (
        ("by_hand", "by hand"),
        ("integer", "sx.losses, integer label"),
        ("one_hot", "sx.losses, one-hot"),
    )
]
CLAIMS += [
    {
        "what": "its gradient by the logits against p − y, largest difference",
        "number": "gradient_difference",
        "high": 1e-12,
        "format": ".1e",
    },
    {"what": "losses and gradients at logits of ±10⁴ are finite", "number": "finite", "low": True},
]


def main(probabilities: tuple[float, ...] = (0.02, 0.90, 0.05, 0.01, 0.02), label: int = 1) -> dict[str, float | bool]:
    """Compares ways to the cross entropy of one prediction.

    Args:
        probabilities: What the model believes, summing to 1.
        label: The true class.
    """
    with jax.enable_x64(True):
        # Any logits whose softmax gives these probabilities will do; their logarithms are the simplest.
        logits = jnp.log(jnp.array([probabilities]))
        one_hot = np.eye(len(probabilities))[[label]]
        loss = sx.losses.cross_entropy(logits, {"y": np.array([label])})
        soft = sx.losses.cross_entropy(logits, {"y": one_hot})
        gradient = jax.grad(lambda logits: sx.losses.cross_entropy(logits, {"y": one_hot}).sum())(logits)
        extreme = jnp.array([[1e4, -1e4, 0.0]])
        values = sx.losses.cross_entropy(extreme, {"y": np.array([1])})
        slopes = jax.grad(lambda logits: sx.losses.cross_entropy(logits, {"y": np.array([1])}).sum())(extreme)
        return {
            "by_hand": -math.log(probabilities[label]),
            "integer": float(loss[0]),
            "one_hot": float(soft[0]),
            "gradient_difference": float(jnp.abs(gradient - (np.array([probabilities]) - one_hot)).max()),
            "finite": bool(jnp.isfinite(values).all() and jnp.isfinite(slopes).all()),
        }


if __name__ == "__main__":
    print(tyro.cli(main))
