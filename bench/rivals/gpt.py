"""nanoGPT's model in PyTorch, with a cache of keys and values; the names of its weights are those of stepax.

A linear layer without biases, one table for tokens in and out, the exact GELU, and PyTorch's own attention.
"""

import os
import re

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width, False), nn.Linear(width, width, False), heads

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The output, and the keys and values, each ``[batch, heads, time, width of a head]``."""
        q, k, v = self.split(x)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(x.shape)), k, v

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, time, _ = x.shape
        q, k, v = self.qkv(x).view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return q, k, v


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_1, self.attention = nn.LayerNorm(width, bias=False), Attention(width, heads)
        self.norm_2, self.dense_in = nn.LayerNorm(width, bias=False), nn.Linear(width, 4 * width, False)
        self.dense_out = nn.Linear(4 * width, width, False)

    def each_place(self, x: Tensor) -> Tensor:
        return x + self.dense_out(F.gelu(self.dense_in(self.norm_2(x))))


class GPT(nn.Module):
    def __init__(self, vocabulary: int, width: int, layers: int, heads: int, context: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Parameter(torch.zeros(context, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.heads = nn.LayerNorm(width, bias=False), heads

    def forward(self, tokens: Tensor) -> Tensor:
        """The logits of every next token."""
        x = self.tokens(tokens) + self.places[: tokens.shape[1]]
        for block in self.blocks:
            x = block.each_place(x + block.attention(block.norm_1(x))[0])
        return F.linear(self.norm(x), self.tokens.weight)


class Cached:
    """Greedy continuations with keys and values kept in tensors that are there from the beginning."""

    def __init__(self, model: GPT, batch: int, compiled: bool) -> None:
        self.model = model
        context, width = model.places.shape
        shape = len(model.blocks), batch, model.heads, context, width // model.heads
        self.keys, self.values = torch.zeros(shape), torch.zeros(shape)
        self.reach = torch.arange(context)
        self.step = torch.compile(self._masked, dynamic=False, fullgraph=True) if compiled else self._sliced
        self.places = self.reach.split(1) if compiled else range(context)

    @torch.inference_mode()
    def __call__(self, prompt: Tensor, length: int) -> Tensor:
        out, start = torch.empty(len(prompt), length, dtype=torch.long), prompt.shape[1]
        out[:, 0] = token = self._read(prompt)
        for i in range(1, length):
            token = self.step(token, self.places[start + i - 1])
            out[:, i] = token
        return out

    def _read(self, prompt: Tensor) -> Tensor:
        time = prompt.shape[1]
        x = self.model.tokens(prompt) + self.model.places[:time]
        for block, keys, values in zip(self.model.blocks, self.keys, self.values, strict=True):
            y, keys[:, :, :time], values[:, :, :time] = block.attention(block.norm_1(x))
            x = block.each_place(x + y)
        return self._likeliest(x[:, -1:])

    def _sliced(self, token: Tensor, place: int) -> Tensor:
        """One token more; attention to the places that are taken."""
        x = self.model.tokens(token[:, None]) + self.model.places[place]
        for block, keys, values in zip(self.model.blocks, self.keys, self.values, strict=True):
            q, k, v = block.attention.split(block.norm_1(x))
            keys[:, :, place], values[:, :, place] = k[:, :, 0], v[:, :, 0]
            y = F.scaled_dot_product_attention(q, keys[:, :, : place + 1], values[:, :, : place + 1])
            x = block.each_place(x + block.attention.out(y.transpose(1, 2).reshape(x.shape)))
        return self._likeliest(x)

    def _masked(self, token: Tensor, place: Tensor) -> Tensor:
        """The same in fixed shapes, as a compiler wants them: attention to all places, with a mask."""
        x = self.model.tokens(token[:, None]) + self.model.places[place]
        seen = (self.reach <= place)[None, None, None]
        for i, block in enumerate(self.model.blocks):
            q, k, v = block.attention.split(block.norm_1(x))
            keys, values = self.keys[i].index_copy_(2, place, k), self.values[i].index_copy_(2, place, v)
            y = F.scaled_dot_product_attention(q, keys, values, attn_mask=seen)
            x = block.each_place(x + block.attention.out(y.transpose(1, 2).reshape(x.shape)))
        return self._likeliest(x)

    def _likeliest(self, x: Tensor) -> Tensor:
        return F.linear(self.model.norm(x[:, -1]), self.model.tokens.weight).argmax(-1)


@torch.inference_mode()
def without_cache(model: GPT, prompt: Tensor, length: int) -> Tensor:
    """nanoGPT's way: everything is read again for each token."""
    text = prompt
    for _ in range(length):
        logits = model(text[:, -model.places.shape[0] :])
        text = torch.cat([text, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    return text[:, prompt.shape[1] :]


def made(weights: dict[str, np.ndarray], heads: int) -> GPT:
    """The model with weights of ``stepax.nn.Decoder`` by path, on as many threads as all others have."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "0")) or len(os.sched_getaffinity(0)))
    # JAX flushes them, too.
    torch.set_flush_denormal(True)
    (vocabulary, width), layers = weights["tokens"].shape, sum(path.endswith("norm_1/scale") for path in weights)
    model = GPT(vocabulary, width, layers, heads, len(weights["places"]))
    model.to(torch.from_numpy(np.empty(0, weights["tokens"].dtype)).dtype)
    model.load_state_dict(
        {
            named(path): torch.from_numpy(array.T.copy() if path.endswith("kernel") else array)
            for path, array in weights.items()
        }
    )
    return model


def named(path: str) -> str:
    """The name in PyTorch of a weight of stepax."""
    path = re.sub(r"(/kernel|/scale)$", ".weight", path).replace("block_", "blocks.").replace("/", ".")
    return {"tokens": "tokens.weight"}.get(path, path)
