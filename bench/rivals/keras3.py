"""Keras 3 on JAX: its own layers, ``compile`` and ``fit`` on NumPy arrays."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras import layers, ops

from bench.rivals.task import Task

# How long one call of ``fit`` should run at least: its beginning and end cost milliseconds.
FIT_SECONDS = 0.5


def mlp() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((784,)),
            layers.Dense(128, activation="relu", name="dense_0"),
            layers.Dense(64, activation="relu", name="dense_1"),
            layers.Dense(10, name="head"),
        ]
    )


def cnn() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="conv_0"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu", name="conv_1"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(256, activation="relu", name="dense_0"),
            layers.Dense(10, name="head"),
        ]
    )


def deep_cnn() -> keras.Model:
    x = inputs = keras.Input((32, 32, 3))
    for stage, width in enumerate((32, 64, 128)):
        for i in range(2):
            x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"conv_{stage}_{i}")(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"norm_{stage}_{i}")(x))
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(128, use_bias=False, name="dense_0")(layers.Flatten()(x))
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="dense_norm_0")(x))
    return keras.Model(inputs, layers.Dense(10, name="head")(x))


def lstm() -> keras.Model:
    return keras.Sequential([keras.Input((64, 32)), layers.LSTM(128, name="body"), layers.Dense(10, name="head")])


def gru() -> keras.Model:
    return keras.Sequential([keras.Input((64, 32)), layers.GRU(128, name="body"), layers.Dense(10, name="head")])


class NormalizedConv(layers.Layer):
    """A causal convolution with weight normalisation, which Keras does not have."""

    def __init__(self, width: int, dilation: int, name: str) -> None:
        super().__init__(name=name)
        self.width, self.dilation = width, dilation

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight((3, shape[-1], self.width), name="kernel")
        self.scale = self.add_weight((self.width,), name="scale")
        self.bias = self.add_weight((self.width,), initializer="zeros", name="bias")

    def call(self, x: Any) -> Any:
        length = ops.sqrt(ops.sum(ops.square(self.kernel), (0, 1)))
        x = ops.pad(x, ((0, 0), (2 * self.dilation, 0), (0, 0)))
        return ops.conv(x, self.kernel * (self.scale / length), dilation_rate=self.dilation) + self.bias


def tcn() -> keras.Model:
    x = inputs = keras.Input((64, 32))
    for level in range(5):
        h = x
        for i in range(2):
            h = layers.ReLU()(NormalizedConv(64, 2**level, name=f"conv_{level}_{i}")(h))
        if x.shape[-1] != 64:
            x = layers.Conv1D(64, 1, name=f"skip_{level}")(x)
        x = layers.ReLU()(layers.add([x, h]))
    return keras.Model(inputs, layers.Dense(10, name="head")(x[:, -1]))


class Places(layers.Layer):
    """A learnt vector per place, added."""

    def build(self, shape: Any) -> None:
        self.places = self.add_weight((128, shape[-1]), name="places")

    def call(self, x: Any) -> Any:
        return x + self.places[: x.shape[1]]


def decoder() -> keras.Model:
    tokens = keras.Input((128,), dtype="int32")
    x = Places(name="places")(layers.Embedding(256, 128, name="tokens")(tokens))
    for i in range(4):
        h = layers.LayerNormalization(epsilon=1e-5, name=f"block_{i}_norm_1")(x)
        x = x + layers.MultiHeadAttention(4, 32, name=f"block_{i}_attention")(h, h, use_causal_mask=True)
        h = layers.LayerNormalization(epsilon=1e-5, name=f"block_{i}_norm_2")(x)
        h = ops.gelu(layers.Dense(512, name=f"block_{i}_dense_in")(h), approximate=True)
        x = x + layers.Dense(128, name=f"block_{i}_dense_out")(h)
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    return keras.Model(tokens, layers.Dense(256, use_bias=False, name="head")(x))


MODELS: dict[str, Callable[[], keras.Model]] = {
    "mlp": mlp,
    "mlp-32": mlp,
    "cnn": cnn,
    "cnn-deep": deep_cnn,
    "lstm": lstm,
    "gru": gru,
    "tcn": tcn,
    "tcn-last": tcn,
    "transformer": decoder,
    "population": mlp,
    "population-32": mlp,
}


def arrays(layer: layers.Layer, weights: dict[str, np.ndarray]) -> list[np.ndarray]:
    """A layer's weights in its own order and shapes."""
    if isinstance(layer, layers.LSTM | layers.GRU):
        kernel, recurrent, *biases = (
            weights[f"body/forward_0_{name}"]
            for name in ("kernel", "recurrent_kernel", "bias", "recurrent_bias")
            if f"body/forward_0_{name}" in weights
        )
        if isinstance(layer, layers.LSTM):
            return [kernel, recurrent, *biases]
        return [_update_first(kernel), _update_first(recurrent), np.stack([_update_first(bias) for bias in biases])]
    if isinstance(layer, NormalizedConv):
        return [weights[f"body/{layer.name}_{name}"] for name in ("kernel", "scale", "bias")]
    if isinstance(layer, layers.Conv1D):
        return [weights[f"body/{layer.name}_{name}"] for name in ("kernel", "bias")]
    path = layer.name
    if path in weights:
        return [weights[path]]
    if path.startswith("block_"):
        block, number, inner = path.split("_", 2)
        path = f"{block}_{number}/{inner}"
    if isinstance(layer, layers.MultiHeadAttention):
        kernels = np.split(weights[f"{path}/qkv/kernel"].reshape(128, 12, 32), 3, 1)
        biases = np.split(weights[f"{path}/qkv/bias"].reshape(12, 32), 3, 0)
        pairs = [array for pair in zip(kernels, biases, strict=True) for array in pair]
        return [*pairs, weights[f"{path}/out/kernel"].reshape(4, 32, 128), weights[f"{path}/out/bias"]]
    own = [weights[f"{path}/{name}"] for name in ("kernel", "scale", "bias") if f"{path}/{name}" in weights]
    # Batch normalisation has its averages after them.
    return own + layer.get_weights()[len(own) :]


def _update_first(array: np.ndarray) -> np.ndarray:
    """Keras has a GRU's update gate before its reset gate."""
    reset, update, new = np.split(array, 3, -1)
    return np.concatenate([update, reset, new], -1)


def trainer(task: Task, form: str) -> "_Trainer":
    return _Trainer(task, 16 if "16" in form else 1)


class _Trainer:
    """One model; several one after the other are each as fast as the first."""

    def __init__(self, task: Task, steps: int) -> None:
        keras.config.set_floatx(task.dtype.name)
        keras.config.set_dtype_policy(task.dtype.name)
        self.task, self.steps = task, steps

    def chunks(self) -> Iterator[int]:
        model, size = self._model(0, self.steps), self.task.batch_size
        whole = len(self.task.x) // size
        batches, first = self.steps, 0
        for call in range(2**62):
            if first + batches > whole:
                first = 0
            rows, began = slice(first * size, (first + batches) * size), time.perf_counter()
            model.fit(self.task.x[rows], self.task.y[rows], batch_size=size, epochs=1, verbose=0)
            yield batches * size
            first += batches
            if call < 4:
                wanted = batches * FIT_SECONDS / (time.perf_counter() - began)
                batches = min(whole, max(1, int(wanted) // self.steps) * self.steps)

    def losses(self, steps: int) -> np.ndarray:
        # Step by step in both forms: of several steps in one execution Keras tells the mean alone.
        curves = []
        for lane in range(self.task.lanes):
            model = self._model(lane)
            curves.append([float(model.train_on_batch(*self.task.batch(i))) for i in range(steps)])
        return np.stack(curves, -1) if self.task.lanes > 1 else np.array(curves[0])

    def _model(self, lane: int, steps: int = 1) -> keras.Model:
        keras.utils.set_random_seed(0)
        model = MODELS[self.task.workload]()
        model.compile(
            keras.optimizers.Adam(1e-3, epsilon=1e-8),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            steps_per_execution=steps,
        )
        weights = self.task.lane(lane)
        for layer in model.layers:
            if layer.weights:
                layer.set_weights(arrays(layer, weights))
        return model
