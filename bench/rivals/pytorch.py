"""PyTorch: data as tensors, rows by ``index_select``, the fused Adam; eager or compiled, channels last, vmap."""

import os
import re
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.utils.parametrizations import weight_norm

from bench.rivals.task import Task


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense_0, self.dense_1, self.head = nn.Linear(784, 128), nn.Linear(128, 64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.dense_1(F.relu(self.dense_0(x)))))


class CNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_0, self.conv_1 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.dense_0, self.head = nn.Linear(7 * 7 * 64, 256), nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv_0(x)), 2)
        x = F.max_pool2d(F.relu(self.conv_1(x)), 2)
        return self.head(F.relu(self.dense_0(x.flatten(1))))


class DeepCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.names, channels = [], 3
        for stage, width in enumerate((32, 64, 128)):
            for i in range(2):
                self.names.append(f"{stage}_{i}")
                self.add_module(f"conv_{stage}_{i}", nn.Conv2d(channels, width, 3, padding=1, bias=False))
                self.add_module(f"norm_{stage}_{i}", nn.BatchNorm2d(width, eps=1e-5, momentum=0.1))
                channels = width
        self.dense_0, self.dense_norm_0 = nn.Linear(4 * 4 * 128, 128, bias=False), nn.BatchNorm1d(128)
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        for name in self.names:
            x = F.relu(getattr(self, f"norm_{name}")(getattr(self, f"conv_{name}")(x)))
            if name.endswith("1"):
                x = F.max_pool2d(x, 2)
        return self.head(F.relu(self.dense_norm_0(self.dense_0(x.flatten(1)))))


class LastStep(nn.Module):
    """A classifier of sequences by a recurrent layer's last output."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)[0][:, -1])


def lstm() -> nn.Module:
    body = nn.LSTM(32, 128, batch_first=True)
    # PyTorch adds two biases; with one of them at zero there is one, as elsewhere.
    nn.init.zeros_(body.bias_hh_l0).requires_grad_(False)
    return LastStep(body)


def gru() -> nn.Module:
    return LastStep(nn.GRU(32, 128, batch_first=True))


class TCN(nn.Module):
    def __init__(self, levels: int = 5, width: int = 64) -> None:
        super().__init__()
        self.body, self.head, self.levels = nn.Module(), nn.Linear(width, 10), levels
        channels = 32
        for level in range(levels):
            for i in range(2):
                convolution = nn.Conv1d(channels if i == 0 else width, width, 3, dilation=2**level)
                self.body.add_module(f"conv_{level}_{i}", weight_norm(convolution))
            if channels != width:
                self.body.add_module(f"skip_{level}", nn.Conv1d(channels, width, 1))
            channels = width

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        for level in range(self.levels):
            h = x
            for i in range(2):
                h = F.relu(getattr(self.body, f"conv_{level}_{i}")(F.pad(h, (2 * 2**level, 0))))
            skip = getattr(self.body, f"skip_{level}", None)
            x = F.relu((x if skip is None else skip(x)) + h)
        return self.head(x[:, :, -1])


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x: Tensor) -> Tensor:
        batch, time, width = x.shape
        q, k, v = self.qkv(x).view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, time, width))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm_2, self.dense_in = nn.LayerNorm(width), nn.Linear(width, 4 * width)
        self.dense_out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x))
        return x + self.dense_out(F.gelu(self.dense_in(self.norm_2(x)), approximate="tanh"))


class Decoder(nn.Module):
    def __init__(self, vocabulary: int = 256, width: int = 128, layers: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(torch.zeros(128, width))
        self.blocks = [f"block_{i}" for i in range(layers)]
        for name in self.blocks:
            self.add_module(name, Block(width, heads))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places[: tokens.shape[1]]
        for name in self.blocks:
            x = getattr(self, name)(x)
        return self.head(self.norm(x))


# A GPU is asked for its results every so many steps.
QUEUED = 32

MODELS: dict[str, Callable[[], nn.Module]] = {
    "mlp": MLP,
    "mlp-32": MLP,
    "cnn": CNN,
    "cnn-deep": DeepCNN,
    "lstm": lstm,
    "gru": gru,
    "tcn": TCN,
    "tcn-last": TCN,
    "transformer": Decoder,
    "population": MLP,
    "population-32": MLP,
}
# From the end of a path to the end of a name; the first that fits.
NAMES = (
    (r"forward_0_kernel$", "weight_ih_l0"),
    (r"forward_0_recurrent_kernel$", "weight_hh_l0"),
    (r"forward_0_bias$", "bias_ih_l0"),
    (r"forward_0_recurrent_bias$", "bias_hh_l0"),
    (r"(conv_\d_\d)_kernel$", r"\1.parametrizations.weight.original1"),
    (r"(conv_\d_\d)_scale$", r"\1.parametrizations.weight.original0"),
    (r"(conv_\d_\d|skip_\d)_bias$", r"\1.bias"),
    (r"(skip_\d)_kernel$", r"\1.weight"),
    (r"(/kernel|/scale)$", ".weight"),
    (r"^tokens$", "tokens.weight"),
)


def state_dict(weights: dict[str, np.ndarray], flattened: tuple[int, ...] | None = None) -> dict[str, Tensor]:
    """Names and layouts of PyTorch: outputs first, then inputs, then the window.

    Args:
        weights: Arrays by path.
        flattened: Height, width and channels of what the first dense layer gets, where it was an image: PyTorch
            flattens channels first.
    """
    state = {}
    for path, array in weights.items():
        pattern, name = next(((p, n) for p, n in NAMES if re.search(p, path)), ("$", ""))
        if path == "dense_0/kernel" and flattened:
            array = array.reshape(*flattened, -1).transpose(2, 0, 1, 3).reshape(array.shape)
        if path.endswith("_scale"):
            array = array[:, None, None]
        elif path not in ("tokens", "places"):
            array = np.moveaxis(array, (-1, -2), (0, 1)) if array.ndim > 1 else array
        state[re.sub(pattern, name, path, count=1).replace("/", ".")] = torch.from_numpy(np.array(array))
    return state


def trainer(task: Task, form: str) -> "_Trainer":
    threads = int(os.environ.get("OMP_NUM_THREADS", "0")) or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    # JAX flushes them too; the averages of dead units' gradients become denormal, and then every step is slow.
    torch.set_flush_denormal(True)
    return (_Stacked if form.endswith("vmap") else _Trainer)(task, form)


class _Trainer:
    """One model; of several one after the other, each as fast as the first."""

    def __init__(self, task: Task, form: str) -> None:
        self.task, self.channels_last = task, "channels last" in form
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = MODELS[task.workload]().to(self.device, torch.from_numpy(np.empty(0, task.dtype)).dtype)
        if self.channels_last:
            self.model.to(memory_format=torch.channels_last)
        self.x, self.y = self._inputs(task.x, task.y)
        mode = "reduce-overhead" if "graphs" in form else None
        self.compute = torch.compile(self._loss, dynamic=False, mode=mode) if "compile" in form else self._loss
        self._reset(0)

    def chunks(self) -> Iterator[int]:
        total, done = torch.zeros((), device=self.device), 0
        while True:
            for i, rows in enumerate(torch.randperm(len(self.x), device=self.device).split(self.task.batch_size)):
                total = total + self._step(self.x.index_select(0, rows), self.y.index_select(0, rows))
                done += len(rows)
                if self.device.type == "cuda":
                    if i % QUEUED:
                        continue
                    torch.cuda.synchronize()
                yield done
                done = 0

    def losses(self, steps: int) -> np.ndarray:
        curves = []
        for lane in range(self.task.lanes):
            self._reset(lane)
            curves.append([float(self._step(*self._inputs(*self.task.batch(i)))) for i in range(steps)])
        return np.stack(curves, -1) if self.task.lanes > 1 else np.array(curves[0])

    def _reset(self, lane: int) -> None:
        flattened = {"cnn": (7, 7, 64), "cnn-deep": (4, 4, 128)}.get(self.task.workload)
        given = self.model.load_state_dict(state_dict(self.task.lane(lane), flattened), strict=False)
        own = ("running_mean", "running_var", "num_batches_tracked", "bias_hh_l0")
        assert not given.unexpected_keys, given
        assert all(name.endswith(own) for name in given.missing_keys), given
        learnt = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(learnt, lr=1e-3, eps=1e-8, fused=True)

    def _inputs(self, x: np.ndarray, y: np.ndarray) -> tuple[Tensor, Tensor]:
        inputs = torch.from_numpy(x)
        if inputs.ndim == 4 and not self.channels_last:
            inputs = inputs.permute(0, 3, 1, 2).contiguous()
        return inputs.to(self.device), torch.from_numpy(y).long().to(self.device)

    def _loss(self, x: Tensor, y: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2) if self.channels_last else x
        return F.cross_entropy(self.model(x).flatten(0, -2), y.flatten())

    def _step(self, x: Tensor, y: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss = self.compute(x, y)
        loss.backward(torch.ones_like(loss))
        self.optimizer.step()
        return loss.detach()


class _Stacked(_Trainer):
    """All models at once, their parameters stacked."""

    def chunks(self) -> Iterator[int]:
        return (self.task.lanes * examples for examples in super().chunks())

    def losses(self, steps: int) -> np.ndarray:
        self._reset(0)
        return np.stack([self._step(*self._inputs(*self.task.batch(i))).cpu().numpy() for i in range(steps)])

    def _reset(self, lane: int) -> None:
        states = [state_dict(self.task.lane(i)) for i in range(self.task.lanes)]
        fresh = {name: torch.stack([state[name] for state in states]) for name in states[0]}
        if not hasattr(self, "params"):
            self.params = {name: array.to(self.device).requires_grad_() for name, array in fresh.items()}
        with torch.no_grad():
            for name, array in fresh.items():
                self.params[name].copy_(array)
        self.optimizer = torch.optim.Adam(self.params.values(), lr=1e-3, eps=1e-8, fused=True)

    def _loss(self, x: Tensor, y: Tensor) -> Tensor:
        def one(params: dict[str, Tensor]) -> Tensor:
            return F.cross_entropy(functional_call(self.model, params, (x,)), y)

        return vmap(one)(self.params)
