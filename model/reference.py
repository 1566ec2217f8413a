"""GPT-2 in numpy, whole windows at a time and with no cache: what a graph is judged by, and what rounding learns from.

It knows no graph and no engine. Each linear layer is asked of a caller, who may look at what comes in, and answer with
other weights than the model's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from model.base import Shape

Floats = NDArray[np.float32]
Weights = Mapping[str, Floats]
Linear = Callable[[str, Floats], Floats]

EPSILON = np.float32(1e-5)


def plain(weights: Weights) -> Linear:
    """The linear layers as they are: rows [R, K] through the weight of that name -> [R, N]."""
    return lambda name, rows: rows @ weights[f"{name}.weight"] + weights[f"{name}.bias"]


def hidden(
    weights: Weights,
    shape: Shape,
    windows: NDArray[np.int64],
    linear: Linear,
    progress: Callable[[int, int], None] | None = None,
) -> Floats:
    """What the head sees of windows [B, S] of ids, as rows [B * S, D]."""
    x = weights["wte.weight"][windows] + weights["wpe.weight"][: windows.shape[1]]
    for layer in range(shape.n_layer):
        at = f"h.{layer}"
        normed = norm(weights, f"{at}.ln_1", x)
        x = x + _shaped(linear(f"{at}.attn.c_proj", _rows(_attention(at, normed, shape, linear))), x)
        normed = norm(weights, f"{at}.ln_2", x)
        inner = gelu(linear(f"{at}.mlp.c_fc", _rows(normed)))
        x = x + _shaped(linear(f"{at}.mlp.c_proj", inner), x)
        if progress is not None:
            progress(layer + 1, shape.n_layer)
    return _rows(norm(weights, "ln_f", x))


def logits(weights: Weights, shape: Shape, windows: NDArray[np.int64]) -> Iterator[Floats]:
    """The logits [S, V] of each window: all of them at once would be more than the model."""
    for row in hidden(weights, shape, windows, plain(weights)).reshape(*windows.shape, -1):
        yield row @ weights["wte.weight"].T


def norm(weights: Weights, name: str, x: Floats) -> Floats:
    centred = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + EPSILON)
    normed: Floats = centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return normed


def gelu(x: Floats) -> Floats:
    bent: Floats = np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x))
    bent += 1
    bent *= x
    bent *= np.float32(0.5)
    return bent


def _attention(at: str, x: Floats, shape: Shape, linear: Linear) -> Floats:
    """Each head looks back; x [B, S, D] -> [B, S, D], before the projection."""
    batch, length, width = x.shape
    qkv = linear(f"{at}.attn.c_attn", _rows(x)).reshape(batch, length, 3, shape.n_head, shape.head_size)
    future = np.triu(np.full((length, length), -np.inf, np.float32), 1)
    mixed = np.empty_like(x)
    for row in range(batch):
        q, k, v = qkv[row].transpose(1, 2, 0, 3)
        scores = q @ k.transpose(0, 2, 1) / np.float32(np.sqrt(shape.head_size)) + future
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed[row] = (scores @ v).transpose(1, 0, 2).reshape(length, width)
    return mixed


def _rows(x: Floats) -> Floats:
    return x.reshape(-1, x.shape[-1])


def _shaped(rows: Floats, like: Floats) -> Floats:
    return rows.reshape(like.shape)
