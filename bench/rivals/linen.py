"""Flax Linen and Optax as their documentation shows them, with none of stepax: stock layers, ``jax.jit`` as it is."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import traverse_util

from bench.rivals.task import Task

# How long one program of scanned steps should run: long enough for its call to cost nothing.
SCAN_SECONDS, TRIED = 0.25, 2
# How long the losses of the first steps may take: scanned convolutions take many seconds a step on a CPU.
LOSS_SECONDS = 60.0


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Dense(128, name="dense_0")(x))
        x = nn.relu(nn.Dense(64, name="dense_1")(x))
        return nn.Dense(10, name="head")(x)


class CNN(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i, width in enumerate((32, 64)):
            x = nn.relu(nn.Conv(width, (3, 3), name=f"conv_{i}")(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Dense(256, name="dense_0")(x.reshape(x.shape[0], -1)))
        return nn.Dense(10, name="head")(x)


class DeepCNN(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def norm(name: str) -> nn.Module:
            return nn.BatchNorm(use_running_average=False, momentum=0.9, epsilon=1e-5, name=name)

        for stage, width in enumerate((32, 64, 128)):
            for i in range(2):
                x = nn.Conv(width, (3, 3), use_bias=False, name=f"conv_{stage}_{i}")(x)
                x = nn.relu(norm(f"norm_{stage}_{i}")(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.Dense(128, use_bias=False, name="dense_0")(x.reshape(x.shape[0], -1))
        return nn.Dense(10, name="head")(nn.relu(norm("dense_norm_0")(x)))


class LSTM(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        outputs = nn.RNN(nn.OptimizedLSTMCell(128, name="cell"))(x)
        return nn.Dense(10, name="head")(outputs[:, -1])


class GRU(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        outputs = nn.RNN(nn.GRUCell(128, name="cell"))(x)
        return nn.Dense(10, name="head")(outputs[:, -1])


class TCN(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for level in range(5):
            h = x
            for i in range(2):
                name = f"conv_{level}_{i}"
                convolution = nn.Conv(64, (3,), padding="CAUSAL", kernel_dilation=2**level, name=name)
                h = nn.relu(nn.WeightNorm(convolution, variable_filter={"kernel"}, name=f"norm_{level}_{i}")(h))
            if x.shape[-1] != 64:
                x = nn.Conv(64, (1,), name=f"skip_{level}")(x)
            x = nn.relu(x + h)
        return nn.Dense(10, name="head")(x[:, -1])


class Block(nn.Module):
    heads: int = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, steps, width = x.shape
        h = nn.Dense(3 * width, name="qkv")(nn.LayerNorm(epsilon=1e-5, name="norm_1")(x))
        q, k, v = jnp.moveaxis(h.reshape(batch, steps, 3, self.heads, -1), 2, 0)
        h = nn.dot_product_attention(q, k, v, mask=nn.make_causal_mask(jnp.ones((batch, steps))))
        x = x + nn.Dense(width, name="out")(h.reshape(batch, steps, width))
        h = nn.gelu(nn.Dense(4 * width, name="dense_in")(nn.LayerNorm(epsilon=1e-5, name="norm_2")(x)))
        return x + nn.Dense(width, name="dense_out")(h)


class Decoder(nn.Module):
    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        places = self.param("places", nn.initializers.normal(0.02), (128, 128))
        x = nn.Embed(256, 128, name="tokens")(tokens) + places[: tokens.shape[1]]
        for i in range(4):
            x = Block(name=f"block_{i}")(x)
        return nn.Dense(256, use_bias=False, name="head")(nn.LayerNorm(epsilon=1e-5, name="norm")(x))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mlp": MLP,
    "mlp-32": MLP,
    "cnn": CNN,
    "cnn-deep": DeepCNN,
    "lstm": LSTM,
    "gru": GRU,
    "tcn": TCN,
    "tcn-last": TCN,
    "transformer": Decoder,
    "population": MLP,
    "population-32": MLP,
}


def params(workload: str, weights: dict[str, np.ndarray]) -> Any:
    """The names and shapes of stock layers."""
    if workload in ("lstm", "gru"):
        flat = {**_gates(workload, weights), **{path: a for path, a in weights.items() if path.startswith("head")}}
    elif workload.startswith("tcn"):
        flat = dict(map(_normalized, weights.items()))
    else:
        names = {"tokens": "tokens/embedding"}
        flat = {names.get(path, path.replace("attention/", "")): array for path, array in weights.items()}
    return traverse_util.unflatten_dict(
        {tuple(part.replace("|", "/") for part in path.split("/")): jnp.asarray(array) for path, array in flat.items()}
    )


def _gates(workload: str, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One small layer per gate and input; only some of them have a bias."""
    gates = "ifgo" if workload == "lstm" else "rzn"
    flat, arrays = {}, {}
    for path, array in weights.items():
        if path.startswith("body"):
            arrays[path.removeprefix("body/forward_0_")] = np.split(array, len(gates), -1)
    for i, gate in enumerate(gates):
        flat[f"cell/i{gate}/kernel"] = arrays["kernel"][i]
        flat[f"cell/h{gate}/kernel"] = arrays["recurrent_kernel"][i]
        if workload == "lstm":
            flat[f"cell/h{gate}/bias"] = arrays["bias"][i]
        elif gate == "n":
            flat["cell/in/bias"], flat["cell/hn/bias"] = arrays["bias"][i], arrays["recurrent_bias"][i]
        else:
            flat[f"cell/i{gate}/bias"] = arrays["bias"][i] + arrays["recurrent_bias"][i]
    return flat


def _normalized(item: tuple[str, np.ndarray]) -> tuple[str, np.ndarray]:
    """A filter's length belongs to the wrapper, under a name with slashes (here bars)."""
    path, array = item
    layer, _, kind = path.removeprefix("body/").rpartition("_")
    if kind == "scale":
        return f"{layer.replace('conv', 'norm')}/{layer}|kernel|scale", array
    return (f"{layer}/{kind}", array) if path.startswith("body/") else item


def optimizer(workload: str) -> optax.GradientTransformation:
    adam = optax.adam(1e-3, eps=1e-8)
    if workload != "gru":
        return adam

    # Elsewhere two gates have two biases each, which get the same step and are only ever added up; here they have one.
    def twice(updates: Any) -> Any:
        return traverse_util.path_aware_map(lambda path, _: path[-2:] in (("ir", "bias"), ("iz", "bias")), updates)

    return optax.chain(adam, optax.masked(optax.scale(2.0), twice))


def trainer(task: Task, form: str) -> "_Trainer":
    return _Trainer(task, form)


class _Trainer:
    """One model, or several under ``vmap``; several one after the other are each as fast as the first."""

    def __init__(self, task: Task, form: str) -> None:
        self.task, self.stacked = task, form.endswith("vmap")
        self.model, self.optimizer = MODELS[task.workload](), optimizer(task.workload)
        self.scanned, self.random = form.startswith("scan"), np.random.default_rng(0)
        self.data = jnp.asarray(task.x), jnp.asarray(task.y)
        step = jax.vmap(self._step, (0, None, None)) if self.stacked else self._step
        self.one = jax.jit(lambda state, data, rows: step(state, *(a[rows] for a in data)), donate_argnums=0)
        self.many = jax.jit(
            lambda state, data, rows: jax.lax.scan(lambda s, r: step(s, *(a[r] for a in data)), state, rows),
            donate_argnums=0,
        )

    def chunks(self) -> Iterator[int]:
        state, lanes, spent = self._start(0), self.task.lanes if self.stacked else 1, 0.0
        # The first two are short: one compiles, one tells how many steps make a good program.
        for order in (self._order(TRIED), self._order(TRIED)):
            began = time.perf_counter()
            state = self._advanced(state, order[0])
            spent = time.perf_counter() - began
            yield order[0].size * lanes
        length = min(len(self.task.x) // self.task.batch_size, max(TRIED, int(TRIED * SCAN_SECONDS / spent)))
        while True:
            for rows in self._order(length):
                state = self._advanced(state, rows)
                yield rows.size * lanes

    def _order(self, length: int) -> np.ndarray:
        """An epoch's rows, ``[programs, length, batch]``; what does not fill a program is left out."""
        programs = len(self.task.x) // (length * self.task.batch_size)
        rows = self.random.permutation(len(self.task.x))[: programs * length * self.task.batch_size]
        return rows.astype(np.int32).reshape(programs, length, self.task.batch_size)

    def _advanced(self, state: Any, rows: np.ndarray) -> Any:
        return self._steps(state, rows)[0]

    def _steps(self, state: Any, rows: np.ndarray) -> tuple[Any, list[np.ndarray]]:
        """Steps over some batches' rows, by the form's own program, and their losses."""
        if self.scanned:
            state, losses = jax.block_until_ready(self.many(state, self.data, rows))
            return state, losses
        losses = []
        for one in rows:
            state, loss = self.one(state, self.data, one)
            losses.append(loss)
        return jax.block_until_ready((state, losses))

    def losses(self, steps: int) -> np.ndarray:
        curves, began = [], time.perf_counter()
        for lane in range(self._runs()):
            state, curve = self._start(lane), []
            for first in range(0, steps, TRIED):
                rows = np.stack([self.task.rows(i) for i in range(first, min(first + TRIED, steps))])
                state, losses = self._steps(state, rows)
                curve += [np.asarray(loss) for loss in losses]
                if time.perf_counter() - began > (lane + 1) / self._runs() * LOSS_SECONDS:
                    break
            curves.append(np.stack(curve))
        shortest = min(map(len, curves))
        return curves[0] if len(curves) == 1 else np.stack([curve[:shortest] for curve in curves], -1)

    def _runs(self) -> int:
        return 1 if self.stacked else self.task.lanes

    def _start(self, lane: int) -> Any:
        weights = self.task.weights if self.stacked else self.task.lane(lane)
        given = params(self.task.workload, weights)
        shapes = jax.eval_shape(self.model.init, jax.random.key(0), self.data[0][:1])
        wanted = jax.tree.map(lambda a: a.shape, shapes["params"])
        got = jax.tree.map(lambda a: a.shape[1:] if self.stacked else a.shape, given)
        assert wanted == got, (wanted, got)
        start = self.optimizer.init
        return given, jax.jit(self._variables)(), jax.vmap(start)(given) if self.stacked else start(given)

    def _variables(self) -> Any:
        """The averages of batch normalisation; nothing else is drawn."""
        variables = dict(self.model.init(jax.random.key(0), self.data[0][:1]))
        del variables["params"]
        return jax.tree.map(lambda a: a.astype(self.task.dtype), variables)

    def _step(self, state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, jax.Array]:
        params, variables, opt_state = state

        def loss(params: Any) -> tuple[jax.Array, Any]:
            logits, changed = self.model.apply({"params": params, **variables}, x, mutable=list(variables))
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), dict(changed)

        (value, variables), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = self.optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), variables, opt_state), value
