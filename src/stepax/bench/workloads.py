"""What is timed: a model, its loss and optimizer, and a batch of made-up data, each with the layer sizes in its name.

The numbers in the data do not matter for speed; labels are a function of the inputs, so that a loss curve shows
learning.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import optax
from flax import linen

import stepax.losses
import stepax.nn as nn
from stepax.learner import Learner, supervised
from stepax.typing import Array, Batch

__all__ = ["WORKLOADS", "Workload"]


class Workload(NamedTuple):
    """One thing to time.

    Attributes:
        name: What it is called on the command line.
        title: What it is, in words.
        model: Makes the Flax module.
        data: ``(examples, seed) -> Batch``: data on the host.
        batch_size: Examples a step.
        lanes: How many models are trained at once; each counts its own examples.
    """

    name: str
    title: str
    model: Callable[[], linen.Module]
    data: Callable[[int, int], Batch]
    batch_size: int
    lanes: int = 1

    def learner(self) -> Learner:
        """The learner of one model: cross entropy and Adam at its usual rate."""
        return supervised(self.model(), stepax.losses.cross_entropy, optax.adam(1e-3))


class _LastStep(linen.Module):
    """A classifier of sequences: what a sequence model says after the last step, and a dense layer."""

    body: Any
    classes: int = 10
    alone: bool = False

    @linen.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        if self.alone:
            last = self.body.last(x, train)
        else:
            outputs = self.body(x, train)
            last = (outputs[0] if isinstance(outputs, tuple) else outputs)[:, -1]
        return nn.Dense(self.classes, name="head")(last)


def _examples(shape: tuple[int, ...], examples: int, seed: int) -> Batch:
    """Normal inputs; the label is the largest of ten fixed random projections."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(examples, *shape)).astype(np.float32)
    directions = np.random.default_rng(0).normal(size=(np.prod(shape), 10)).astype(np.float32)
    return {"x": x, "y": (x.reshape(examples, -1) @ directions).argmax(-1).astype(np.int32)}


def _tokens(time: int, vocabulary: int, examples: int, seed: int) -> Batch:
    """Counting in steps of one to four from a random start: the next token follows from the last two."""
    random = np.random.default_rng(seed)
    starts, strides = random.integers(vocabulary, size=(examples, 1)), random.integers(1, 5, size=(examples, 1))
    tokens = ((starts + strides * np.arange(time + 1)) % vocabulary).astype(np.int32)
    return {"x": tokens[:, :-1], "y": tokens[:, 1:]}


def _mlp() -> linen.Module:
    return nn.MLP((128, 64, 10))


_IMAGES = partial(_examples, (28, 28, 1))
_SEQUENCES = partial(_examples, (64, 32))

WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload("mlp", "MLP 784-128-64-10", _mlp, partial(_examples, (784,)), 128),
        Workload("mlp-32", "MLP 784-128-64-10", _mlp, partial(_examples, (784,)), 32),
        Workload("cnn", "CNN 32-64, dense 256, 28×28×1", nn.CNN, _IMAGES, 128),
        Workload(
            "cnn-deep",
            "CNN 2×32, 2×64, 2×128 with batch normalisation, dense 128, 32×32×3",
            lambda: nn.CNN(((32, 32), (64, 64), (128, 128)), dense=(128,), normalize=True),
            partial(_examples, (32, 32, 3)),
            128,
        ),
        Workload("lstm", "LSTM 128, 64 steps of 32", lambda: _LastStep(nn.LSTM(128)), _SEQUENCES, 128),
        Workload("gru", "GRU 128, 64 steps of 32", lambda: _LastStep(nn.GRU(128)), _SEQUENCES, 128),
        Workload("tcn", "TCN 5×64, kernel 3, 64 steps of 32", lambda: _LastStep(nn.TCN((64,) * 5)), _SEQUENCES, 128),
        Workload(
            "tcn-last",
            "the same, what its last step sees alone",
            lambda: _LastStep(nn.TCN((64,) * 5), alone=True),
            _SEQUENCES,
            128,
        ),
        Workload(
            "transformer",
            "Transformer 4×128, 4 heads, 128 tokens of 256",
            lambda: nn.Decoder(256),
            partial(_tokens, 128, 256),
            16,
        ),
        Workload("population", "16 MLPs 784-128-64-10", _mlp, partial(_examples, (784,)), 128, 16),
        Workload("population-32", "16 MLPs 784-128-64-10", _mlp, partial(_examples, (784,)), 32, 16),
    )
}
